//! Medians and spreads.

use serde::Serialize;

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The scenario, and what of it.
    pub name: String,
    /// What the numbers count.
    pub unit: Unit,
    /// The median of the runs.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Events per second.
    #[serde(rename = "events/s")]
    PerSecond,
    /// Deliveries per second.
    #[serde(rename = "deliveries/s")]
    Deliveries,
    /// Microseconds.
    #[serde(rename = "µs")]
    Micros,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
    /// Kibibytes.
    #[serde(rename = "KiB")]
    Kibibytes,
    /// Mebibytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Mebibytes per second.
    #[serde(rename = "MiB/s")]
    MebibytesPerSecond,
    /// Ticks of the engine.
    #[serde(rename = "ticks")]
    Ticks,
    /// How often.
    #[serde(rename = "times")]
    Times,
    /// One figure divided by another of the same run.
    #[serde(rename = "ratio")]
    Ratio,
}

impl Figure {
    /// The figure of several runs.
    pub fn of(name: impl Into<String>, unit: Unit, mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        let at = |index: usize| runs.get(index).copied().unwrap_or(f64::NAN);
        Self {
            name: name.into(),
            unit,
            median: at(runs.len() / 2),
            least: at(0),
            most: at(runs.len().saturating_sub(1)),
        }
    }
}

impl Figure {
    /// This figure divided by `other`: of the medians, and from the least to the most that it may have been.
    pub(super) fn over(&self, other: &Self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            unit: Unit::Ratio,
            median: self.median / other.median,
            least: self.least / other.most,
            most: self.most / other.least,
        }
    }

    /// The same figure under this name.
    pub(super) fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }
}

/// The value below which the share `q` of `sorted` lies.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (sorted.len() as f64 * q) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
