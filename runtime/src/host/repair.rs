//! Repairing a data folder that no host uses: its log, and the checkpoints that do not agree with what is left of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nerve_eventlog::repair::{Keep, Plan, RepairError};
use nerve_eventlog::storage::FsStorage;

use super::inspect::{checkpoints, disagreement, known};

/// How a data folder would be repaired. Its log is locked while this is there.
pub struct Repair {
    data: PathBuf,
    /// The log.
    pub log: Plan,
    /// Checkpoints that are set aside, each with the reason.
    pub set_aside: Vec<(String, String)>,
}

impl Repair {
    /// Plan it for the data folder `data`.
    pub fn plan(data: &Path, keep: Keep) -> Result<Self, RepairError> {
        let folder = data.join("checkpoints");
        let checkpoints = checkpoints(data).map_err(|cause| RepairError::Io {
            folder: folder.display().to_string(),
            cause,
        })?;
        if let Some(newer) = checkpoints.iter().find(|checkpoint| checkpoint.other_format) {
            return Err(RepairError::Io {
                folder: folder.join(&newer.file).display().to_string(),
                cause: io::Error::other(format!(
                    "{}; use the version that wrote it",
                    newer.problem.as_deref().unwrap_or_default()
                )),
            });
        }
        let log = Plan::new(&FsStorage::new(data.join("log")), &known(&checkpoints), keep)?;
        let (id, kept) = (log.report.id, &log.outcome);
        let set_aside = checkpoints.into_iter().filter_map(|checkpoint| {
            let why = disagreement(&checkpoint, id, kept.first, kept.last);
            Some((checkpoint.file, checkpoint.problem.or(why)?))
        });
        Ok(Self {
            data: data.to_owned(),
            set_aside: set_aside.collect(),
            log,
        })
    }

    /// Whether there is nothing to do.
    pub fn is_sound(&self) -> bool {
        self.log.is_sound() && self.set_aside.is_empty()
    }

    /// Do it, noting that it was done at `when`; answers the folder that what was changed is kept in. After a failure,
    /// plan again.
    pub fn carry_out(&self, when: &str) -> io::Result<PathBuf> {
        let aside = self.make_aside()?;
        if !self.log.is_sound() {
            let outcome = &self.log.outcome;
            let lost = outcome
                .lost
                .iter()
                .map(|(from, to)| format!("{from} to {to}"))
                .collect::<Vec<_>>();
            let lost = if lost.is_empty() {
                "none".to_owned()
            } else {
                lost.join(", ")
            };
            let line = format!(
                "{when}: offsets lost: {lost}; kept: {} to {}; the files as they were are in {}",
                outcome.first,
                outcome.last,
                aside.display()
            );
            let storage = FsStorage::new(self.data.join("log"));
            self.log
                .carry_out(&storage, &FsStorage::new(aside.clone()), &line)?;
        }
        let folder = self.data.join("checkpoints");
        for (file, _) in &self.set_aside {
            fs::rename(folder.join(file), aside.join(file))?;
        }
        if !self.set_aside.is_empty() {
            sync_folder(&aside)?;
            sync_folder(&folder)?;
        }
        Ok(aside)
    }

    /// A new folder for what is changed.
    fn make_aside(&self) -> io::Result<PathBuf> {
        for number in 1.. {
            let aside = self.data.join(format!("log-before-repair-{number}"));
            match fs::create_dir(&aside) {
                Ok(()) => {
                    sync_folder(&self.data)?;
                    return Ok(aside);
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
