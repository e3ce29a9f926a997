//! Where a trial's history comes from: a running host, or the folder or backup of one.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use tempfile::TempDir;

use crate::cli::api::{Api, escaped};
use crate::contract::{Found, Offered};
use crate::host::{self, AtRest};
use crate::trial::history::{self, BadHistory, Part};
use crate::trial::read::Asked;

/// Parts that may wait for the trial.
const WAITING: usize = 256;

/// Where a history comes from.
pub(super) enum Origin<'a> {
    /// A running host.
    Host(&'a Api),
    /// A data folder that no host uses.
    Folder(Arc<AtRest>),
    /// One that was made of a backup for the trial, and goes with it.
    Backup(
        Arc<AtRest>,
        #[expect(dead_code, reason = "it is there to be dropped")] TempDir,
    ),
}

type Parts = Box<dyn Iterator<Item = Result<Part, BadHistory>>>;

impl<'a> Origin<'a> {
    pub(super) fn host(api: &'a Api) -> Self {
        Self::Host(api)
    }

    pub(super) fn folder(data: &Path) -> anyhow::Result<Self> {
        Ok(Self::Folder(Arc::new(AtRest::open(data)?)))
    }

    pub(super) fn backup(file: &Path) -> anyhow::Result<Self> {
        let made = tempfile::tempdir()?;
        let data = made.path().join("data");
        host::restore(file, &data, &made.path().join("plugins"))?;
        Ok(Self::Backup(Arc::new(AtRest::open(&data)?), made))
    }

    /// What a version of `plugin` that declares what is `offered` would break.
    pub(super) fn would_break(&self, plugin: &str, offered: Offered<'_>) -> anyhow::Result<Found> {
        match self {
            Self::Host(api) => {
                let path = format!("/v1/plugins/{}/contracts", escaped(plugin));
                let found = api.post(&path, "application/json", &serde_json::to_vec(&offered)?)?;
                Ok(serde_json::from_value(found)?)
            }
            Self::Folder(folder) | Self::Backup(folder, _) => Ok(folder.would_break(plugin, offered)),
        }
    }

    /// What the history of `plugin` is about, and what is asked for of it.
    pub(super) fn parts(&self, plugin: &str, asked: Option<Asked<'_>>) -> anyhow::Result<Parts> {
        match self {
            Self::Host(api) => {
                let query = asked.map_or_else(String::new, |(against, patterns)| {
                    let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                    let against = escaped(&against.to_string());
                    format!("?against={against}&types={}", escaped(&patterns.join(",")))
                });
                let sent = api.read(&format!("/v1/plugins/{}/history{query}", escaped(plugin)))?;
                Ok(Box::new(history::parts(sent)))
            }
            Self::Folder(folder) | Self::Backup(folder, _) => {
                let (sender, receiver) = sync_channel(WAITING);
                let (folder, plugin) = (folder.clone(), plugin.to_owned());
                let asked = asked.map(|(against, patterns)| (against, patterns.to_vec()));
                thread::Builder::new().name("history".into()).spawn(move || {
                    let asked = asked
                        .as_ref()
                        .map(|(against, patterns)| (*against, &patterns[..]));
                    let told = folder.history(&plugin, asked, &mut |part| {
                        sender.send(Ok(part)).map_err(std::io::Error::other)
                    });
                    if let Err(refused) = told {
                        // Whoever has gone needs no reason.
                        sender.send(Err(BadHistory::CutOff(refused.to_string()))).ok();
                    }
                })?;
                Ok(Box::new(receiver.into_iter()))
            }
        }
    }
}
