//! Making a damaged log one that opens, at the price of records: planned first, and carried out only when asked to.
//!
//! A log is one stretch of records, so what is kept is one run of sound frames: from the first record of all, or from
//! one that a checkpoint makes up for. The steps stand in an order in which a crash after any of them leaves a log that
//! is refused as before, or opens and has lost no more than planned; planning again goes on.

mod steps;

use std::any::Any;
use std::io;

use self::steps::Step;
use crate::segment;
use crate::storage::{Storage, read_all};
use crate::survey::{Run, Survey, survey, without};
use crate::verify::Report;
use crate::{LogId, Offset};

/// The file in a log's folder that says what repairs there were: a line for each.
pub const REPAIRS: &str = "repairs";

/// What to keep where the log can't be kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest records, where a checkpoint makes up for what came before them; else the oldest.
    Newest,
    /// The oldest records, and nothing behind the damage.
    Oldest,
}

/// How a log would be repaired. The log is locked while it is there.
pub struct Plan {
    /// What is in the folder.
    pub report: Report,
    /// What is done.
    pub outcome: Outcome,
    steps: Vec<Step>,
    /// Files that the steps change or remove, and their bytes.
    touched: Vec<(Offset, u64)>,
    _lock: Box<dyn Any + Send + Sync>,
}

/// What a repair leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first record that is kept; behind `last` where there is none.
    pub first: Offset,
    /// The last record that is kept.
    pub last: Offset,
    /// The checkpoint that makes up for the records before `first`.
    pub base: Option<Offset>,
    /// Offsets that the log had and has no more: the first and the last of each range. Behind the last of them there
    /// may have been more of which nothing is left.
    pub lost: Vec<(Offset, Offset)>,
    /// Bytes that are cut or removed.
    pub lost_bytes: u64,
}

