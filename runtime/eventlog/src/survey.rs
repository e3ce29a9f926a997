//! Reading everything in a log's folder and going on behind damage: what `verify` reports and a repair is planned from.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;

use crate::batch;
use crate::frame::{self, Expected, Found};
use crate::recovery;
use crate::segment::{self, Header};
use crate::storage::{Storage, read_all};
use crate::verify::{Damage, Report, SegmentReport};
use crate::{Entry, LogId, Micros, Offset};

/// How often a folder is read anew because retention dropped a segment between its listing and its reading.
const TRIES: usize = 10;

/// What is in a folder.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) report: Report,
    /// What is sound, in the order of the files.
    pub(crate) runs: Vec<Run>,
    /// Segments in a run whose header is damaged, and what it should be.
    pub(crate) headers: Vec<Header>,
    /// The highest offset that anything sound speaks of.
    pub(crate) evidence: Offset,
}

/// Frames that follow each other without a fault, over the ends of segments too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first record.
    pub(crate) first: Offset,
    /// The record behind its last one; its first one where it has only marks.
    pub(crate) next: Offset,
    /// Where it begins.
    pub(crate) begins: Place,
    /// Where it ends.
    pub(crate) ends: Place,
    /// The CRC of the frame before its first.
    pub(crate) previous: u32,
    /// The CRC of its last frame.
    chain: u32,
}

/// A place in a segment, which is named by its first offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: Offset,
    pub(crate) byte: u64,
}

/// Called with every record that can be read.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&Entry);

