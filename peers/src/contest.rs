//! Who takes part, what each one's acknowledgement means, and the rounds in which they are measured in turn.

use std::path::PathBuf;

use anyhow::{Context, ensure};

use crate::iggy::{self, Durability};
use crate::nats_jetstream::{self, Publish, Way};
use crate::redis_streams::{self, Sync};
use crate::report::{Report, Row};
use crate::stats::Figure;
use crate::{limits, nerve};

use Survives::{Kill, Nothing, PowerCut};

/// What an acknowledged event survives, and with it the progress that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Survives {
    /// A power cut.
    PowerCut,
    /// The end of the process, but no power cut.
    Kill,
    /// Neither.
    Nothing,
}

impl Survives {
    /// In a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PowerCut => "power cut",
            Self::Kill => "kill",
            Self::Nothing => "nothing",
        }
    }
}

/// On which side of a ratio something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// nerve.
    Nerve,
    /// What it is compared with.
    Peer,
    /// What nobody can pass.
    Limit,
}

/// A name, what an acknowledged event survives, and what it is.
type Contestant = (&'static str, Survives, Kind);

/// Everybody.
const ALL: [Contestant; 15] = [
    ("nerve, fsync", PowerCut, Kind::Nerve("fsync")),
    (
        "NATS JetStream, sync always",
        PowerCut,
        nats(true, Publish::Single),
    ),
    (
        "NATS JetStream, sync always, atomic batches",
        PowerCut,
        nats(true, Publish::Atomic),
    ),
    ("Redis Streams, AOF always", PowerCut, Kind::Redis(Sync::Always)),
    (
        "Apache Iggy, fsync, each batch saved",
        PowerCut,
        Kind::Iggy(Durability::Strictest),
    ),
    ("nerve, os", Kill, Kind::Nerve("os")),
    ("NATS JetStream, default", Kill, nats(false, Publish::Single)),
    (
        "NATS JetStream, default, fast batches",
        Kill,
        nats(false, Publish::Fast),
    ),
    (
        "Redis Streams, AOF everysec",
        Kill,
        Kind::Redis(Sync::EverySecond),
    ),
    ("Redis Streams, default", Nothing, Kind::Redis(Sync::Snapshots)),
    ("Apache Iggy, default", Nothing, Kind::Iggy(Durability::Default)),
    ("native handler over a vector", Nothing, Kind::Native),
    ("nerve's handler in wasm, called in a loop", Nothing, Kind::Wasm),
    (
        "raw writes of 64 KiB with fdatasync",
        PowerCut,
        Kind::RawWrites(256),
    ),
    (
        "raw writes of 1 MiB with fdatasync",
        PowerCut,
        Kind::RawWrites(4096),
    ),
];

const fn nats(always: bool, publish: Publish) -> Kind {
    Kind::Nats(Way { always, publish })
}

/// What is measured.
#[derive(Clone, Copy)]
enum Kind {
    /// nerve, with this durability.
    Nerve(&'static str),
    Nats(Way),
    Redis(Sync),
    Iggy(Durability),
    Native,
    Wasm,
    /// Batches of as many events.
    RawWrites(usize),
}

impl Kind {
    fn side(self) -> Side {
        match self {
            Self::Nerve(_) => Side::Nerve,
            Self::Nats(_) | Self::Redis(_) | Self::Iggy(_) => Side::Peer,
            Self::Native | Self::Wasm | Self::RawWrites(_) => Side::Limit,
        }
    }

    /// It gets one of so many events: what syncs often would take minutes.
    fn share(self) -> usize {
        match self {
            Self::Nats(way) if way.always && way.publish == Publish::Atomic => 4,
            Self::Nats(way) if way.always => 20,
            _ => 1,
        }
    }
}

/// What is measured, and with what.
pub struct Contest {
    /// nerve's program.
    pub nerve: PathBuf,
    /// The NATS server.
    pub nats: PathBuf,
    /// The Redis server.
    pub redis: PathBuf,
    /// The Iggy server, where there is one.
    pub iggy: Option<PathBuf>,
    /// Where the data folders are made.
    pub folder: PathBuf,
    /// Events of one run.
    pub events: usize,
    /// Rounds.
    pub rounds: usize,
    /// Only those whose name contains this.
    pub only: Option<String>,
}

impl Contest {
    /// Measure everybody once in each round, telling `progress` what comes.
    pub async fn run(&self, progress: &dyn Fn(&str)) -> anyhow::Result<Report> {
        let (contestants, left_out) = self.contestants()?;
        let mut report = Report::new(self)?;
        report.left_out = left_out;
        let mut rates = vec![Vec::new(); contestants.len()];
        for round in 1..=self.rounds {
            for ((name, _, kind), rates) in contestants.iter().zip(&mut rates) {
                let rate = self.once(*kind).await.with_context(|| (*name).to_owned())?;
                progress(&format!(
                    "round {round} of {}: {name}: {rate:.0} events/s",
                    self.rounds
                ));
                rates.push(rate);
            }
        }
        let rows = contestants.into_iter().zip(rates);
        report.figures = rows
            .map(|((name, survives, kind), rates)| Row {
                name: (*name).to_owned(),
                side: kind.side(),
                survives: *survives,
                events: self.events / kind.share(),
                figure: Figure::of(rates),
            })
            .collect();
        Ok(report)
    }

    /// Who takes part, and what to say of those that were wanted but can't.
    fn contestants(&self) -> anyhow::Result<(Vec<&'static Contestant>, Vec<String>)> {
        let only = self.only.as_deref().unwrap_or_default();
        let wanted = ALL.iter().filter(|(name, ..)| name.contains(only));
        let can = |one: &&Contestant| self.iggy.is_some() || !matches!(one.2, Kind::Iggy(_));
        let (taking_part, left_out): (Vec<_>, Vec<_>) = wanted.partition(can);
        let left_out = Vec::from_iter(left_out.first().map(|_| iggy::LEFT_OUT.to_owned()));
        ensure!(
            !taking_part.is_empty(),
            "nobody is left whose name contains {only:?}. {}",
            left_out.concat()
        );
        Ok((taking_part, left_out))
    }

    /// One run after those that warm up, on a server that was started for it: the others are not even there meanwhile.
    async fn once(&self, kind: Kind) -> anyhow::Result<f64> {
        let events = self.events / kind.share();
        let (nerve, folder) = (&self.nerve, &self.folder);
        match kind {
            Kind::Nerve(durability) => nerve::run(nerve, folder, nerve::SETTLED, durability, events).await,
            Kind::Wasm => nerve::run(nerve, folder, nerve::WASM, "memory", events).await,
            Kind::Nats(way) => nats_jetstream::run(&self.nats, folder, way, events).await,
            Kind::Redis(sync) => redis_streams::run(&self.redis, folder, sync, events).await,
            Kind::Iggy(durability) => {
                let server = self.iggy.as_deref().context(iggy::LEFT_OUT)?;
                iggy::run(server, folder, durability, events).await
            }
            Kind::Native => limits::native(events),
            Kind::RawWrites(batch) => limits::raw_writes(folder, events, batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contest(iggy: Option<&str>, only: Option<&str>) -> Contest {
        Contest {
            nerve: PathBuf::new(),
            nats: PathBuf::new(),
            redis: PathBuf::new(),
            iggy: iggy.map(PathBuf::from),
            folder: PathBuf::new(),
            events: 1000,
            rounds: 1,
            only: only.map(str::to_owned),
        }
    }

    #[test]
    fn without_a_server_of_iggy_all_others_take_part_and_it_is_said_how_to_give_one() {
        let (all, left_out) = contest(Some("iggy-server"), None).contestants().unwrap();
        assert_eq!((all.len(), left_out.len()), (ALL.len(), 0));
        let (others, left_out) = contest(None, None).contestants().unwrap();
        assert_eq!(others.len(), ALL.len() - 2);
        assert!(others.iter().all(|(name, ..)| !name.contains("Iggy")));
        assert!(left_out.concat().contains("--iggy PATH"), "{left_out:?}");
        let (_, left_out) = contest(None, Some("Redis")).contestants().unwrap();
        assert!(left_out.is_empty(), "nobody asked for it: {left_out:?}");
    }

    #[test]
    fn who_asks_for_nobody_else_is_told_what_is_missing() {
        let refused = |only| contest(None, Some(only)).contestants().err().unwrap().to_string();
        assert!(refused("Iggy").contains("--iggy PATH"), "{}", refused("Iggy"));
        assert!(!refused("nobody").contains("--iggy"), "{}", refused("nobody"));
    }
}
