//! Opening a log: everything since the checkpoint is read and verified, and the header of every segment before;
//! a torn tail is cut, damage refuses to start.
//!
//! Torn or rotten? Every frame says what was on disk when it was written. When a bad place should hold offset
//! *o* and a whole frame header behind it says that *o* was synced, acknowledged records are damaged. When none
//! does, the bad place is a write that was cut off.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::batch::{self, Entry};
use crate::file_log::Durability;
use crate::frame::{self, Expected, Found};
use crate::segment::{self, Segment};
use crate::storage::{Storage, StorageFile, read_all};
use crate::{LogId, Micros, Offset, OpenError, repair, sync};

/// What opening a log found.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Records that were read.
    pub records: u64,
    /// What was cut off, where something was.
    pub torn: Option<TornTail>,
    /// What the last repair of this log was, where there was one: the last line of [`crate::repair::REPAIRS`].
    pub repaired: Option<String>,
}

/// What was cut off the end of a log.
#[derive(Debug, Clone)]
pub struct TornTail {
    /// The file it was cut from.
    pub file: String,
    /// Where in it.
    pub byte: u64,
    /// The offset that would have followed.
    pub offset: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// The file that it was copied to.
    pub copied_to: String,
    /// Whether it may hold records that were acknowledged. A write that stops short was never acknowledged under
    /// durability `fsync`, since a sync that ends includes the file's length; anything else can't be told.
    pub may_hold_acknowledged: bool,
}

/// What is wrong where one segment ends and the next begins.
pub(crate) const MISSING: &str =
    "the segment does not follow what is before it: records are missing between them";

/// What a checkpoint knows of a log, so that the records before need not be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The log.
    pub log: LogId,
    /// Everything up to here was durable, and is known.
    pub through: Offset,
    /// The time of the last record then.
    pub time: Micros,
    /// The last record of each writer then, or a later one.
    pub writers: Vec<(Box<str>, Offset)>,
}

/// What an opened log goes on from.
pub(crate) struct Opened {
    pub(crate) id: LogId,
    pub(crate) segments: Vec<Segment>,
    pub(crate) file: Option<Arc<dyn StorageFile>>,
    pub(crate) chain: u32,
    pub(crate) synced: Offset,
    pub(crate) next: Offset,
    pub(crate) time: Micros,
    pub(crate) writers: HashMap<Box<str>, Offset>,
    pub(crate) recovered: Recovered,
}

/// A log without files.
pub(crate) fn empty(id: LogId) -> Opened {
    Opened {
        id,
        segments: Vec::new(),
        file: None,
        chain: 0,
        synced: Offset(0),
        next: Offset(1),
        time: Micros(0),
        writers: HashMap::new(),
        recovered: Recovered::default(),
    }
}

/// Called with each batch: its first offset, its bytes and its records.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Offset, Bytes, Vec<Entry>);

/// Read the log in `storage`, or make one.
pub(crate) fn recover(
    storage: &dyn Storage,
    durability: Durability,
    now: Micros,
    known: Option<&Known>,
    visit: Visit<'_>,
) -> Result<Opened, OpenError> {
    let io = |cause| OpenError::Io {
        file: storage.place(),
        cause,
    };
    let mut firsts: Vec<Offset> = storage
        .list()
        .map_err(io)?
        .iter()
        .filter_map(|n| segment::first_of(n))
        .collect();
    firsts.sort_unstable();
    let mut scan = Scan {
        storage,
        durability,
        known,
        opened: None,
    };
    // The segment that holds the first record behind what is known is the first one that is read.
    let mut begin = known.map_or(0, |known| {
        let before = firsts.partition_point(|first| *first <= known.through.next());
        before.saturating_sub(1)
    });
    // One whose making was cut off says nothing of what stands before it.
    if begin > 0 && begin + 1 == firsts.len() && !scan.has_header(firsts[begin])? {
        begin -= 1;
    }
    for (at, first) in firsts.iter().enumerate() {
        let is_last = at + 1 == firsts.len();
        if at < begin {
            scan.skip(*first, firsts[at + 1])?;
        } else {
            scan.segment(*first, is_last, visit)?;
        }
    }
    if let Some(known) = known {
        scan.meets(known)?;
    }
    let torn = scan
        .opened
        .as_mut()
        .and_then(|opened| opened.recovered.torn.take());
    let mut opened = match scan.opened {
        Some(opened) if !opened.segments.is_empty() => opened,
        other => {
            // What a checkpoint knows goes on, under the same id, also when no segment is left of it.
            let id = known
                .map_or_else(LogId::random, |known| Ok(known.log))
                .map_err(io)?;
            let mut fresh = empty(id);
            if let Some(before) = other {
                (fresh.next, fresh.synced) = (before.next, before.next.prev());
                (fresh.time, fresh.writers) = (before.time, before.writers);
            }
            let (file, segment) = sync::begin_segment(storage, id, fresh.next, now, 0).map_err(io)?;
            fresh.file = Some(file);
            fresh.segments.push(segment);
            fresh
        }
    };
    opened.recovered.torn = torn;
    opened.recovered.repaired = repair::last(storage).map_err(io)?;
    Ok(opened)
}

