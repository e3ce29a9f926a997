//! The only thing that can be appended as an event, and what makes two of them the same.

use std::hash::Hasher as _;

use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use crate::log::record::{self, Attribute, Event};

/// An event that passed every check of its own, encoded as its record. Only ingest makes one.
#[derive(Debug, Clone)]
pub struct ValidEvent {
    /// Its dotted type.
    pub(crate) r#type: Box<str>,
    /// Its id, for messages.
    pub(crate) id: Box<str>,
    /// Its source, for messages.
    pub(crate) source: Box<str>,
    /// What makes it a duplicate, or a conflict.
    pub(crate) identity: Identity,
    /// The bytes of its record ([`crate::log::record::Record::Event`]), encoded once.
    pub(crate) record: Vec<u8>,
    /// The key of its identity.
    pub(crate) key: IdentityKey,
}

impl ValidEvent {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its dotted type.
    pub fn event_type(&self) -> &str {
        &self.r#type
    }

    /// The bytes of its record.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Its source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What its identity would be had its publisher stated no time, where it states that it happened at `recorded`: so an event
    /// is shown, and exported, that was recorded then and came without a time.
    pub(crate) fn as_shown(&self, recorded: Micros) -> Option<Identity> {
        let event = record::event(&self.record).ok()??;
        let timeless = Event {
            time: None,
            ..event.clone()
        };
        (event.time == Some(recorded.0)).then(|| Identity::of_record(&timeless, self.key))
    }
}

/// `id` and `source` in one hash, and what the publisher stated in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// 128-bit keyed hash of source and id.
    pub(crate) name: u128,
    /// 64-bit keyed hash of everything else the publisher stated.
    pub(crate) content: u64,
}

/// The key of the hashes. Random, and kept only in checkpoints, so that nobody can prepare two names with one hash.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct IdentityKey([u64; 2]);

impl IdentityKey {
    /// A new key.
    ///
    /// # Panics
    /// When the system has no randomness.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        let (a, b) = bytes.split_at(8);
        Self([a, b].map(|half| u64::from_le_bytes(half.try_into().expect("8 bytes"))))
    }
}

impl Identity {
    /// The identity of an event from outside. What the host adds (trace context, correlation) does not count.
    pub fn of_record(event: &Event<'_>, IdentityKey([a, b]): IdentityKey) -> Self {
        let mut name = SipHasher13x128::new_with_keys(a, b);
        name.write(event.source.as_bytes());
        name.write_u8(0);
        name.write(event.id.as_bytes());
        let mut content = SipHasher13::new_with_keys(b, a);
        let mut part = |part: Option<&[u8]>| {
            content.write_usize(part.map_or(usize::MAX, <[u8]>::len));
            content.write(part.unwrap_or_default());
        };
        part(Some(event.r#type.as_bytes()));
        part(event.key.map(str::as_bytes));
        part(event.subject.map(str::as_bytes));
        part(event.time.map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        part(Some(event.content_type.as_bytes()));
        part(event.data_schema.map(str::as_bytes));
        part(Some(event.data));
        // Attributes have no order: whoever publishes again may write them in another one.
        let mut extensions: Vec<_> = event.extensions.iter().collect();
        extensions.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in extensions {
            part(Some(name.as_bytes()));
            match value {
                Attribute::Bool(flag) => part(Some(&[0, u8::from(*flag)])),
                Attribute::Integer(number) => part(Some(&number.to_le_bytes())),
                Attribute::Text(text) => {
                    part(None);
                    part(Some(text.as_bytes()));
                }
            }
        }
        Self {
            name: name.finish128().as_u128(),
            content: content.finish(),
        }
    }
}
