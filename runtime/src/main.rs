//! The `nerve` command: parse, run, print what went wrong, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    nerve::cli::main()
}