struct Scan<'a> {
    storage: &'a dyn Storage,
    durability: Durability,
    known: Option<&'a Known>,
    opened: Option<Opened>,
}

impl Scan<'_> {
    /// Whether the log holds what is `known` of it.
    fn meets(&mut self, known: &Known) -> Result<(), OpenError> {
        let last = self
            .opened
            .as_ref()
            .map_or(Offset(0), |opened| opened.next.prev());
        let begins = self.opened.as_ref().and_then(|opened| opened.segments.first());
        if last < known.through || begins.is_some_and(|segment| segment.first > known.through.next()) {
            return Err(OpenError::Behind {
                folder: self.storage.place(),
                through: known.through,
                last,
            });
        }
        if let Some(opened) = &mut self.opened {
            opened.time = opened.time.max(known.time);
            for (writer, last) in &known.writers {
                let ends = opened.writers.entry(writer.clone()).or_insert(*last);
                *ends = (*ends).max(*last);
            }
        }
        Ok(())
    }

    /// Whether the segment that begins with `first` has a whole header.
    fn has_header(&self, first: Offset) -> Result<bool, OpenError> {
        let name = segment::name(first);
        let mut bytes = [0; segment::HEADER];
        let read = self
            .storage
            .open(&name)
            .and_then(|file| file.read_at(0, &mut bytes))
            .map_err(|cause| OpenError::Io { file: name, cause })?;
        Ok(segment::Header::read(&bytes[..read]).is_some())
    }

    /// Check the header of the segment that begins with `first` and lies before all that is read; `next` begins the
    /// one behind it.
    fn skip(&mut self, first: Offset, next: Offset) -> Result<(), OpenError> {
        let name = segment::name(first);
        let io = |cause| OpenError::Io {
            file: name.clone(),
            cause,
        };
        let file = self.storage.open(&name).map_err(io)?;
        let mut bytes = [0; segment::HEADER];
        let read = file.read_at(0, &mut bytes).map_err(io)?;
        let length = file.length().map_err(io)?;
        let header = self.header(&name, first, &bytes[..read])?;
        let opened = self.opened.get_or_insert_with(|| empty(header.log));
        opened.segments.push(Segment::unread(&header, length));
        opened.next = next;
        Ok(())
    }

    /// The header of the segment called `name`, which must be sound and of this log.
    fn header(&self, name: &str, first: Offset, bytes: &[u8]) -> Result<segment::Header, OpenError> {
        let damaged = |byte, what: &str| OpenError::Damaged {
            file: name.to_owned(),
            byte,
            offset: first,
            what: what.to_owned(),
        };
        let Some(header) = segment::Header::read(bytes) else {
            return Err(damaged(0, "the segment's header is damaged"));
        };
        if header.format != segment::FORMAT {
            return Err(OpenError::Format {
                file: name.to_owned(),
                found: header.format,
                known: segment::FORMAT,
            });
        }
        if header.first != first {
            return Err(damaged(32, "the segment's name and header disagree"));
        }
        let opened = self.opened.as_ref().map(|opened| opened.id);
        let log = opened.or(self.known.map(|known| known.log));
        if log.is_some_and(|log| log != header.log) {
            return Err(damaged(16, "the segment belongs to another log"));
        }
        Ok(header)
    }

    /// Read the segment that begins with `first`.
    fn segment(&mut self, first: Offset, is_last: bool, visit: Visit<'_>) -> Result<(), OpenError> {
        let name = segment::name(first);
        let io = |cause| OpenError::Io {
            file: name.clone(),
            cause,
        };
        let damaged = |byte: usize, offset, what: &str| OpenError::Damaged {
            file: name.clone(),
            byte: byte as u64,
            offset,
            what: what.to_owned(),
        };
        let file = self.storage.open(&name).map_err(io)?;
        let bytes = Bytes::from(read_all(&*file, 0).map_err(io)?);
        // Frames are written only into a segment whose header is on disk: one that is longer was whole once.
        let is_begun = segment::Header::read(&bytes).is_none() && bytes.len() <= segment::HEADER;
        if is_last && is_begun && self.known.is_none_or(|known| known.through < first) {
            // It was made when all before it was on disk: what does not reach it lost its end.
            let before = self.opened.as_ref().map(|opened| opened.next);
            let follows = before.or(self.known.map(|known| known.through.next()));
            return match follows.unwrap_or(Offset(1)) {
                next if next == first => self.discard(&name, first, &bytes).map_err(io),
                next => Err(damaged(0, next, MISSING)),
            };
        }
        let header = self.header(&name, first, &bytes)?;
        let unread = |opened: &Opened| opened.segments.last().is_some_and(Segment::is_unread);
        let opened = self.opened.get_or_insert_with(|| Opened {
            next: first,
            ..empty(header.log)
        });
        if opened.segments.is_empty() || unread(opened) {
            opened.chain = header.previous;
        }
        if header.first != opened.next || header.previous != opened.chain {
            return Err(damaged(32, opened.next, MISSING));
        }
        opened.synced = opened.next.prev();
        opened.segments.push(Segment::new(first, header.made));
        let mut at = segment::HEADER;
        loop {
            let expected = Expected {
                log: opened.id,
                first: opened.next,
                previous: opened.chain,
            };
            let (header, chain) = match frame::find(&bytes[at..], expected) {
                Found::Frame(header, chain) => (header, chain),
                Found::End => break,
                found => {
                    let what = match found {
                        Found::Bad(what) => what,
                        _ => "the file ends within a frame",
                    };
                    let proof = frame::proof_of_sync(&bytes, at, opened.id, opened.next).is_some()
                        || self.known.is_some_and(|known| opened.next <= known.through);
                    if !is_last || proof {
                        return Err(damaged(at, opened.next, what));
                    }
                    let short = found == Found::Short && self.durability == Durability::Fsync;
                    return self.cut(&name, &*file, at, &bytes, !short).map_err(io);
                }
            };
            let body = bytes.slice(at + frame::HEADER..at + frame::HEADER + header.body as usize);
            let mut records = 0;
            let whole = batches(&body, header.first, &mut |first, batch, entries| {
                let sealed = batch::open(&batch).expect("it was opened before");
                let last = Offset(first.0 + u64::from(sealed.count) - 1);
                if let Ok(writer) = std::str::from_utf8(sealed.writer)
                    && !writer.is_empty()
                {
                    opened.writers.insert(writer.into(), last);
                }
                opened.time = sealed.time;
                records += u64::from(sealed.count);
                visit(first, batch, entries);
            });
            if whole.is_none() || records != u64::from(header.count) {
                return Err(damaged(
                    at,
                    opened.next,
                    "the frame's batches are not well-formed",
                ));
            }
            opened.recovered.records += records;
            opened.segments.last_mut().expect("it was pushed above").add(
                header.first,
                header.size(),
                header.previous,
            );
            (opened.chain, opened.next) = (chain, header.last().next());
            at += usize::try_from(header.size()).expect("it was found in memory");
        }
        opened.file = Some(file);
        Ok(())
    }

    /// Cut the tail of the last segment from `at` on, after copying it aside.
    fn cut(
        &mut self,
        name: &str,
        file: &dyn StorageFile,
        at: usize,
        bytes: &[u8],
        may_hold_acknowledged: bool,
    ) -> std::io::Result<()> {
        let opened = self.opened.as_mut().expect("a segment was begun");
        let tail = &bytes[at..];
        let torn = &tail[..frame::written(tail)];
        let copied_to = copy_aside(self.storage, opened.next, torn)?;
        file.truncate(at as u64)?;
        file.sync()?;
        opened.file = Some(self.storage.open(name)?);
        opened.recovered.torn = Some(TornTail {
            file: name.to_owned(),
            byte: at as u64,
            offset: opened.next,
            bytes: torn.len() as u64,
            copied_to,
            may_hold_acknowledged,
        });
        Ok(())
    }

    /// Remove a last segment whose making was cut off.
    fn discard(&mut self, name: &str, first: Offset, bytes: &[u8]) -> std::io::Result<()> {
        let copied_to = copy_aside(self.storage, first, bytes)?;
        self.storage.remove(name)?;
        self.storage.sync_folder()?;
        let opened = self.opened.get_or_insert_with(|| Opened {
            next: first,
            ..empty(LogId([0; 16]))
        });
        opened.recovered.torn = Some(TornTail {
            file: name.to_owned(),
            byte: 0,
            offset: first,
            bytes: bytes.len() as u64,
            copied_to,
            may_hold_acknowledged: false,
        });
        Ok(())
    }
}

