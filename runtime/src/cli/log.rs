//! `nerve log`: look at a log, of a running host or on disk, and see to it.

mod backup;
mod export;
mod import;
mod info;
mod repair;
mod restore;
mod verify;

use clap::Subcommand;

use super::Done;
use super::api::Api;
use super::output::Printer;

/// Look at a log, and see to it
#[derive(Subcommand)]
pub(super) enum Log {
    /// Where a running host's log begins and ends
    Info(info::Info),
    /// Check every checksum of a log on disk, and its checkpoints; reads only
    Verify(verify::Verify),
    /// Make a damaged log one that a host starts on
    Repair(repair::Repair),
    /// Write events as JSON lines, of a running host or of a log on disk
    Export(export::Export),
    /// Publish the events in JSON lines
    Import(import::Import),
    /// Copy all of a running host into one file
    Backup(backup::Backup),
    /// Make a data folder from a backup
    Restore(restore::Restore),
}

impl Log {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        match self {
            Self::Info(command) => command.run(api, printer),
            Self::Verify(command) => command.run(printer),
            Self::Repair(command) => command.run(printer),
            Self::Export(command) => command.run(api, printer),
            Self::Import(command) => command.run(api, printer),
            Self::Backup(command) => command.run(api, printer),
            Self::Restore(command) => command.run(printer),
        }
    }
}
