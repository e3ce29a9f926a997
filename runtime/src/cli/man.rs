//! `nerve man`: man pages of all commands.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::output::Printer;
use super::{Done, config};

/// Write man pages, one for each command
#[derive(clap::Args)]
pub(super) struct Man {
    /// The folder, such as /usr/local/share/man/man1
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let to = || format!("no man page can be written into {}", self.dir.display());
        std::fs::create_dir_all(&self.dir).with_context(to)?;
        clap_mangen::generate_to(config::command(), &self.dir).with_context(to)?;
        printer.print(&json!({ "dir": self.dir }), || {
            format!(
                "the pages are in {}\nnext: man -l {}/nerve.1",
                self.dir.display(),
                self.dir.display()
            )
        });
        Ok(())
    }
}
