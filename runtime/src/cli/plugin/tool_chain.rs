//! Finds what can build for wasm, by the same rules as `scripts/wasm-toolchain.sh`; installs nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cli::exit::{Exit, fail};

/// What plugins are built for.
pub(in crate::cli) const TARGET: &str = "wasm32-unknown-unknown";

/// What to say where cargo does not start.
pub(in crate::cli) const NO_CARGO: &str =
    "cargo can't be run; it comes with Rust, which https://rustup.rs installs";

/// A way to build for wasm.
pub(in crate::cli) enum ToolChain {
    /// The target of the toolchain on the path is installed.
    Installed,
    /// Debian's compiler with the sources of its standard library, and this folder's `rust-lld`.
    Debian(PathBuf),
}

impl ToolChain {
    /// What there is, seen from `folder`.
    pub(in crate::cli) fn find(folder: &Path) -> anyhow::Result<Self> {
        if installed(folder) {
            return Ok(Self::Installed);
        }
        if let Some(lld) = debian() {
            return Ok(Self::Debian(lld));
        }
        if output(Command::new("rustc").arg("--version")).is_none() {
            return Err(fail(
                Exit::NotFound,
                "rustc is not on the path, and plugins are built with it: install Rust as https://rustup.rs says, then type \
                 `rustup target add wasm32-unknown-unknown`",
            ));
        }
        Err(fail(
            Exit::NotFound,
            "nothing here builds for wasm32-unknown-unknown: type `rustup target add wasm32-unknown-unknown`; on Debian \
             without it, `apt-get install rustc-web cargo-web rust-web-src` as root",
        ))
    }

    /// What it is, for people.
    pub(in crate::cli) fn shown(&self) -> &'static str {
        match self {
            Self::Installed => "the installed target",
            Self::Debian(_) => "Debian's compiler",
        }
    }

    /// Its cargo.
    pub(in crate::cli) fn cargo(&self) -> Command {
        match self {
            Self::Installed => Command::new("cargo"),
            Self::Debian(lld) => {
                let mut command = Command::new("/usr/bin/cargo");
                let path = std::env::var_os("PATH").unwrap_or_default();
                let mut folders = OsString::from("/usr/bin:");
                folders.push(lld);
                folders.push(":");
                folders.push(path);
                command
                    .env("PATH", folders)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", "/usr/bin/rustc");
                command
            }
        }
    }

    /// What cargo knows of the workspace of `manifest`.
    pub(in crate::cli) fn metadata(&self, manifest: &Path) -> anyhow::Result<serde_json::Value> {
        let mut command = self.cargo();
        command
            .args([
                "metadata",
                "--no-deps",
                "--format-version",
                "1",
                "--manifest-path",
            ])
            .arg(manifest);
        let output = command.output().context(NO_CARGO)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(fail(
                Exit::Failed,
                format!("cargo can't read {}: {said}", manifest.display()),
            ));
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata can't be read")
    }

    /// What `cargo build` needs beside.
    pub(in crate::cli) fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Installed => &[],
            Self::Debian(_) => &["-Zbuild-std=std,panic_abort"],
        }
    }
}

fn installed(folder: &Path) -> bool {
    let libraries = output(Command::new("rustc").current_dir(folder).args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]));
    let files = libraries
        .and_then(|libraries| std::fs::read_dir(libraries).ok())
        .into_iter()
        .flatten()
        .flatten();
    files.map(|file| file.file_name()).any(|name| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with("libstd-")
            && Path::new(&name)
                .extension()
                .is_some_and(|ending| ending == "rlib")
    })
}

/// The folder of `rust-lld`, where Debian's compiler and its sources are there and new enough.
fn debian() -> Option<PathBuf> {
    for program in ["/usr/bin/rustc", "/usr/bin/cargo"] {
        let version = output(Command::new(program).arg("--version"))?;
        let minor: u32 = version.split_once(" 1.")?.1.split('.').next()?.parse().ok()?;
        if minor < 95 {
            return None;
        }
    }
    let sysroot = output(Command::new("/usr/bin/rustc").args(["--print", "sysroot"]))?;
    Path::new(&sysroot)
        .join("lib/rustlib/src/rust/library/Cargo.lock")
        .is_file()
        .then_some(())?;
    let own = output(Command::new("rustc").args(["--print", "sysroot"])).map(PathBuf::from);
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let toolchains = home
        .and_then(|home| std::fs::read_dir(home.join("toolchains")).ok())
        .into_iter()
        .flatten()
        .flatten();
    let roots = own.into_iter().chain(toolchains.map(|entry| entry.path()));
    let bins = roots.flat_map(|root| {
        let hosts = std::fs::read_dir(root.join("lib/rustlib"))
            .into_iter()
            .flatten()
            .flatten();
        hosts.map(|host| host.path().join("bin")).collect::<Vec<_>>()
    });
    let on_path = std::env::split_paths(&std::env::var_os("PATH")?).collect::<Vec<_>>();
    bins.chain(on_path)
        .find(|folder| folder.join("rust-lld").is_file())
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
