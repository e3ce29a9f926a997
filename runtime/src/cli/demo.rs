//! `nerve demo`: the story of a shop on a host of its own. Each chapter checks what it claims, through the API alone, and
//! the story ends at the first claim that does not hold.

mod contracts;
mod damaged;
mod killed;
mod orders;
mod poison;
mod rebuilt;
mod registration;
mod seen;
mod shipping_away;
mod stage;
mod taken_back;
mod trial;

use std::path::PathBuf;

use serde_json::json;

use super::Done;
use super::output::Printer;
use stage::Stage;

/// Tell the story of a shop on a host of its own, checking every claim
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Folder with the built plugins, as `scripts/build-plugins` makes it
    #[arg(long, default_value = "target-wasm")]
    built: PathBuf,
    /// Leave the host running when the story is over, with its dashboard
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let mut stage = Stage::open(&self.built, printer.clone())?;
        let told = tell(&mut stage);
        if told.is_err() || !self.keep {
            stage.close(told.is_err())?;
        }
        told?;
        let claims = stage.claims();
        let over = format!("\nThe story is over: {claims} claims, and every one holds.");
        if !self.keep {
            printer.print(&json!({ "claims": claims, "kept": null }), || over);
            return Ok(());
        }
        let (address, pid, folder) = stage.leave()?;
        let kept = json!({ "address": address, "pid": pid, "folder": folder });
        printer.print(&json!({ "claims": claims, "kept": kept }), || {
            format!(
                "{over}\nThe host goes on, with its dashboard at {address}/\n\
                 ask it: nerve --server {address} plugin list\n\
                 end it: kill {pid}; rm -r {}",
                folder.display()
            )
        });
        Ok(())
    }
}

fn tell(stage: &mut Stage) -> Done {
    registration::tell(stage)?;
    shipping_away::tell(stage)?;
    poison::tell(stage)?;
    taken_back::tell(stage)?;
    damaged::tell(stage)?;
    killed::tell(stage)?;
    registration::tell_its_way(stage)?;
    orders::tell(stage)?;
    trial::tell(stage)?;
    contracts::tell(stage)?;
    rebuilt::tell(stage)?;
    seen::tell(stage)
}
