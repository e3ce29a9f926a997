//! Names of types and plugins, each kept once.

use hashbrown::HashMap;

/// A name's place.
pub(super) type Id = u32;

/// The names.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: Vec<Box<str>>,
    ids: HashMap<Box<str>, Id>,
}

impl Names {
    /// The place of `name`, which is new where it was not there.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = Id::try_from(self.all.len()).unwrap_or(Id::MAX);
        self.all.push(name.into());
        self.ids.insert(name.into(), id);
        id
    }

    /// The name at `id`.
    pub(super) fn name(&self, id: Id) -> &str {
        self.all.get(id as usize).map_or("", |name| name)
    }
}
