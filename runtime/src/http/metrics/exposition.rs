//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::delivery::took::Taken;

/// What a family of samples is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// It grows, and begins again at 0.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by how large something was.
    Histogram,
}

/// A text that grows family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// What follows are samples of this family.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A family of one sample.
    pub(super) fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A sample of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// The samples of a histogram of times.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], taken: &Taken) {
        let mut at_most = |end: &str, count: u64| {
            let labels = [labels, &[("le", end)]].concat();
            self.sample_of("_bucket", &labels, count);
        };
        for (end, count) in &taken.at_most {
            at_most(&seconds(Duration::from_micros(*end)).to_string(), *count);
        }
        at_most("+Inf", taken.count);
        self.sample_of("_sum", labels, seconds(Duration::from_micros(taken.sum)));
        self.sample_of("_count", labels, taken.count);
    }

    /// All of it.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn sample_of(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let family = self.family;
        self.line(format_args!("{family}{suffix}"));
        for (at, (name, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            self.line(format_args!("{open}{name}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a text takes everything");
    }
}

/// A time in the unit of the format.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