/// Read what is in `storage`. `known` are offsets that checkpoints know to have been durable, each with its log.
pub(crate) fn survey(storage: &dyn Storage, known: &[(LogId, Offset)], each: Each<'_>) -> io::Result<Survey> {
    let mut tries = 0;
    loop {
        match attempt(storage, known, each) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

/// The first offsets of the segments in `storage`, ascending.
pub(crate) fn segments(storage: &dyn Storage) -> io::Result<Vec<Offset>> {
    let names = storage.list()?;
    let mut firsts: Vec<Offset> = names.iter().filter_map(|name| segment::first_of(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

fn attempt(storage: &dyn Storage, known: &[(LogId, Offset)], each: Each<'_>) -> io::Result<Survey> {
    let firsts = segments(storage)?;
    let id = id_of_most(storage, &firsts)?.or(known.first().map(|(log, _)| *log));
    let of_this = known.iter().filter(|(log, _)| Some(*log) == id);
    let mut walk = Walk {
        known: of_this.map(|(_, through)| *through).max().unwrap_or_default(),
        id,
        survey: Survey::default(),
        whole: false,
        each,
    };
    walk.survey.report.id = id;
    walk.survey.evidence = walk.known;
    for (at, first) in firsts.iter().enumerate() {
        let bytes = Bytes::from(read_all(&*storage.open(&segment::name(*first))?, 0)?);
        walk.segment(*first, &bytes, at + 1 == firsts.len());
    }
    walk.end();
    Ok(walk.survey)
}

/// The log that most segments say they belong to; of several the one that comes first.
fn id_of_most(storage: &dyn Storage, firsts: &[Offset]) -> io::Result<Option<LogId>> {
    let mut counts: HashMap<LogId, (usize, std::cmp::Reverse<usize>)> = HashMap::new();
    for (at, first) in firsts.iter().enumerate() {
        let mut bytes = [0; segment::HEADER];
        let read = storage.open(&segment::name(*first))?.read_at(0, &mut bytes)?;
        if let Some(header) = Header::read(&bytes[..read]) {
            counts.entry(header.log).or_insert((0, std::cmp::Reverse(at))).0 += 1;
        }
    }
    Ok(counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(id, _)| id))
}

struct Walk<'a> {
    /// The highest offset that a checkpoint knows.
    known: Offset,
    id: Option<LogId>,
    survey: Survey,
    /// Whether the last run reaches the end of the segments so far.
    whole: bool,
    each: Each<'a>,
}

impl Walk<'_> {
    fn damage(&mut self, file: Offset, byte: usize, offset: Offset, what: impl Into<String>) {
        self.survey.report.damage.push(Damage {
            file: segment::name(file),
            byte: byte as u64,
            offset,
            what: what.into(),
        });
    }

    /// The run that may go on, as what its next frame must agree with.
    fn follows(&self) -> Option<(Offset, u32)> {
        let last = self.survey.runs.last().filter(|_| self.whole)?;
        Some((last.next, last.chain))
    }

    fn speaks_of(&mut self, offset: Offset) {
        self.survey.evidence = self.survey.evidence.max(offset);
    }

    fn segment(&mut self, first: Offset, bytes: &Bytes, is_last: bool) {
        self.speaks_of(first.prev());
        self.survey.report.segments.push(SegmentReport {
            file: segment::name(first),
            first,
            bytes: frame::written(bytes) as u64,
            frames: 0,
            records: 0,
        });
        let header = match self.header(first, bytes, is_last) {
            Ok(header) => header,
            Err(go_on) => {
                self.whole &= go_on;
                return;
            }
        };
        let begins = |byte, first, previous| {
            let place = Place {
                segment: header.first,
                byte,
            };
            Run {
                first,
                next: first,
                begins: place,
                ends: place,
                previous,
                chain: previous,
            }
        };
        match self.follows() {
            Some(follows) if follows == (header.first, header.previous) => {}
            before => {
                if let Some((offset, _)) = before {
                    self.damage(first, 32, offset, recovery::MISSING);
                }
                let run = begins(segment::HEADER as u64, header.first, header.previous);
                self.survey.runs.push(run);
            }
        }
        self.whole = true;
        let mut at = segment::HEADER;
        loop {
            let run = self.survey.runs.last_mut().expect("a run was begun above");
            run.ends = Place {
                segment: first,
                byte: at as u64,
            };
            let expected = Expected {
                log: header.log,
                first: run.next,
                previous: run.chain,
            };
            let found = frame::find(&bytes[at..], expected);
            let what = match found {
                Found::End => return self.ends(at),
                Found::Frame(frame, chain) => {
                    let size = usize::try_from(frame.size()).expect("it was found in memory");
                    if let Some(entries) = entries(bytes, at, &frame) {
                        (run.next, run.chain) = (frame.last().next(), chain);
                        let seen = self
                            .survey
                            .report
                            .segments
                            .last_mut()
                            .expect("it was pushed above");
                        seen.frames += 1;
                        seen.records += u64::from(frame.count);
                        self.speaks_of(frame.last().max(frame.synced_through));
                        entries.iter().for_each(&mut *self.each);
                        at += size;
                        continue;
                    }
                    "the frame's batches are not well-formed"
                }
                Found::Bad(what) => what,
                Found::Short => "the file ends within a frame",
            };
            let next = run.next;
            self.whole = false;
            let proof = next <= self.known || frame::proof_of_sync(bytes, at, header.log, next).is_some();
            if is_last && !proof && !matches!(found, Found::Frame(..)) {
                self.survey.report.torn = Some(Damage {
                    file: segment::name(first),
                    byte: at as u64,
                    offset: next,
                    what: what.to_owned(),
                });
                return;
            }
            self.damage(first, at, next, what);
            let Some((place, frame)) = self.resume(bytes, at, header.log, next) else {
                return;
            };
            at = place;
            self.survey
                .runs
                .push(begins(at as u64, frame.first, frame.previous));
            self.whole = true;
        }
    }

    /// The segment holds nothing behind `at`. A mark that stands before it may end with zeros of its own.
    fn ends(&mut self, at: usize) {
        let seen = self.survey.report.segments.last_mut();
        seen.expect("it was pushed when it began").bytes = at as u64;
    }

    /// The header of a segment, made up where it is damaged and the frame behind it says what it was. Otherwise
    /// whether the run before may go on in the next segment.
    fn header(&mut self, first: Offset, bytes: &Bytes, is_last: bool) -> Result<Header, bool> {
        let Some(header) = Header::read(bytes) else {
            if is_last && bytes.len() <= segment::HEADER && first > self.known {
                let next = match self.survey.report.segments.len() {
                    1 => Some(self.known.next()),
                    _ => self.follows().map(|(next, _)| next),
                };
                if let Some(next) = next.filter(|next| *next != first) {
                    self.damage(first, 0, next, recovery::MISSING);
                    return Err(false);
                }
                let what = "the making of the segment was cut off".to_owned();
                let file = segment::name(first);
                self.survey.report.torn = Some(Damage {
                    file,
                    byte: 0,
                    offset: first,
                    what,
                });
                return Err(true);
            }
            self.damage(first, 0, first, "the segment's header is damaged");
            let frame = bytes.get(segment::HEADER..).and_then(frame::Header::read);
            let made_up = frame.filter(|frame| Some(frame.log) == self.id && frame.first == first);
            let Some(frame) = made_up else {
                return Err(false);
            };
            let time = bytes.get(segment::HEADER + frame::HEADER..).and_then(batch::open);
            let header = Header {
                format: segment::FORMAT,
                log: frame.log,
                first,
                made: time.map_or(Micros(0), |batch| batch.time),
                previous: frame.previous,
            };
            self.survey.headers.push(header);
            return Ok(header);
        };
        let refused = if header.format != segment::FORMAT {
            self.survey
                .report
                .format
                .get_or_insert((segment::name(first), header.format));
            Some((
                8,
                format!(
                    "the segment has format {}, and this version reads format {}",
                    header.format,
                    segment::FORMAT
                ),
            ))
        } else if Some(header.log) != self.id {
            Some((16, "the segment belongs to another log".to_owned()))
        } else if header.first != first {
            Some((32, "the segment's name and header disagree".to_owned()))
        } else {
            None
        };
        match refused {
            None => Ok(header),
            Some((byte, what)) => {
                self.damage(first, byte, first, what);
                Err(false)
            }
        }
    }

    /// The first sound frame behind the bad place `at`, which should hold `next`.
    fn resume(
        &mut self,
        bytes: &Bytes,
        at: usize,
        log: LogId,
        next: Offset,
    ) -> Option<(usize, frame::Header)> {
        // Where only the body is bad, its bytes are not looked through: data may look like frames.
        let bad = frame::Header::read(&bytes[at..]).filter(|frame| frame.log == log && frame.first == next);
        let from = match bad.and_then(|frame| usize::try_from(frame.size()).ok()) {
            Some(size) if at + size < bytes.len() && frame::Header::read(&bytes[at + size..]).is_some() => {
                at + size
            }
            _ => at + 1,
        };
        if let Some(bad) = bad {
            self.speaks_of(bad.last().max(bad.synced_through));
        }
        (from..bytes.len().saturating_sub(frame::HEADER - 1)).find_map(|place| {
            let frame = frame::Header::read_at(bytes, place).filter(|frame| frame.log == log)?;
            self.speaks_of(frame.last().max(frame.synced_through));
            let expected = Expected {
                log,
                first: frame.first,
                previous: frame.previous,
            };
            let sound = matches!(frame::find(&bytes[place..], expected), Found::Frame(..));
            (sound && frame.first >= next && entries(bytes, place, &frame).is_some())
                .then_some((place, frame))
        })
    }

    /// Say what is missing at the end, and which offsets can't be read.
    fn end(&mut self) {
        let next = self.survey.runs.last().map_or(Offset(1), |run| run.next);
        if self.known >= next && self.survey.report.damage.is_empty() {
            let last = self.survey.report.segments.last();
            self.survey.report.damage.push(Damage {
                file: last.map_or_else(|| "no segment is there".to_owned(), |last| last.file.clone()),
                byte: last.map_or(0, |last| last.bytes),
                offset: next,
                what: format!(
                    "the log ends here, but a checkpoint says that offset {} was on disk",
                    self.known
                ),
            });
        }
        let firsts = self.survey.report.segments.iter().map(|segment| segment.first);
        self.survey.report.first = firsts.min().unwrap_or(Offset(1));
        self.survey.report.last = self.survey.evidence;
        // A torn tail was promised to nobody.
        if self.survey.report.damage.is_empty() {
            self.survey.report.last = next.prev();
        }
        let kept = self.survey.runs.iter().map(|run| (run.first, run.next));
        self.survey.report.unreadable = without(self.survey.report.first, self.survey.report.last, kept);
    }
}

/// The offsets from `first` to `last` that are in none of the `kept` ranges, each of which begins with its first
/// offset and ends before its second.
pub(crate) fn without(
    first: Offset,
    last: Offset,
    kept: impl Iterator<Item = (Offset, Offset)>,
) -> Vec<(Offset, Offset)> {
    let mut kept: Vec<_> = kept.collect();
    kept.sort_unstable();
    let (mut out, mut at) = (Vec::new(), first);
    for (from, next) in kept {
        if from > at {
            out.push((at, from.prev().min(last)));
        }
        at = at.max(next);
    }
    if at <= last {
        out.push((at, last));
    }
    out.retain(|(from, to)| from <= to);
    out
}

/// The records of the `frame` at `at`; `None` where they are not what its header says.
fn entries(bytes: &Bytes, at: usize, frame: &frame::Header) -> Option<Vec<Entry>> {
    let body = bytes.slice(at + frame::HEADER..at + frame::HEADER + frame.body as usize);
    let mut all = Vec::new();
    recovery::batches(&body, frame.first, &mut |_, _, entries| all.extend(entries))?;
    (all.len() == frame.count as usize).then_some(all)
}
