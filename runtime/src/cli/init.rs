//! `nerve init`: make the folders of a new host.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::output::Printer;
use super::{Done, config};

/// Make the folders of a new host
#[derive(clap::Args)]
pub(super) struct Init {
    /// Where
    #[arg(default_value = ".")]
    dir: PathBuf,
}

impl Init {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        for name in ["data", "plugins"] {
            let folder = self.dir.join(name);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("{} can't be made", folder.display()))?;
        }
        let file = self.dir.join(config::FILE);
        // What somebody has configured stays.
        match std::fs::File::create_new(&file) {
            Ok(mut new) => new.write_all(config::template().as_bytes()),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(cause) => Err(cause),
        }
        .with_context(|| format!("{} can't be made", file.display()))?;
        let dir = self.dir.display().to_string();
        let there = if dir == "." {
            String::new()
        } else {
            format!("cd {dir} && ")
        };
        printer.print(&json!({ "dir": dir }), || {
            format!(
                "{dir} has a folder for data and one for plugins now, and nerve.toml for the host's settings.\n\
                 next: {there}nerve run\n\
                 then: nerve plugin new my-plugin, to write one"
            )
        });
        Ok(())
    }
}
