//! A trial of a new version on 10,000 events, both versions compiled for it.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::log::record::Asks;
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader;
use crate::plugin::name::PluginName;
use crate::plugin::stack::Stack;
use crate::trial::history::BadHistory;
use crate::trial::{self, Against};

/// Events of the trial.
const EVENTS: usize = 10_000;

/// Settings that make another version, which does the same.
const OTHER: &str = "[limits]\nhops = 63\n";

impl Bench<'_> {
    pub(super) async fn trial(&mut self) -> Result<(), BenchError> {
        let name = format!("trial of {EVENTS} events, from two components to the report");
        if !self.begins(&name) {
            return Ok(());
        }
        let folder = self.folder()?;
        let host = self.host(folder.path())?;
        let guest = &self.guest;
        let names = guest.install(&host, &folder.path().join("plugins"), 1).await?;
        let events = guests::events(host.acceptor(), "trial", 0, EVENTS);
        let published = host.publish(&events).map_err(in_words)?;
        let last = published.last().map(|one| one.offset).unwrap_or_default();
        let settled = host.settled(&names[0], last, Duration::from_mins(1)).await;
        settled.map_err(in_words)?;
        let plugin = PluginName::parse(&names[0]).map_err(in_words)?;
        let mut runs = Vec::new();
        for _ in 0..=self.options.runs {
            let begun = Instant::now();
            let engine = Engine::new(
                None,
                self.options.compiler.clone(),
                Stack::default(),
                Code::Counting,
            )
            .map_err(in_words)?;
            let load = |settings| loader::load(&engine, &plugin, guest.component(), settings, &Asks::new());
            let (old, new) = std::thread::scope(|scope| {
                let old = scope.spawn(|| load(None));
                let new = load(Some(OTHER));
                (old.join().expect("loading does not panic"), new)
            });
            let (old, new) = (old.map_err(in_words)?, new.map_err(in_words)?);
            let (sender, parts) = sync_channel(256);
            let (host, name, tried) = (&host, plugin.as_str(), &new);
            let ran = std::thread::scope(|scope| {
                scope.spawn(move || {
                    let asked = (Against::Last(EVENTS as u64), &tried.manifest.subscriptions[..]);
                    let read = host.history(name, Some(asked), &mut |part| {
                        sender.send(Ok(part)).map_err(std::io::Error::other)
                    });
                    if let Err(refused) = read {
                        sender.send(Err(BadHistory::CutOff(refused.to_string()))).ok();
                    }
                });
                let until = begun + Duration::from_mins(10);
                trial::run(
                    parts.into_iter(),
                    Some(&old),
                    &new,
                    crate::http::bundle::data,
                    until,
                )
            });
            let report = ran.map_err(in_words)?.report;
            if (report.events, report.differ, report.reproduced.same) != (EVENTS as u64, 0, EVENTS as u64) {
                return Err(BenchError::Guest(format!(
                    "the trial found what is not so: {report:?}"
                )));
            }
            runs.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        host.stop().await?;
        runs.remove(0);
        self.found(Figure::of(name, Unit::Millis, runs));
        Ok(())
    }
}

fn in_words(cause: impl std::fmt::Display) -> BenchError {
    BenchError::Guest(cause.to_string())
}
