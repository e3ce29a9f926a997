//! Checkpoints: the fold as it was at an offset, so that a start reads only what came after.
//!
//! A checkpoint is a file of its own beside the log, named after its offset. It is written once, synced with its
//! name, read back, and only then counts; the last two are kept. A file that was cut off or is damaged is told
//! by its hash and passed over. The plugins are not looked at in one moment: each carries the offset up to which
//! records about it are in it, and none is behind the checkpoint's own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use nerve_eventlog::storage::{Storage, StorageFile};
use nerve_eventlog::{Known, LogId, Micros, Offset};
use serde::{Deserialize, Deserializer, Serialize};

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

/// Bytes of the hash at the end.
const HASH: usize = 32;

/// Bytes that are written before they are synced: the log syncs on the same disk, and would wait for all that is written.
pub(super) const PIECE: usize = 256 << 10;

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// The fold as it was.
#[derive(Debug, Deserialize)]
pub struct Checkpoint<'a> {
    /// The log it belongs to.
    pub log: LogId,
    /// Every record up to here is in it; all of them were durable.
    pub through: Offset,
    /// Time of the log's last record then.
    pub time: Micros,
    /// The key of the identities.
    pub key: IdentityKey,
    /// The identities published lately, as the window has them: in parts, which are written one behind the other and read as one.
    #[serde(borrow, deserialize_with = "one_part")]
    pub window: Vec<Cow<'a, [u8]>>,
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
        let mut body = Length(0);
        self.encode(&mut body)?;
        // One of this name is one that was cut off, or says the same.
        if storage.list()?.contains(&name) {
            storage.remove(&name)?;
        }
        if let Err(cause) = self.write_whole(storage, &name, body.0) {
            // On a full disk a part of one would only be in the way.
            storage.remove(&name).ok();
            return Err(cause);
        }
        for old in list(storage)?.into_iter().skip(KEPT) {
            storage.remove(&self::name(old))?;
        }
        storage.sync_folder()
    }

    fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        let Self {
            log,
            through,
            time,
            key,
            window,
            window_through,
            plugins,
            schemas,
            observed,
        } = self;
        rmp::encode::write_array_len(out, 9)?;
        field(out, log)?;
        field(out, through)?;
        field(out, time)?;
        field(out, key)?;
        let bytes: usize = window.iter().map(|part| part.len()).sum();
        rmp::encode::write_bin_len(out, u32::try_from(bytes).map_err(io::Error::other)?)?;
        window.iter().try_for_each(|part| out.write_all(part))?;
        field(out, window_through)?;
        field(out, plugins)?;
        field(out, schemas)?;
        field(out, observed)
    }

    /// Write its file, durable with its name, and read it back.
    fn write_whole(&self, storage: &dyn Storage, name: &str, body: u64) -> io::Result<()> {
        let mut pieces = Pieces::new(storage.create(name)?);
        pieces.write_all(&MAGIC)?;
        pieces.write_all(&FORMAT.to_le_bytes())?;
        pieces.write_all(&FOLD.to_le_bytes())?;
        pieces.write_all(&body.to_le_bytes())?;
        self.encode(&mut pieces)?;
        let hash = pieces.hash.finalize();
        pieces.write_all(hash.as_bytes())?;
        pieces.flush()?;
        storage.sync_folder()?;
        if hash_of(&*storage.open(name)?)? == (pieces.at, pieces.hash.finalize()) {
            Ok(())
        } else {
            Err(io::Error::other(format!("{name} does not hold what was written")))
        }
    }
}

fn field(out: &mut impl Write, field: &impl Serialize) -> io::Result<()> {
    rmp_serde::encode::write(out, field).map_err(said_by_the_system)
}

fn one_part<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Vec<Cow<'a, [u8]>>, D::Error> {
    Ok(vec![serde_bytes::deserialize(from)?])
}

/// What the system said, which an encoder that could not write leaves out of what it says itself.
fn said_by_the_system(error: rmp_serde::encode::Error) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), io.to_string());
        }
        cause = inner.source();
    }
    io::Error::other(error)
}

/// Counts what is written.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a file piece by piece: the window is most of a checkpoint, and none of it need be in memory once more.
struct Pieces {
    file: Arc<dyn StorageFile>,
    at: u64,
    piece: Vec<u8>,
    /// Of all that was written.
    hash: blake3::Hasher,
}

impl Pieces {
    fn new(file: Arc<dyn StorageFile>) -> Self {
        Self {
            file,
            at: 0,
            piece: Vec::with_capacity(PIECE),
            hash: blake3::Hasher::new(),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        self.hash.update(&bytes[..taken]);
        Ok(taken)
    }

    /// What was written is durable.
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.at, &self.piece)?;
        self.file.sync()?;
        self.at += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
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

/// How long `file` is, and the hash of what it holds.
fn hash_of(file: &dyn StorageFile) -> io::Result<(u64, blake3::Hash)> {
    let (mut at, mut piece, mut hash) = (0, vec![0; PIECE], blake3::Hasher::new());
    loop {
        let read = file.read_at(at, &mut piece)?;
        if read == 0 {
            return Ok((at, hash.finalize()));
        }
        hash.update(&piece[..read]);
        at += read as u64;
    }
}

fn read_whole(file: &dyn StorageFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
