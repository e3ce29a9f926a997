//! `nerve completions`: completions for a shell.

use clap::CommandFactory;

/// Print completions for a shell
#[derive(clap::Args)]
pub(super) struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "nerve", &mut out);
        super::output::line(String::from_utf8_lossy(&out).trim_end());
    }
}
