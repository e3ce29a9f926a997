//! `nerve completions`: completions for a shell.

use clap::CommandFactory;
use serde_json::json;

use super::output::Printer;

/// Print completions for a shell
#[derive(clap::Args)]
pub(super) struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self, printer: &Printer) {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "nerve", &mut out);
        let script = String::from_utf8_lossy(&out).into_owned();
        let shell = self.shell.to_string();
        printer.print(&json!({ "shell": shell, "script": script }), || script.clone());
    }
}
