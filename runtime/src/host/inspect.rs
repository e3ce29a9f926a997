//! Looking at a data folder from outside: what is in its log and its checkpoints, whether they agree, and whether a host
//! starts on it. Reads only, and takes no lock.

use std::io;
use std::path::Path;

use nerve_eventlog::storage::{FsStorage, Storage};
use nerve_eventlog::verify::{Report, verify};
use nerve_eventlog::{LogId, Offset};

use crate::state::checkpoint::{self, Unusable};

/// What is in a data folder.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The log.
    pub log: Report,
    /// The checkpoints, the newest first.
    pub checkpoints: Vec<CheckpointReport>,
    /// What a host would start from: a checkpoint's offset, 0 for the beginning of the log; `None` where it would not.
    pub starts_from: Option<Offset>,
}

/// What is in a checkpoint.
#[derive(Debug, Clone)]
pub struct CheckpointReport {
    /// Its file.
    pub file: String,
    /// Its offset, by its name.
    pub through: Offset,
    /// The log it says it belongs to, where it can be read.
    pub log: Option<LogId>,
    /// Why it can't be used, where it can't.
    pub problem: Option<String>,
    /// Whether another version of nerve wrote it.
    pub other_format: bool,
}

/// Look at the data folder `data`.
pub fn inspect(data: &Path) -> io::Result<Inspection> {
    let mut checkpoints = checkpoints(data)?;
    let log = verify(&FsStorage::new(data.join("log")), &known(&checkpoints))?;
    for checkpoint in &mut checkpoints {
        if checkpoint.problem.is_none() {
            checkpoint.problem = disagreement(checkpoint, log.id, log.first, end(&log));
        }
    }
    let other_format = log.format.is_some() || checkpoints.iter().any(|checkpoint| checkpoint.other_format);
    // As a start does it: from the newest one that can be read, and from the beginning where there is none.
    let newest = checkpoints.iter().find(|checkpoint| checkpoint.log.is_some());
    let from = newest.map_or(Some(Offset(0)), |newest| {
        newest.problem.is_none().then_some(newest.through)
    });
    let starts_from = from.filter(|from| !other_format && log.opens_from(*from));
    Ok(Inspection {
        log,
        checkpoints,
        starts_from,
    })
}

/// The checkpoints in the data folder `data`, each read as a whole, the newest first.
pub(super) fn checkpoints(data: &Path) -> io::Result<Vec<CheckpointReport>> {
    let storage = FsStorage::new(data.join("checkpoints"));
    let listed = match checkpoint::list(&storage) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let read = |through| match look_at(&storage, through) {
        // A host that runs forgets old ones.
        Err(Unusable::Io(cause)) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(Unusable::Io(cause)) => Err(cause),
        seen => Ok(Some(CheckpointReport {
            file: checkpoint::name(through),
            through,
            log: seen.as_ref().ok().copied(),
            other_format: matches!(seen, Err(Unusable::Format { .. })),
            problem: seen.err().map(|why| why.to_string()),
        })),
    };
    listed
        .into_iter()
        .filter_map(|through| read(through).transpose())
        .collect()
}

fn look_at(storage: &dyn Storage, through: Offset) -> Result<LogId, Unusable> {
    let bytes = checkpoint::read(storage, through)?;
    let found = checkpoint::parse(&bytes)?;
    if found.through == through {
        Ok(found.log)
    } else {
        Err(Unusable::Damaged)
    }
}

/// What the `checkpoints` that can be read know of their log.
pub(super) fn known(checkpoints: &[CheckpointReport]) -> Vec<(LogId, Offset)> {
    checkpoints
        .iter()
        .filter_map(|one| one.log.map(|log| (log, one.through)))
        .collect()
}

/// Why a checkpoint can't be used with a log of this id that holds the records from `first` to `last`.
pub(super) fn disagreement(
    checkpoint: &CheckpointReport,
    id: Option<LogId>,
    first: Offset,
    last: Offset,
) -> Option<String> {
    let through = checkpoint.through;
    if checkpoint.log.is_some_and(|log| Some(log) != id) {
        Some("it belongs to another log".to_owned())
    } else if through > last {
        Some(format!("the log ends before it, at offset {last}"))
    } else if through.next() < first {
        Some(format!("the log begins behind it, at offset {first}"))
    } else {
        None
    }
}

/// The last record that can be read.
fn end(log: &Report) -> Offset {
    match log.unreadable.last() {
        Some((from, to)) if *to == log.last => from.prev(),
        _ => log.last,
    }
}
