//! What a plugin promised of the events it emits: the schemas it declares, held against each of them.

use hashbrown::HashMap;

use crate::contract::{Checked, Schema};
use crate::delivery::handler::Emit;
use crate::delivery::subscription::check_type;
use crate::ingest::message_pack;
use crate::log::record::{DeclaredSchema, Mode};

/// Schemas of emitted events, by type.
#[derive(Debug, Default)]
pub(super) struct Promised {
    by_type: HashMap<Box<str>, Schema>,
    /// What becomes of an event that breaks one.
    pub(super) mode: Mode,
}

impl Promised {
    /// What `declared` says of emitted events. What is no schema that can be read was seen at the deployment.
    pub(super) fn of(declared: &[DeclaredSchema], mode: Mode) -> Self {
        let emitted = declared
            .iter()
            .filter(|schema| schema.emits && mode != Mode::Off && check_type(&schema.event_type).is_ok());
        let by_type =
            emitted.filter_map(|schema| Some((schema.event_type.as_str().into(), schema.json.parse().ok()?)));
        Self {
            by_type: by_type.collect(),
            mode,
        }
    }

    /// What it said of events of this type, which is then well-formed.
    pub(super) fn of_type(&self, event_type: &str) -> Option<&Schema> {
        self.by_type.get(event_type)
    }
}

/// How `emit` breaks its `schema`, in words.
pub(super) fn broken_by(emit: &Emit, schema: &Schema) -> Option<String> {
    let content_type = emit.content_type.as_deref().unwrap_or("application/json");
    let problem = if message_pack::is_json(content_type) {
        match schema.check(&emit.data) {
            Checked::Broken(violation) => violation.to_string(),
            Checked::Valid | Checked::CantTell => return None,
        }
    } else {
        format!("it is {content_type}, and must be JSON")
    };
    Some(format!(
        "contract {}: it emitted what its own schema does not allow, {problem}",
        emit.r#type
    ))
}
