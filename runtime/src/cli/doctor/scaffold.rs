//! The crates of the plugins that traces propose.

use std::path::Path;

use serde::Serialize;

use crate::cli::exit::{Exit, fail};
use crate::cli::plugin::new;
use crate::doctor::traces::{TraceReport, scaffold};
use crate::plugin::name::PluginName;

/// A crate that was made.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    name: String,
    folder: String,
}

/// Make the crates in `dir`: all, or none where one can't be.
pub(super) fn make(report: &TraceReport, dir: &Path, sdk: Option<&Path>) -> anyhow::Result<Vec<Made>> {
    let Some(plan) = &report.plan else {
        let message =
            "no operation in these traces waits for another service: there is nothing to make plugins of";
        return Err(fail(Exit::NotFound, message));
    };
    let sdk = new::sdk(sdk)?;
    let mut crates = Vec::new();
    for (name, source) in scaffold::sources(plan) {
        let name = PluginName::parse(&name)?;
        new::free(dir, &name)?;
        crates.push((name, source));
    }
    let mut made = Vec::new();
    for (name, source) in crates {
        let folder = new::write(dir, &name, &sdk, &source)?;
        made.push(Made {
            name: name.to_string(),
            folder: folder.display().to_string(),
        });
    }
    Ok(made)
}

/// What was made, for people.
pub(super) fn told(made: &[Made]) -> String {
    let lines = made.iter().map(|one| {
        let Made { name, folder } = one;
        format!("{name} is in {folder}; test it: cargo test --manifest-path {folder}/Cargo.toml\n")
    });
    format!("\n{}", lines.collect::<Vec<_>>().concat())
}
