//! `nerve log backup`: copy all of a running host into one file.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::cli::Done;
use crate::cli::api::Api;
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;
use crate::host;

/// Copy all of a running host into one file
#[derive(clap::Args)]
pub(in crate::cli) struct Backup {
    /// The file to make
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let shown = self.file.display();
        if self.file.exists() {
            return Err(fail(
                Exit::Conflict,
                format!("{shown} is there already: name another file"),
            ));
        }
        let mut beside = self.file.clone().into_os_string();
        beside.push(".partial");
        let beside = PathBuf::from(beside);
        // What an attempt that was cut off left says nothing.
        let mut out =
            File::create(&beside).with_context(|| format!("{} can't be written", beside.display()))?;
        let made = api
            .fetch("/v1/log/backup", &mut out)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| {
                out.sync_all()?;
                Ok((bytes, host::check(&beside)?))
            });
        let (bytes, made) = match made {
            Ok(made) => made,
            Err(cause) => {
                // The failure is told; what is left of it helps nobody.
                std::fs::remove_file(&beside).ok();
                return Err(cause);
            }
        };
        std::fs::rename(&beside, &self.file).with_context(|| format!("{shown} can't be written"))?;
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| ".".as_ref());
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("{} can't be synced", folder.display()))?;
        let value = json!({
            "file": self.file, "bytes": bytes, "log": made.log, "through": made.through.0, "files": made.files,
            "plugins": made.plugins,
        });
        printer.print(&value, || {
            format!(
                "{shown} holds the log up to offset {}, in {} files and {bytes} bytes; every checksum is right\n\
                 next: nerve log restore {shown} FOLDER",
                made.through, made.files
            )
        });
        Ok(())
    }
}
