//! How a log works: what may be chosen when it is opened.

use std::time::Duration;

use super::Durability;

/// How a log works.
#[derive(Debug, Clone)]
pub struct Options {
    /// What an acknowledged append survives. Default `fsync`.
    pub durability: Durability,
    /// Bytes after which a new segment is begun; a segment is longer by at most one frame. Default 64 MiB.
    /// Small segments make retention finer and cost a folder sync each.
    pub segment_bytes: u64,
    /// Bytes of the newest records that are kept in memory. Default 256 MiB. Readers behind it read the disk.
    pub hot_bytes: usize,
    /// Bytes that may wait for the disk before appends are refused. Default 64 MiB.
    pub max_undurable_bytes: usize,
    /// Bytes of the largest batch. Default 32 MiB.
    pub max_batch_bytes: usize,
    /// Bytes on the disk that are held back for settling what is in when the disk is full; at most an eighth of the
    /// disk. 0 holds nothing back, and a full disk then ends the log. Default 128 MiB: twice what may wait for the
    /// disk.
    pub reserve_bytes: u64,
    /// How long appends for which nobody waits may be held back, so that more of them are synced at once. Default 500 µs.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            segment_bytes: 64 << 20,
            hot_bytes: 256 << 20,
            max_undurable_bytes: 64 << 20,
            max_batch_bytes: 32 << 20,
            reserve_bytes: 128 << 20,
            linger: Duration::from_micros(500),
        }
    }
}
