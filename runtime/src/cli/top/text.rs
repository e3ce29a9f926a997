//! How a host fares, as lines to print.

use super::columns::{COLUMNS, bytes, count, rate};
use super::figures::{HostView, View};
use crate::cli::output::table;

/// All of it.
pub(super) fn page(view: &View) -> String {
    let mut rows = vec![COLUMNS.map(|column| column.title.to_owned()).to_vec()];
    rows.extend(
        view.plugins
            .iter()
            .map(|plugin| COLUMNS.map(|column| (column.cell)(plugin)).to_vec()),
    );
    let [first, second] = host(&view.host);
    format!("{first}\n{second}\n\n{}", table(&rows))
}

/// The host, in two lines.
pub(super) fn host(host: &HostView) -> [String; 2] {
    let ready = if host.ready {
        "takes events"
    } else {
        "takes no events"
    };
    [
        format!(
            "{ready}, durability {}; published {}/s, refused {}/s",
            host.durability,
            rate(host.published_per_second),
            rate(host.refused_per_second)
        ),
        format!(
            "log {} on disk, {} in memory; {} records, {}/s, {}/s; {} wait for the disk",
            bytes(host.log_bytes),
            bytes(host.hot_bytes),
            count(host.records),
            rate(host.records_per_second),
            bytes(host.bytes_per_second),
            count(host.undurable_records)
        ),
    ]
}
