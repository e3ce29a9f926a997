//! A folder that is opened as ever and changed by nobody: whatever would be written to it stays in memory.

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{MemoryStorage, Storage, StorageFile, read_all};

/// Another storage, whose changes stay in memory and end with this. Files that are changed are read as a whole first.
pub struct Untouched {
    below: Arc<dyn Storage>,
    changed: MemoryStorage,
    /// Names that are not to be looked for below: they were changed, or are gone.
    covered: Arc<Mutex<BTreeSet<String>>>,
}

impl Untouched {
    /// What is in `below`.
    pub fn over(below: Arc<dyn Storage>) -> Self {
        Self {
            below,
            changed: MemoryStorage::default(),
            covered: Arc::default(),
        }
    }

    fn is_covered(&self, name: &str) -> bool {
        self.covered.lock().contains(name)
    }

    /// Take the file into memory, where it is not there yet.
    fn take(&self, name: &str) -> io::Result<()> {
        if self.is_covered(name) {
            return Ok(());
        }
        match self.below.open(name) {
            Ok(file) => self.changed.put(name, read_all(&*file, 0)?),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        self.covered.lock().insert(name.to_owned());
        Ok(())
    }
}

impl Storage for Untouched {
    fn place(&self) -> String {
        self.below.place()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        match self.below.lock() {
            // Nobody changes what may only be read.
            Err(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                self.changed.lock()
            }
            other => other,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.below.list()?;
        names.retain(|name| !self.is_covered(name));
        names.extend(self.changed.list()?);
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.take(name)?;
        self.changed.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        if self.is_covered(name) {
            return self.changed.open(name);
        }
        Ok(Arc::new(UntouchedFile {
            below: self.below.open(name)?,
            changed: Mutex::new(None),
            name: name.to_owned(),
            storage: Self {
                below: self.below.clone(),
                changed: self.changed.clone(),
                covered: self.covered.clone(),
            },
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.take(name)?;
        self.changed.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.take(from)?;
        self.take(to)?;
        self.changed.rename(from, to)
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is read below until it is changed.
struct UntouchedFile {
    below: Arc<dyn StorageFile>,
    changed: Mutex<Option<Arc<dyn StorageFile>>>,
    name: String,
    storage: Untouched,
}

impl UntouchedFile {
    /// The file in memory, where it is there.
    fn changed(&self) -> io::Result<Option<Arc<dyn StorageFile>>> {
        let mut changed = self.changed.lock();
        if changed.is_none() && self.storage.is_covered(&self.name) {
            *changed = Some(self.storage.changed.open(&self.name)?);
        }
        Ok(changed.clone())
    }

    fn change(&self) -> io::Result<Arc<dyn StorageFile>> {
        if let Some(changed) = self.changed()? {
            return Ok(changed);
        }
        self.storage.take(&self.name)?;
        self.storage.changed.open(&self.name)
    }
}

impl StorageFile for UntouchedFile {
    fn length(&self) -> io::Result<u64> {
        self.changed()?.as_ref().unwrap_or(&self.below).length()
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let changed = self.changed()?;
        changed.as_ref().unwrap_or(&self.below).read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.change()?.write_at(at, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change()?.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_seen_above_and_not_below() {
        let below = MemoryStorage::default();
        for name in ["a", "b", "c"] {
            below.put(name, b"below".to_vec());
        }
        let above = Untouched::over(Arc::new(below.clone()));
        let file = above.open("a").unwrap();
        assert_eq!(read_all(&*file, 0).unwrap(), b"below");
        file.write_at(4, b"x").unwrap();
        file.truncate(5).unwrap();
        assert_eq!(read_all(&*file, 0).unwrap(), b"belox");
        assert_eq!(read_all(&*above.open("a").unwrap(), 0).unwrap(), b"belox");
        above.remove("b").unwrap();
        assert!(above.open("b").is_err());
        above.rename("a", "c").unwrap();
        above.create("d").unwrap().write_at(0, b"new").unwrap();
        assert!(above.create("d").is_err());
        let mut names = above.list().unwrap();
        names.sort();
        assert_eq!(names, ["c", "d"]);
        assert_eq!(read_all(&*above.open("c").unwrap(), 0).unwrap(), b"belox");

        for name in ["a", "b", "c"] {
            assert_eq!(below.content(name).unwrap(), b"below", "{name}");
        }
        assert_eq!(below.list().unwrap().len(), 3);
    }

    #[test]
    fn a_file_that_was_opened_twice_shows_its_changes_to_both() {
        let below = MemoryStorage::default();
        below.put("a", b"1".to_vec());
        let above = Untouched::over(Arc::new(below));
        let (one, other) = (above.open("a").unwrap(), above.open("a").unwrap());
        other.write_at(1, b"2").unwrap();
        one.write_at(2, b"3").unwrap();
        assert_eq!(read_all(&*one, 0).unwrap(), read_all(&*other, 0).unwrap());
        assert_eq!(one.length().unwrap(), 3);
    }
}
