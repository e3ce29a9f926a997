//! The durable, in-memory event log (signatures first).
#![allow(missing_docs, reason = "signatures first")]

use bytes::Bytes;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Offset(pub u64);
impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);
#[derive(Debug, Clone)]
pub struct Entry {
    pub offset: Offset,
    pub time: Micros,
    pub payload: Bytes,
}
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub first: Offset,
    pub durable: Offset,
    pub last: Offset,
    pub hot_first: Offset,
}
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    Durable,
    Appended,
}
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {asked} is gone; the first offset left is {first}")]
    Gone { asked: Offset, first: Offset },
}
pub trait Log: Send + Sync {
    fn bounds(&self) -> Bounds;
    fn read(&self, from: Offset, max_bytes: usize, reach: Reach) -> Result<Vec<Entry>, ReadError>;
}
