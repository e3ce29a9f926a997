//! Checkpoints: the fold as it was at an offset, so that a start reads only what came after.
//!
//! A checkpoint is a file of its own beside the log, named after its offset. It is written once, synced with its
//! name, read back, and only then counts; the last two are kept. A file that was cut off or is damaged is told
//! by its hash and passed over. The plugins are not looked at in one moment: each carries the offset up to which
//! records about it are in it, and none is behind the checkpoint's own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use nerve_eventlog::storage::{Storage, StorageFile};
use nerve_eventlog::{Known, LogId, Micros, Offset};
use serde::{Deserialize, Serialize};

use super::PluginState;
use crate::ingest::IdentityKey;
use crate::log::record;
use crate::log::record::TypeSchema;
use crate::trace::map::Observed;

/// The format that this version writes and reads. Magic, both versions, length and hash stay where they are in every
/// format, so that a version always knows what it does not know.
const FORMAT: u32 = 1;

/// The version of the fold: it changes when records come to mean something else, so that a fold of an older version
/// would be wrong.
const FOLD: u32 = 1;

const MAGIC: [u8; 8] = *b"NERVECKP";

/// Magic, format, version of the fold and the length of the body.
const HEADER: usize = 24;

/// Bytes of the hash at the end.
const HASH: usize = 32;

/// Bytes that are written before they are synced: the log syncs on the same disk, and would wait for all that is written.
const PIECE: usize = 256 << 10;

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// The fold as it was.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint<'a> {
    /// The log it belongs to.
    pub log: LogId,
    /// Every record up to here is in it; all of them were durable.
    pub through: Offset,
    /// Time of the log's last record then.
    pub time: Micros,
    /// The key of the identities.
    pub key: IdentityKey,
    /// The identities published lately, as the window writes them.
    #[serde(borrow, with = "serde_bytes")]
    pub window: Cow<'a, [u8]>,
    /// Identities up to here are in the window.
    pub window_through: Offset,
    /// The plugins.
    pub plugins: BTreeMap<String, PluginState>,
    /// What operators set for event types. Setting it again, as a start does, changes nothing.
    #[serde(default)]
    pub schemas: BTreeMap<String, TypeSchema>,
    /// What the map has of the log. It goes on where it stands, which may be before or behind the checkpoint's offset.
    #[serde(default)]
    pub observed: Observed,
}

/// Why a checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was cut off, or is damaged.
    #[error("it is cut off or damaged")]
    Damaged,
    /// Another version wrote it.
    #[error(
        "it has checkpoint format {format} and fold {fold}, and this version of nerve reads format {FORMAT} and fold {FOLD}"
    )]
    Format {
        /// Its format.
        format: u32,
        /// The version of its fold.
        fold: u32,
    },
    /// Its content is not what its format says.
    #[error("its content can't be read: {}", record::said(.0))]
    Content(#[from] rmp_serde::decode::Error),
}

impl Checkpoint<'_> {
    /// What the log need not read again.
    pub fn known(&self) -> Known {
        let settled = self.plugins.iter().filter_map(|(name, state)| {
            let writer = crate::delivery::subscriber::writer(name);
            state.settled_at.map(|last| (writer, last))
        });
        Known {
            log: self.log,
            through: self.through,
            time: self.time,
            writers: settled.collect(),
        }
    }

    /// Write it into `storage`, read it back, and forget all but the last two.
    pub fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        let name = name(self.through);
        // The window is most of it: grown in steps, it would be copied at each.
        let mut bytes = Vec::with_capacity(self.window.len() + (64 << 10));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&FOLD.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        rmp_serde::encode::write(&mut bytes, self).map_err(io::Error::other)?;
        let body = (bytes.len() - HEADER) as u64;
        bytes[16..HEADER].copy_from_slice(&body.to_le_bytes());
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        // One of this name is one that was cut off, or says the same.
        if storage.list()?.contains(&name) {
            storage.remove(&name)?;
        }
        if let Err(cause) = write_whole(storage, &name, &bytes) {
            // On a full disk a part of one would only be in the way.
            storage.remove(&name).ok();
            return Err(cause);
        }
        for old in list(storage)?.into_iter().skip(KEPT) {
            storage.remove(&self::name(old))?;
        }
        storage.sync_folder()
    }
}

/// The checkpoints in `storage`, the newest first.
pub fn list(storage: &dyn Storage) -> io::Result<Vec<Offset>> {
    let mut found: Vec<Offset> = storage.list()?.iter().filter_map(|name| of_name(name)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The checkpoints in `storage` that are whole and of this format, the newest first.
pub fn verified(storage: &dyn Storage) -> io::Result<Vec<Offset>> {
    let mut found = list(storage)?;
    let mut refused = None;
    found.retain(|through| match read(storage, *through) {
        Ok(bytes) => body(&bytes).is_ok(),
        Err(cause) => {
            refused.get_or_insert(cause);
            false
        }
    });
    refused.map_or(Ok(found), Err)
}

/// The bytes of the checkpoint at `through`, for [`parse`].
pub fn read(storage: &dyn Storage, through: Offset) -> io::Result<Vec<u8>> {
    read_whole(&*storage.open(&name(through))?)
}

/// The checkpoint in `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Checkpoint<'_>, Unusable> {
    Ok(rmp_serde::from_slice(body(bytes)?)?)
}

/// The body of the checkpoint in `bytes`, whose hash and format are right.
fn body(bytes: &[u8]) -> Result<&[u8], Unusable> {
    let (hashed, hash) = bytes
        .split_at_checked(bytes.len().wrapping_sub(HASH))
        .ok_or(Unusable::Damaged)?;
    let (magic, rest) = hashed.split_first_chunk().ok_or(Unusable::Damaged)?;
    let (format, rest) = rest.split_first_chunk().ok_or(Unusable::Damaged)?;
    let (fold, rest) = rest.split_first_chunk().ok_or(Unusable::Damaged)?;
    let (_length, body) = rest.split_first_chunk::<8>().ok_or(Unusable::Damaged)?;
    let (format, fold) = (u32::from_le_bytes(*format), u32::from_le_bytes(*fold));
    if *magic != MAGIC || blake3::hash(hashed).as_bytes() != hash {
        return Err(Unusable::Damaged);
    }
    if (format, fold) != (FORMAT, FOLD) {
        return Err(Unusable::Format { format, fold });
    }
    Ok(body)
}

/// Give the checkpoint at `through` a name under which it is no checkpoint.
pub fn pass_over(storage: &dyn Storage, through: Offset) -> io::Result<()> {
    let name = name(through);
    storage.rename(&name, &format!("{name}.passed-over"))?;
    storage.sync_folder()
}

/// The file of the checkpoint at `through`.
pub fn name(through: Offset) -> String {
    format!("{:020}.checkpoint", through.0)
}

fn of_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".checkpoint")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Offset))?
}

/// Write a file, durable with its name, and read it back.
fn write_whole(storage: &dyn Storage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = storage.create(name)?;
    for (at, piece) in (0..).step_by(PIECE).zip(bytes.chunks(PIECE)) {
        file.write_at(at, piece)?;
        file.sync()?;
    }
    storage.sync_folder()?;
    if read_whole(&*storage.open(name)?)? == bytes {
        Ok(())
    } else {
        Err(io::Error::other(format!("{name} does not hold what was written")))
    }
}

fn read_whole(file: &dyn StorageFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
