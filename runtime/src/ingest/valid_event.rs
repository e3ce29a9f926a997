//! The only thing that can be appended as an event.

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
}

/// `id` and `source` in one hash, and the content in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// 128-bit keyed hash of source and id.
    pub(crate) name: u128,
    /// 64-bit keyed hash of everything the publisher stated.
    pub(crate) content: u64,
}
