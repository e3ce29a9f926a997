//! nerve itself, as `nerve bench` measures it.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// The scenario that is the unit of work.
pub const SETTLED: &str = "publish to settled, 1 of 1 plugins subscribe";

/// The scenario of the handler in its sandbox, with nothing around it.
pub const WASM: &str = "handler in wasm";

/// What of the report of `nerve bench` is read.
#[derive(Deserialize)]
struct Report {
    event_bytes: usize,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
struct Figure {
    name: String,
    unit: String,
    median: f64,
}

/// Events per second in a scenario: one run after those that warm up, in a process of its own.
pub async fn run(
    nerve: &Path,
    folder: &Path,
    scenario: &str,
    durability: &str,
    events: usize,
) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(folder).context("a folder for nerve")?;
    let ran = Command::new(nerve)
        .args([
            "bench",
            "--output",
            "json",
            "--runs",
            "1",
            "--only",
            scenario,
            "--durability",
            durability,
        ])
        .arg("--events")
        .arg(events.to_string())
        .arg("--folder")
        .arg(folder.path())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} can't be run", nerve.display()))?;
    if !ran.status.success() {
        let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).trim().to_owned());
        bail!("`nerve bench` failed: {}", said.join("\n"));
    }
    read(&ran.stdout, scenario)
}

/// The figure of the scenario in the report.
fn read(report: &[u8], scenario: &str) -> anyhow::Result<f64> {
    let report: Report =
        serde_json::from_slice(report).context("the report of `nerve bench` can't be read")?;
    let bytes = report.event_bytes;
    ensure!(
        bytes.abs_diff(crate::work::EVENT_BYTES) <= 8,
        "nerve's events have {bytes} bytes"
    );
    let figure = report.figures.iter().find(|figure| figure.name == scenario);
    let figure = figure.with_context(|| format!("`nerve bench` has no figure {scenario:?}"))?;
    ensure!(figure.unit == "events/s", "nerve's figure is in {}", figure.unit);
    Ok(figure.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, bytes: usize) -> String {
        serde_json::json!({
            "event_bytes": bytes, "runs": 1,
            "figures": [{ "name": name, "unit": "events/s", "median": 212_000.5, "least": 1.0, "most": 2.0 }],
        })
        .to_string()
    }

    #[test]
    fn the_figure_is_read_from_the_report_of_nerve_bench() {
        let rate = read(report(SETTLED, 256).as_bytes(), SETTLED).unwrap();
        assert!((rate - 212_000.5).abs() < 0.1, "{rate}");
    }

    #[test]
    fn a_report_of_something_else_is_refused() {
        assert!(
            read(report(WASM, 256).as_bytes(), SETTLED).is_err(),
            "no such figure"
        );
        assert!(
            read(report(SETTLED, 512).as_bytes(), SETTLED).is_err(),
            "other events"
        );
        assert!(read(b"nonsense", SETTLED).is_err());
    }
}
