//! The columns of the table of plugins: what stands in them, how they are sorted, and which go first where there is no room.

use std::cmp::Ordering;

use super::figures::PluginView;

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    /// Its head.
    pub(super) title: &'static str,
    /// How wide it is at least.
    pub(super) width: u16,
    /// Where there is no room, those with the largest go first.
    pub(super) rank: u8,
    /// What stands in it.
    pub(super) cell: fn(&PluginView) -> String,
    /// What comes first: what most wants to be looked at.
    order: fn(&PluginView, &PluginView) -> Ordering,
}

/// All of them, from left to right.
pub(super) const COLUMNS: [Column; 11] = [
    Column {
        title: "PLUGIN",
        width: 16,
        rank: 0,
        cell: |plugin| plugin.name.clone(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        title: "STATUS",
        width: 8,
        rank: 1,
        cell: |plugin| plugin.status.clone(),
        // Those that run are no trouble.
        order: |a, b| (a.status == "live", &a.status).cmp(&(b.status == "live", &b.status)),
    },
    Column {
        title: "VERSION",
        width: 8,
        rank: 10,
        cell: |plugin| plugin.version.chars().take(8).collect(),
        order: |a, b| a.version.cmp(&b.version),
    },
    Column {
        title: "PER S",
        width: 8,
        rank: 2,
        cell: |plugin| rate(plugin.per_second),
        order: |a, b| most(a.per_second, b.per_second),
    },
    Column {
        title: "LAG",
        width: 7,
        rank: 3,
        cell: |plugin| plugin.lag.map_or_else(none, count),
        order: |a, b| most(a.lag.unwrap_or(-1.0), b.lag.unwrap_or(-1.0)),
    },
    Column {
        title: "BEHIND",
        width: 7,
        rank: 7,
        cell: |plugin| {
            plugin
                .lag_seconds
                .filter(|_| plugin.lag > Some(0.0))
                .map_or_else(none, time)
        },
        order: |a, b| most(a.lag_seconds.unwrap_or(-1.0), b.lag_seconds.unwrap_or(-1.0)),
    },
    Column {
        title: "MEAN",
        width: 7,
        rank: 8,
        cell: |plugin| plugin.mean_ms.map_or_else(none, |ms| time(ms / 1000.0)),
        order: |a, b| most(a.mean_ms.unwrap_or(-1.0), b.mean_ms.unwrap_or(-1.0)),
    },
    Column {
        title: "P99",
        width: 7,
        rank: 6,
        cell: |plugin| plugin.p99_ms.map_or_else(none, |ms| time(ms / 1000.0)),
        order: |a, b| most(a.p99_ms.unwrap_or(-1.0), b.p99_ms.unwrap_or(-1.0)),
    },
    Column {
        title: "FAIL/S",
        width: 7,
        rank: 4,
        cell: |plugin| rate(plugin.failed_per_second),
        order: |a, b| most(a.failed_per_second, b.failed_per_second),
    },
    Column {
        title: "PARKED",
        width: 6,
        rank: 9,
        cell: |plugin| count(plugin.parked),
        order: |a, b| most(a.parked, b.parked),
    },
    Column {
        title: "DEAD",
        width: 6,
        rank: 5,
        cell: |plugin| count(plugin.dead_letters),
        order: |a, b| most(a.dead_letters, b.dead_letters),
    },
];

impl Column {
    /// Which of two plugins comes first by it; by their names where it does not say.
    pub(super) fn order(&self, a: &PluginView, b: &PluginView) -> Ordering {
        (self.order)(a, b).then_with(|| a.name.cmp(&b.name))
    }
}

/// Those for which there is room in `width`: the first one always.
pub(super) fn fitting(width: u16) -> Vec<usize> {
    let mut at: Vec<usize> = (0..COLUMNS.len()).collect();
    at.sort_by_key(|at| COLUMNS[*at].rank);
    let mut left = width.saturating_add(1);
    at.retain(|at| {
        let wants = COLUMNS[*at].width + 1;
        let fits = COLUMNS[*at].rank == 0 || wants <= left;
        // What is dropped drops all behind it.
        left = if fits { left.saturating_sub(wants) } else { 0 };
        fits
    });
    at.sort_unstable();
    at
}

fn most(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

fn none() -> String {
    "-".to_owned()
}

/// So many in a second.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        few if few < 10.0 => format!("{few:.1}"),
        many => count(many),
    }
}

/// A number in at most 6 letters.
pub(super) fn count(number: f64) -> String {
    match number {
        few if few < 99_999.5 => format!("{few:.0}"),
        many if many < 9_999_500.0 => format!("{:.0}k", many / 1e3),
        more => format!("{:.0}M", more / 1e6),
    }
}

/// A time in the unit that suits it.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1024.0 => format!("{b:.0} B"),
        b if b < 1_048_576.0 => format!("{:.0} KiB", b / 1024.0),
        b if b < 1_073_741_824.0 => format!("{:.1} MiB", b / 1_048_576.0),
        b => format!("{:.1} GiB", b / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_short_however_large_it_is() {
        for (number, told) in [
            (0.0, "0"),
            (99_999.0, "99999"),
            (123_456.0, "123k"),
            (12e6, "12M"),
        ] {
            assert_eq!(count(number), told);
        }
        let times = [0.000_25, 0.002_5, 0.25, 12.34, 600.0, 86_400.0].map(time);
        assert_eq!(times, ["250 µs", "2.5 ms", "250 ms", "12.3 s", "10 min", "24 h"]);
        assert_eq!([10.0, 2048.0, 3e9].map(bytes), ["10 B", "2 KiB", "2.8 GiB"]);
    }

    #[test]
    fn what_matters_least_gives_way_where_there_is_no_room() {
        let titles = |width| {
            fitting(width)
                .into_iter()
                .map(|at| COLUMNS[at].title)
                .collect::<Vec<_>>()
        };
        assert_eq!(titles(200).len(), COLUMNS.len());
        assert_eq!(titles(50), ["PLUGIN", "STATUS", "PER S", "LAG", "FAIL/S"]);
        assert_eq!(titles(3), ["PLUGIN"]);
    }
}
