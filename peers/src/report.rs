//! The report: where the figures come from, the figures, and how nerve stands beside its peers; as a table, or as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::contest::{Contest, Side, Survives};
use crate::server::version;
use crate::stats::Figure;
use crate::work::EVENT_BYTES;

/// All figures, and where they come from.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The processor's name.
    pub processor: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The kernel's version.
    pub kernel: String,
    /// What each program says of its version.
    pub versions: Vec<String>,
    /// Bytes of an event.
    pub event_bytes: usize,
    /// How often each was measured, each time after runs that warm up.
    pub rounds: usize,
    /// The figures, in events per second.
    pub figures: Vec<Row>,
    /// Who is not there, and why.
    pub left_out: Vec<String>,
}

/// The figure of one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The contestant.
    pub name: String,
    /// What it is.
    pub side: Side,
    /// What an acknowledged event survives.
    pub survives: Survives,
    /// Events of one run.
    pub events: usize,
    /// Events per second.
    #[serde(flatten)]
    pub figure: Figure,
}

/// How many times as fast nerve is.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// nerve, with a durability.
    pub of: String,
    /// A peer that promises no more.
    pub to: String,
    /// How many times.
    #[serde(flatten)]
    pub figure: Figure,
}

impl Report {
    /// A report without figures.
    pub fn new(contest: &Contest) -> anyhow::Result<Self> {
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let programs = [&contest.nerve, &contest.nats, &contest.redis];
        let programs = programs.into_iter().chain(&contest.iggy);
        Ok(Self {
            processor: named.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            versions: programs
                .map(|program| version(program))
                .collect::<Result<_, _>>()?,
            event_bytes: EVENT_BYTES,
            rounds: contest.rounds,
            figures: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// nerve beside each peer of the same promise; beside one that promises less, too, where none promises as little.
    pub fn ratios(&self) -> Vec<Ratio> {
        let side = |side| self.figures.iter().filter(move |row| row.side == side);
        let mut ratios = Vec::new();
        for nerve in side(Side::Nerve) {
            let beside = |peer: &&Row| match peer.survives {
                Survives::Nothing => nerve.survives == Survives::Kill,
                same => nerve.survives == same,
            };
            ratios.extend(side(Side::Peer).filter(beside).map(|peer| Ratio {
                of: nerve.name.clone(),
                to: peer.name.clone(),
                figure: nerve.figure.over(&peer.figure),
            }));
        }
        ratios
    }

    /// As JSON: the ratios are there, too.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut report = serde_json::to_value(self)?;
        report["ratios"] = serde_json::to_value(self.ratios())?;
        serde_json::to_string(&report)
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{}, {} cores, Linux {}; {}; events of {} bytes; medians of {} rounds\n\n",
            self.processor,
            self.cores,
            self.kernel,
            self.versions.join(", "),
            self.event_bytes,
            self.rounds
        );
        let mut line = |name: &str, survives: &str, numbers: [String; 3], unit: &str| {
            let [median, least, most] = numbers;
            writeln!(
                out,
                "{name:46}  {survives:12}  {median:>10}  {least:>10}  {most:>10}  {unit}"
            )
            .ok();
        };
        let titles = |what: &str| [what, "LEAST", "MOST"].map(String::from);
        line("FROM PUBLISH TO SETTLED", "SURVIVES", titles("MEDIAN"), "");
        for row in &self.figures {
            let Figure {
                median, least, most, ..
            } = row.figure;
            let numbers = [median, least, most].map(|number| format!("{number:.0}"));
            line(&row.name, row.survives.as_str(), numbers, "events/s");
        }
        for Ratio { of, to, figure } in self.ratios() {
            let Figure {
                median, least, most, ..
            } = figure;
            let numbers = [median, least, most].map(|number| format!("{number:.2}"));
            line(&format!("/ {to}"), &of, numbers, "times");
        }
        for why in &self.left_out {
            writeln!(out, "{why}").ok();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, side: Side, survives: Survives, rounds: [f64; 3]) -> Row {
        let (name, figure) = (name.to_owned(), Figure::of(rounds.into()));
        Row {
            name,
            side,
            survives,
            events: 1000,
            figure,
        }
    }

    fn report() -> Report {
        Report {
            processor: "a processor".into(),
            cores: 2,
            kernel: "6.1".into(),
            versions: vec!["nerve 1".into(), "peer 2".into()],
            event_bytes: 256,
            rounds: 3,
            figures: vec![
                row(
                    "nerve, fsync",
                    Side::Nerve,
                    Survives::PowerCut,
                    [400.0, 100.0, 200.0],
                ),
                row("nerve, os", Side::Nerve, Survives::Kill, [500.0, 500.0, 500.0]),
                row("strict", Side::Peer, Survives::PowerCut, [40.0, 20.0, 20.0]),
                row("lax", Side::Peer, Survives::Kill, [250.0, 250.0, 250.0]),
                row(
                    "careless",
                    Side::Peer,
                    Survives::Nothing,
                    [1000.0, 1000.0, 1000.0],
                ),
                row("native", Side::Limit, Survives::Nothing, [9000.0, 9000.0, 9000.0]),
            ],
            left_out: vec!["somebody has no server".into()],
        }
    }

    #[test]
    fn nerve_is_compared_at_equal_durability_and_never_with_a_limit() {
        let ratios = report().ratios();
        let pairs: Vec<_> = ratios
            .iter()
            .map(|one| (&*one.of, &*one.to, one.figure.median))
            .collect();
        assert_eq!(
            pairs,
            [
                ("nerve, fsync", "strict", 10.0),
                ("nerve, os", "lax", 2.0),
                ("nerve, os", "careless", 0.5)
            ]
        );
        assert_eq!((ratios[0].figure.least, ratios[0].figure.most), (5.0, 10.0));
    }

    #[test]
    fn the_json_has_the_machine_the_figures_and_the_ratios() {
        let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!((&json["cores"], &json["event_bytes"]), (&2.into(), &256.into()));
        assert_eq!(json["figures"][0]["median"], 200.0);
        assert_eq!(json["figures"][0]["survives"], "power-cut");
        assert_eq!(json["ratios"][2]["median"], 0.5);
        assert_eq!(json["left_out"][0], "somebody has no server");
    }

    #[test]
    fn the_table_has_a_line_for_each_figure_each_ratio_and_each_that_is_left_out() {
        let table = report().table();
        assert!(
            table.starts_with("a processor, 2 cores, Linux 6.1; nerve 1, peer 2; "),
            "{table}"
        );
        assert_eq!(table.lines().count(), 2 + 1 + 6 + 3 + 1);
        let last: Vec<_> = table.lines().rev().take(2).collect();
        assert!(last[1].contains("/ careless"), "{table}");
        assert_eq!(last[0], "somebody has no server");
    }
}
