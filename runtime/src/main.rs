//! The `nerve` command: parse, run, print what went wrong, exit.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Records are allocated by whoever publishes and freed by whoever syncs or delivers.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    nerve::cli::main()
}
