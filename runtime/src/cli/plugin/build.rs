//! `nerve plugin build`: build a plugin for wasm, and drop it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::tool_chain::{NO_CARGO, TARGET, ToolChain};
use crate::cli::Done;
use crate::cli::api::{Api, ApiError, escaped};
use crate::cli::exit::{Exit, fail};
use crate::cli::output::{Printer, text_at};
use crate::log::record::Hash;

/// How long a host may take to decide on what was dropped.
const LONGEST: Duration = Duration::from_secs(20);

/// How often it is asked.
const ASK: Duration = Duration::from_millis(50);

/// Build a plugin, and with --into drop it
#[derive(clap::Args)]
pub(crate) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Drop it into this plugin folder, whole at once, and wait until the host that answers has decided on it
    #[arg(long)]
    into: Option<PathBuf>,
}

impl Build {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let manifest = self.dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| {
            format!(
                "{} is no crate, for {} can't be read; `nerve plugin new NAME` makes one",
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
        let status = command.stdout(Stdio::null()).status().context(NO_CARGO)?;
        if !status.success() {
            return Err(fail(
                Exit::Failed,
                format!("{name} does not build; cargo says why above"),
            ));
        }
        let metadata = chain.metadata(&manifest)?;
        let built = Path::new(metadata["target_directory"].as_str().unwrap_or("target"))
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
        let component = std::fs::read(&built)?;
        let (bytes, hash) = (component.len(), Hash::of(&component).to_string());
        let Some(folder) = &self.into else {
            printer.print(
                &json!({ "name": name, "file": built, "bytes": bytes, "dropped": null }),
                || {
                    format!(
                        "{} ({bytes} bytes)\nnext: nerve plugin build {} --into plugins",
                        built.display(),
                        self.dir.display()
                    )
                },
            );
            return Ok(());
        };
        let before = plugin(api, &name);
        let dropped = drop_into(&built, folder, &name)?;
        let decided = before.and_then(|before| decided(api, &name, &hash, &before));
        let value = json!({
            "name": name, "file": built, "bytes": bytes, "dropped": dropped,
            "status": decided.as_ref().map(|(status, _)| status), "reason": decided.as_ref().map(|(_, reason)| reason),
        });
        let file = format!("{} ({bytes} bytes) is dropped", dropped.display());
        match decided {
            Some(("refused", reason)) => {
                let message = format!("{file}, and refused; what ran goes on: {reason}");
                return Err(printer.fail_with(value, Exit::Failed, &message));
            }
            Some((status, reason)) => printer.print(&value, || {
                format!("{file}, and {status}{reason}\nnext: nerve plugin show {name}")
            }),
            None => printer.print(&value, || {
                format!(
                    "{file}\nno host has decided on it yet: `nerve run` takes what is in its plugin folder"
                )
            }),
        }
        Ok(())
    }
}

/// The plugin as the host knows it, null where it does not; `None` where no host answers.
fn plugin(api: &Api, name: &str) -> Option<Value> {
    match api.get(&format!("/v1/plugins/{}", escaped(name))) {
        Ok(plugin) => Some(plugin),
        Err(ApiError::Refused(problem)) if problem.status == 404 => Some(Value::Null),
        Err(_) => None,
    }
}

/// What the host decides on the component with this hash, and why; `None` where it does not, as it may watch another folder.
fn decided(api: &Api, name: &str, hash: &str, before: &Value) -> Option<(&'static str, String)> {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST {
        let now = plugin(api, name)?;
        let is_new = |at: &str| {
            now.pointer(at) != before.pointer(at) && now.pointer(at).is_some_and(|at| !at.is_null())
        };
        if is_new("/refused/at") {
            return Some(("refused", text_at(&now, "/refused/reason")));
        }
        if is_new("/waiting/since") {
            return Some((
                "waiting",
                format!(": it asks for more than it is granted; nerve plugin approve {name}"),
            ));
        }
        if now["component"] == *hash && now["status"] != "removed" && now["refused"].is_null() {
            return Some(("live", String::new()));
        }
        std::thread::park_timeout(ASK);
    }
    None
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
