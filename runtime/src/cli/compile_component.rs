//! `nerve compile-component`: the process that compiles a component for a host, inside limits. Not for people.

use anyhow::Context;
use landlock::RulesetStatus;

use super::Done;
use crate::plugin::compiler::child::{self, Allowance};
use crate::plugin::engine::Code;

/// Compile the component on standard input to standard output, with nothing but what that takes
#[derive(clap::Args)]
pub(super) struct CompileComponent {
    /// Bytes of address space it may take
    #[arg(long)]
    memory_bytes: u64,
    /// Seconds of the processors it may take
    #[arg(long)]
    cpu_seconds: u64,
    /// What the code is to be
    #[arg(long)]
    code: Code,
}

impl CompileComponent {
    pub(super) fn run(self) -> Done {
        let confined = child::confine(Allowance {
            memory_bytes: self.memory_bytes,
            cpu_seconds: self.cpu_seconds,
        });
        if confined.context("the compiler does not run unconfined")? == RulesetStatus::NotEnforced {
            // The host that asked logs it.
            eprintln!("the kernel has no Landlock, so that only limits confine the compiler");
        }
        child::serve(std::io::stdin().lock(), std::io::stdout().lock(), self.code).context("no answer")
    }
}