/// Copy `bytes` into a file of their own, durable with its name; answers the name.
fn copy_aside(storage: &dyn Storage, offset: Offset, bytes: &[u8]) -> std::io::Result<String> {
    let taken = storage.list()?;
    // One of more numbers than there are files is free.
    let name = (0..=taken.len())
        .map(|n| format!("torn-{:020}-{n}", offset.0))
        .find(|name| !taken.contains(name))
        .expect("there are more numbers than files");
    let copy = storage.create(&name)?;
    copy.write_at(0, bytes)?;
    copy.sync()?;
    storage.sync_folder()?;
    Ok(name)
}

/// Calls `visit` with the batches of a frame's body; `None` where it is not well-formed.
pub(crate) fn batches(body: &Bytes, first: Offset, visit: Visit<'_>) -> Option<()> {
    let (mut at, mut offset) = (0, first);
    while at < body.len() {
        let sealed = batch::open(&body[at..])?;
        let bytes = body.slice(at..at + sealed.size);
        let end = batch::HEADER + sealed.records;
        let mut entries = Vec::with_capacity(sealed.count.min(4096) as usize);
        let mut record_at = batch::HEADER;
        let batch_first = offset;
        for _ in 0..sealed.count {
            let (start, stop) = batch::record(&bytes, record_at, end)?;
            entries.push(Entry {
                offset,
                time: sealed.time,
                payload: bytes.slice(start..stop),
            });
            (record_at, offset) = (stop, offset.next());
        }
        if record_at != end {
            return None;
        }
        at += sealed.size;
        visit(batch_first, bytes, entries);
    }
    Some(())
}
