//! What components of other tool chains import: WASI 0.2, answered with what a delivery has, and with denials.
//!
//! Output becomes log lines; input is empty; there are no environment, arguments, files or sockets; the clocks say when
//! the attempt started and stand still; randomness is drawn from the seed that the outcome records; waiting ends at
//! once. Only the bindings are a library's: nothing here can reach the system, and nothing blocks. Whatever is not
//! answered can be imported, since tool chains import much that is never called, and fails the delivery when it is
//! called.

mod clocks;
mod denied;
mod process;
mod random;
mod streams;

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings as wasi;

use super::guest::Guest;

pub(super) use denied::deny;
pub(super) use streams::Output;

/// The packages that may be imported.
const PACKAGES: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];

/// The interfaces that are answered.
const ANSWERED: [&str; 19] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// Whether `import` is an interface of WASI that may be imported, such as `wasi:io/poll@0.2.3`.
pub(super) fn is_known(import: &str) -> bool {
    let name = import.strip_prefix("wasi:").and_then(|rest| rest.split_once('/'));
    let Some((package, interface)) = name else {
        return false;
    };
    let patch = interface.split_once("@0.2.").map(|(_, patch)| patch);
    PACKAGES.contains(&package)
        && patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Add what is answered to what guests may call.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasi::{cli, clocks, filesystem, random, sync::io};
    type Own = HasSelf<Guest>;
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<_, Own>(linker, |guest| guest)?;
    io::poll::add_to_linker::<_, Own>(linker, |guest| guest)?;
    io::streams::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::environment::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::exit::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::stdin::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::stdout::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::stderr::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::terminal_input::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::terminal_output::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::terminal_stdin::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::terminal_stdout::add_to_linker::<_, Own>(linker, |guest| guest)?;
    cli::terminal_stderr::add_to_linker::<_, Own>(linker, |guest| guest)?;
    clocks::monotonic_clock::add_to_linker::<_, Own>(linker, |guest| guest)?;
    clocks::wall_clock::add_to_linker::<_, Own>(linker, |guest| guest)?;
    filesystem::preopens::add_to_linker::<_, Own>(linker, |guest| guest)?;
    random::random::add_to_linker::<_, Own>(linker, |guest| guest)?;
    random::insecure::add_to_linker::<_, Own>(linker, |guest| guest)?;
    random::insecure_seed::add_to_linker::<_, Own>(linker, |guest| guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_wasi_0_2_are_known_and_no_others() {
        for known in [
            "wasi:io/poll@0.2.0",
            "wasi:sockets/tcp@0.2.12",
            "wasi:http/types@0.2.3",
        ] {
            assert!(is_known(known), "{known}");
        }
        for other in [
            "wasi:io/poll",
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.2.0-rc-1",
            "wasi:io/poll@0.2.",
            "wasi:nn/tensor@0.2.0",
            "wasi:io",
            "nerve:io/poll@0.2.0",
        ] {
            assert!(!is_known(other), "{other}");
        }
    }
}
