//! `nerve plugin build`: build a plugin for wasm, and drop it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use serde_json::json;

use super::tool_chain::ToolChain;
use crate::cli::Done;
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;

const TARGET: &str = "wasm32-unknown-unknown";

/// Build a plugin, and with --into drop it
#[derive(clap::Args)]
pub(crate) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Drop it into this plugin folder, whole at once
    #[arg(long)]
    into: Option<PathBuf>,
}

impl Build {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let manifest = self.dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| {
            format!(
                "{} is no crate: {} can't be read",
                self.dir.display(),
                manifest.display()
            )
        })?;
        let name = package_name(&text)
            .ok_or_else(|| fail(Exit::Usage, format!("{} names no package", manifest.display())))?;
        let chain = ToolChain::find(&self.dir)?;
        printer.progress(&format!("building {name} with {}", chain.shown()));
        let mut command = chain.cargo();
        command
            .args(["build", "--release", "--target", TARGET])
            .args(chain.flags())
            .arg("--manifest-path")
            .arg(&manifest);
        // What cargo prints goes to standard error, where it does not disturb what a program reads.
        let status = command
            .stdout(Stdio::null())
            .status()
            .context("cargo can't be run")?;
        if !status.success() {
            return Err(fail(
                Exit::Failed,
                format!("{name} does not build; cargo says why above"),
            ));
        }
        let built = target_folder(&chain, &manifest)?
            .join(TARGET)
            .join("release")
            .join(format!("{}.wasm", name.replace('-', "_")));
        if !built.is_file() {
            let message = format!(
                "{} was not made: the crate needs `crate-type = [\"cdylib\"]` under [lib]",
                built.display()
            );
            return Err(fail(Exit::Failed, message));
        }
        let bytes = std::fs::metadata(&built)?.len();
        let dropped = self
            .into
            .as_deref()
            .map(|folder| drop_into(&built, folder, &name))
            .transpose()?;
        let value = json!({ "name": name, "file": built, "bytes": bytes, "dropped": dropped });
        printer.print(&value, || match &dropped {
            Some(file) => format!(
                "{} ({bytes} bytes) is dropped\nnext: nerve plugin show {name}",
                file.display()
            ),
            None => format!(
                "{} ({bytes} bytes)\nnext: nerve plugin build {} --into plugins",
                built.display(),
                self.dir.display()
            ),
        });
        Ok(())
    }
}

/// Copy beside, then rename, so that the host never reads half a file.
fn drop_into(built: &Path, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let (beside, file) = (
        folder.join(format!(".{name}.new")),
        folder.join(format!("{name}.wasm")),
    );
    std::fs::copy(built, &beside)
        .and_then(|_| std::fs::rename(&beside, &file))
        .with_context(|| {
            format!(
                "{} can't be written; is it the host's plugin folder?",
                file.display()
            )
        })?;
    Ok(file)
}

fn package_name(manifest: &str) -> Option<String> {
    let value: toml::Value = toml::from_str(manifest).ok()?;
    Some(value.get("package")?.get("name")?.as_str()?.to_owned())
}

/// Where cargo puts what it builds.
fn target_folder(chain: &ToolChain, manifest: &Path) -> anyhow::Result<PathBuf> {
    let mut command = chain.cargo();
    command
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(manifest);
    let output = command.output().context("cargo can't be run")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata can't be read")?;
    Ok(PathBuf::from(
        metadata["target_directory"].as_str().unwrap_or("target"),
    ))
}