/// Why a log can't be repaired. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another process has it.
    #[error("{folder} is in use by another process; stop that one first")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// Another version wrote it.
    #[error(
        "{file} has log format {found}; this version reads format {}: use the version that wrote it",
        segment::FORMAT
    )]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// The beginning is gone, and no checkpoint makes up for it.
    #[error(
        "{folder}: no records can be kept, since none of those that can be read begin at offset 1 or at a checkpoint that \
         can be used; restore a backup, or copies of the files"
    )]
    NoBeginning {
        /// The folder.
        folder: String,
    },
    /// The system refused.
    #[error("{folder}: {cause}")]
    Io {
        /// The folder.
        folder: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl Plan {
    /// Plan the repair of the log in `storage`. `known` are the offsets of the checkpoints that can be used, each with
    /// its log.
    pub fn new(storage: &dyn Storage, known: &[(LogId, Offset)], keep: Keep) -> Result<Self, RepairError> {
        let io = |cause| RepairError::Io {
            folder: storage.place(),
            cause,
        };
        // Locking makes the folder, and a log that is not there is not made.
        storage.list().map_err(io)?;
        let lock = storage.lock().map_err(io)?;
        let lock = lock.ok_or_else(|| RepairError::InUse {
            folder: storage.place(),
        })?;
        let survey = survey(storage, known, &mut |_| {}).map_err(io)?;
        if let Some((file, found)) = survey.report.format.clone() {
            return Err(RepairError::Format { file, found });
        }
        let reaches = |known: &Offset| known.next() >= survey.report.first;
        let known: Vec<Offset> = known
            .iter()
            .filter(|(log, _)| Some(*log) == survey.report.id)
            .map(|(_, through)| *through)
            .collect();
        if survey.report.damage.is_empty() {
            if survey.report.first > Offset(1) && !known.iter().any(reaches) {
                return Err(RepairError::NoBeginning {
                    folder: storage.place(),
                });
            }
            let (first, last) = (survey.report.first, survey.report.last);
            return Ok(Self {
                outcome: Outcome {
                    first,
                    last,
                    base: None,
                    lost: Vec::new(),
                    lost_bytes: 0,
                },
                steps: Vec::new(),
                touched: Vec::new(),
                report: survey.report,
                _lock: lock,
            });
        }
        let kept = choose(&survey, &known, keep).ok_or_else(|| RepairError::NoBeginning {
            folder: storage.place(),
        })?;
        let steps = steps::plan(&survey, &kept);
        let lengths = survey
            .report
            .segments
            .iter()
            .map(|segment| (segment.first, segment.bytes));
        let touched: Vec<(Offset, u64)> = lengths
            .filter(|(first, _)| steps.iter().any(|step| step.changes(*first)))
            .collect();
        Ok(Self {
            outcome: Outcome {
                first: kept.first,
                last: kept.next.prev(),
                base: kept.base,
                lost: without(
                    survey.report.first,
                    survey.evidence,
                    [(kept.first, kept.next)].into_iter(),
                ),
                lost_bytes: steps::lost_bytes(&steps, &touched),
            },
            steps,
            touched,
            report: survey.report,
            _lock: lock,
        })
    }

    /// Whether there is nothing to repair.
    pub fn is_sound(&self) -> bool {
        self.report.damage.is_empty()
    }

    /// The segments that are changed or removed.
    pub fn changes(&self) -> Vec<String> {
        self.touched
            .iter()
            .map(|(first, _)| segment::name(*first))
            .collect()
    }

    /// Copy what will be changed into `aside`, note `line` in [`REPAIRS`], and do it. After a failure, plan again.
    pub fn carry_out(&self, storage: &dyn Storage, aside: &dyn Storage, line: &str) -> io::Result<()> {
        for (first, _) in &self.touched {
            let name = segment::name(*first);
            steps::copy(&*storage.open(&name)?, 0, &*aside.create(&name)?, 0)?;
        }
        aside.sync_folder()?;
        let exists = storage.list()?.iter().any(|name| name == REPAIRS);
        let note = if exists {
            storage.open(REPAIRS)?
        } else {
            storage.create(REPAIRS)?
        };
        note.write_at(note.length()?, format!("{line}\n").as_bytes())?;
        note.sync()?;
        storage.sync_folder()?;
        self.steps.iter().try_for_each(|step| step.take(storage))
    }
}

/// The last repair that is noted in a log's folder.
pub(crate) fn last(storage: &dyn Storage) -> io::Result<Option<String>> {
    if !storage.list()?.iter().any(|name| name == REPAIRS) {
        return Ok(None);
    }
    let bytes = read_all(&*storage.open(REPAIRS)?, 0)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().rfind(|line| !line.is_empty()).map(str::to_owned))
}

/// What is kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    first: Offset,
    next: Offset,
    base: Option<Offset>,
    /// The frames; `None` where there are none, and the log goes on behind its checkpoint.
    run: Option<Run>,
}

/// The run to keep. One that begins with the first record needs no checkpoint; another needs one that knows all before
/// it, and that the run reaches.
fn choose(survey: &Survey, known: &[Offset], keep: Keep) -> Option<Kept> {
    let base = |run: &Run| {
        let reached = known
            .iter()
            .filter(|known| run.first <= known.next() && **known < run.next);
        reached.max().copied()
    };
    let runs = survey.runs.iter().filter_map(|run| {
        let base = base(run).filter(|_| run.first > Offset(1));
        let (first, next) = (run.first, run.next);
        (run.first == Offset(1) || base.is_some()).then_some(Kept {
            first,
            next,
            base,
            run: Some(*run),
        })
    });
    let chosen = match keep {
        Keep::Newest => runs
            .filter(|kept| kept.first < kept.next)
            .max_by_key(|kept| kept.next),
        Keep::Oldest => runs
            .filter(|kept| kept.first < kept.next)
            .min_by_key(|kept| kept.first),
    };
    let newest = known.iter().max();
    // Where no record can be kept, what the newest checkpoint knows still can.
    let behind = newest.map(|known| Kept {
        first: known.next(),
        next: known.next(),
        base: Some(*known),
        run: None,
    });
    let nothing = Kept {
        first: Offset(1),
        next: Offset(1),
        base: None,
        run: None,
    };
    let begins = survey.report.first == Offset(1);
    chosen.or(behind).or(begins.then_some(nothing))
}
