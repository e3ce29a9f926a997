//! What a host says of itself at one moment: its figures in the text format of Prometheus, read back.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

/// One moment of a host.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// When it was asked.
    pub(super) at: Instant,
    /// What an acknowledgement survives.
    pub(super) durability: String,
    /// Figures of the whole, by their names, those of all labels together.
    host: BTreeMap<String, f64>,
    /// The plugins, by name.
    pub(super) plugins: BTreeMap<String, PluginSample>,
}

/// One moment of a plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PluginSample {
    /// Whether it runs.
    pub(super) status: String,
    /// The version that runs.
    pub(super) version: String,
    /// Why its breaker is open, where it is.
    pub(super) breaker: Option<String>,
    /// Outcomes: done, retry, dead.
    pub(super) outcomes: [f64; 3],
    /// How many handlers ran at most so many seconds, for each bound.
    pub(super) at_most: Vec<(f64, f64)>,
    /// Other figures, by their names without `nerve_plugin_`.
    pub(super) figures: BTreeMap<String, f64>,
}

impl Sample {
    /// Read the figures, and the log's own page. What is not known is passed over.
    pub(super) fn read(figures: &str, log: &Value, at: Instant) -> Self {
        let mut sample = Self {
            at,
            durability: log["durability"].as_str().unwrap_or("-").to_owned(),
            host: BTreeMap::new(),
            plugins: BTreeMap::new(),
        };
        figures
            .lines()
            .filter_map(Line::read)
            .for_each(|line| sample.add(line));
        sample
    }

    /// A figure of the whole, by its name without `nerve_`.
    pub(super) fn host(&self, name: &str) -> f64 {
        self.host.get(name).copied().unwrap_or_default()
    }

    fn add(&mut self, mut line: Line) {
        let Some(name) = line.labels.remove("plugin") else {
            // Of what was published, what is new.
            if line
                .labels
                .get("result")
                .is_some_and(|result| result == "duplicate")
            {
                return;
            }
            *self.host.entry(line.name).or_default() += line.value;
            return;
        };
        let plugin = self.plugins.entry(name).or_default();
        let label = |name: &str| line.labels.get(name).cloned().unwrap_or_default();
        match line.name.strip_prefix("plugin_").unwrap_or(&line.name) {
            "info" => plugin.version = label("version"),
            "status" => plugin.status = label("status"),
            "breaker_open" if line.value > 0.0 => plugin.breaker = Some(label("why")),
            "deliveries_total" => {
                let at = ["done", "retry", "dead"]
                    .iter()
                    .position(|known| *known == label("outcome"));
                if let Some(at) = at {
                    plugin.outcomes[at] = line.value;
                }
            }
            "handling_seconds_bucket" => {
                if let Ok(end) = label("le").parse() {
                    plugin.at_most.push((end, line.value));
                }
            }
            other if line.labels.is_empty() => {
                plugin.figures.insert(other.to_owned(), line.value);
            }
            _ => {}
        }
    }
}

impl PluginSample {
    /// A figure by its name without `nerve_plugin_`, where it has one.
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }
}

/// A line of the text format.
struct Line {
    /// Without `nerve_`.
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let line = line.strip_prefix("nerve_")?;
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = BTreeMap::new();
        if let Some(open) = rest.strip_prefix('{') {
            rest = open;
            while let Some((label, behind)) = rest.split_once("=\"") {
                let (value, behind) = quoted(behind)?;
                labels.insert(label.trim_start_matches(',').to_owned(), value);
                rest = behind;
                if let Some(behind) = rest.strip_prefix('}') {
                    rest = behind;
                    break;
                }
            }
        }
        let value = rest.trim().parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            labels,
            value,
        })
    }
}

/// The text up to the closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut out, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_are_written() {
        let line = Line::read(r#"nerve_plugin_info{plugin="a",label="x \"y\", {z}\\\n="} 1"#).unwrap();
        assert_eq!((&*line.name, line.value), ("plugin_info", 1.0));
        assert_eq!(line.labels["label"], "x \"y\", {z}\\\n=");
        assert!(Line::read("# HELP nerve_x y").is_none() && Line::read("nerve_x{a=\"b").is_none());
        let bare = Line::read("nerve_ready 1").map(|line| (line.labels.len(), line.value));
        assert_eq!(bare, Some((0, 1.0)));
    }
}
