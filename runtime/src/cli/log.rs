//! `nerve log`: look at a log, of a running host or on disk, and see to it.

mod info;
mod repair;
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
}

impl Log {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        match self {
            Self::Info(command) => command.run(api, printer),
            Self::Verify(command) => command.run(printer),
            Self::Repair(command) => command.run(printer),
        }
    }
}
