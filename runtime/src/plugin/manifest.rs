//! What a plugin says of itself, checked.

use super::name::PluginName;
use super::v1::exports::nerve::plugin::handler as wit;
use super::v1::log::escaped;
use crate::delivery::subscription::{BadType, Pattern, check_type};
use crate::log::record::DeclaredSchema;

/// How many subscriptions, types, schemas, asks and prefixes a manifest may have, each.
const MOST: usize = 1000;

/// Bytes of a schema at most.
const LONGEST_SCHEMA: usize = 256 << 10;

/// Bytes of all its schemas at most: they stand in the record of its deployment.
const LONGEST_SCHEMAS: usize = 1 << 20;

/// What a plugin says of itself.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The author's version text.
    pub version: String,
    /// What it subscribes to.
    pub subscriptions: Vec<Pattern>,
    /// Event types it emits.
    pub emits: Vec<String>,
    /// Whether JSON data is handed over as JSON text instead of MessagePack.
    pub json: bool,
    /// Its JSON Schemas; whether they can be used is seen at deployment.
    pub schemas: Vec<DeclaredSchema>,
    /// Capability and scope of what it asks for.
    pub asks: Vec<(String, Vec<String>)>,
    /// Prefixes of state keys that applications may read.
    pub readable: Vec<String>,
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// It belongs to another file.
    #[error("it describes itself as {described:?}, but its file is called {file}.wasm: rename one of them")]
    Name {
        /// What it says.
        described: String,
        /// The file's stem.
        file: PluginName,
    },
    /// It has no subscription.
    #[error("it subscribes to nothing, so that it would never run: subscribe to an event type")]
    NoSubscription,
    /// A pattern or type is malformed.
    #[error(transparent)]
    Type(#[from] BadType),
    /// A list or text is too long.
    #[error("{0} of its description is longer than {1}")]
    TooLong(&'static str, usize),
    /// A schema is no JSON.
    #[error("its schema of {event_type:?} is no JSON: {cause}")]
    Schema {
        /// The type.
        event_type: String,
        /// Why.
        cause: serde_json::Error,
    },
}

impl Manifest {
    /// Check what the plugin in `NAME.wasm` says of itself.
    pub(super) fn check(name: &PluginName, said: wit::Manifest) -> Result<Self, BadManifest> {
        if said.name != name.as_str() {
            let described = said.name.chars().take(80).collect();
            return Err(BadManifest::Name {
                described,
                file: name.clone(),
            });
        }
        if said.version.len() > 64 {
            return Err(BadManifest::TooLong("the version", 64));
        }
        for (what, length) in [
            ("the list of subscriptions", said.subscriptions.len()),
            ("the list of emitted types", said.emits.len()),
            ("the list of schemas", said.schemas.len()),
            ("the list of asks", said.asks.len()),
            ("the list of readable prefixes", said.readable.len()),
        ] {
            if length > MOST {
                return Err(BadManifest::TooLong(what, MOST));
            }
        }
        if said.subscriptions.is_empty() {
            return Err(BadManifest::NoSubscription);
        }
        said.emits.iter().try_for_each(|name| check_type(name))?;
        let mut schemas = Vec::new();
        for schema in said.schemas {
            check_type(&schema.event_type)?;
            if schema.json.len() > LONGEST_SCHEMA {
                return Err(BadManifest::TooLong("a schema", LONGEST_SCHEMA));
            }
            if let Err(cause) = serde_json::from_str::<serde::de::IgnoredAny>(&schema.json) {
                return Err(BadManifest::Schema {
                    event_type: schema.event_type,
                    cause,
                });
            }
            schemas.push(DeclaredSchema {
                event_type: schema.event_type,
                emits: schema.role == wit::Role::Emits,
                json: schema.json,
            });
        }
        if schemas.iter().map(|schema| schema.json.len()).sum::<usize>() > LONGEST_SCHEMAS {
            return Err(BadManifest::TooLong("all its schemas together", LONGEST_SCHEMAS));
        }
        Ok(Self {
            version: escaped(said.version),
            subscriptions: said
                .subscriptions
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, BadType>>()?,
            emits: said.emits,
            json: said.payload == wit::PayloadFormat::Json,
            schemas,
            asks: said
                .asks
                .into_iter()
                .map(|ask| (ask.capability, ask.scope))
                .collect(),
            readable: said.readable,
        })
    }
}
