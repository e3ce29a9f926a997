//! `nerve log restore`: make a data folder from a backup.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::cli::Done;
use crate::cli::output::Printer;
use crate::host;

/// Make a data folder from a backup
#[derive(clap::Args)]
pub(in crate::cli) struct Restore {
    /// The backup
    file: PathBuf,
    /// The data folder, which must hold no log
    #[arg(default_value = "data")]
    data: PathBuf,
    /// The plugin folder, where the files of the plugins that were live go
    #[arg(long, default_value = "plugins", env = "NERVE_PLUGINS")]
    plugins: PathBuf,
}

impl Restore {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        std::fs::File::open(&self.file).with_context(|| {
            let file = self.file.display();
            format!("{file} can't be read; `nerve log backup FILE` writes a backup of a running host")
        })?;
        let made = host::restore(&self.file, &self.data, &self.plugins)?;
        let value = json!({
            "data": self.data, "log": made.log, "through": made.through.0, "files": made.files, "plugins": made.plugins,
        });
        printer.print(&value, || {
            let plugins = if made.plugins.is_empty() {
                "none".to_owned()
            } else {
                made.plugins.join(", ")
            };
            format!(
                "{} holds the log up to offset {}, and {} its plugins: {plugins}\n\
                 next: nerve run --data {} --plugins {}",
                self.data.display(),
                made.through,
                self.plugins.display(),
                self.data.display(),
                self.plugins.display()
            )
        });
        Ok(())
    }
}
