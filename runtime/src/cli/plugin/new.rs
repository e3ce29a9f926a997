//! `nerve plugin new`: a plugin's crate, which builds and passes its test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use crate::cli::Done;
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;
use crate::plugin::name::PluginName;

/// Where the SDK lay when this program was built.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");

/// Make a plugin's crate, which builds and passes its test
#[derive(clap::Args)]
pub(crate) struct New {
    /// The plugin's name: a-z, 0-9 and -, a letter first
    name: String,
    /// In which folder
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The folder of nerve-sdk [default: that of the repository this program was built in]
    #[arg(long, env = "NERVE_SDK")]
    sdk: Option<PathBuf>,
}

impl New {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let name = PluginName::parse(&self.name).map_err(|bad| fail(Exit::Usage, bad.to_string()))?;
        let sdk = sdk(self.sdk.as_deref())?;
        free(&self.dir, &name)?;
        let source =
            include_str!("../../../../sdk/template/src/lib.rs.in").replace("{{name}}", name.as_str());
        let folder = write(&self.dir, &name, &sdk, &source)?;
        let shown = folder.strip_prefix(".").unwrap_or(&folder).display().to_string();
        printer.print(&json!({ "name": name.as_str(), "folder": shown }), || {
            format!(
                "{shown} has a plugin now\n\
                 test it:  cargo test --manifest-path {shown}/Cargo.toml\n\
                 write it: nerve dev {shown}\n\
                 drop it:  nerve plugin build {shown} --into plugins"
            )
        });
        Ok(())
    }
}

/// The folder of the SDK: the one that is `named`, or that of the repository this program was built in.
pub(in crate::cli) fn sdk(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let sdk = named.unwrap_or_else(|| Path::new(SDK));
    let found = sdk
        .canonicalize()
        .ok()
        .filter(|sdk| sdk.join("Cargo.toml").is_file());
    found.ok_or_else(|| {
        let message = format!(
            "there is no nerve-sdk at {}: name its folder with --sdk",
            sdk.display()
        );
        fail(Exit::NotFound, message)
    })
}

/// The folder of the plugin `name` in `dir`, where nothing is yet.
pub(in crate::cli) fn free(dir: &Path, name: &PluginName) -> anyhow::Result<PathBuf> {
    let folder = dir.join(name.as_str());
    if folder.exists() {
        let message = format!(
            "{} is there already: choose another name or folder",
            folder.display()
        );
        return Err(fail(Exit::Conflict, message));
    }
    Ok(folder)
}

/// Write the crate of the plugin `name` into `dir`, with `source` as its code; answers its folder.
pub(in crate::cli) fn write(
    dir: &Path,
    name: &PluginName,
    sdk: &Path,
    source: &str,
) -> anyhow::Result<PathBuf> {
    let folder = dir.join(name.as_str());
    let manifest = if is_member(dir) {
        include_str!("../../../../sdk/template/Cargo.member.toml.in")
    } else {
        include_str!("../../../../sdk/template/Cargo.toml.in")
    };
    let quoted = sdk
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    let manifest = manifest
        .replace("{{name}}", name.as_str())
        .replace("{{sdk}}", &quoted);
    fs::create_dir_all(folder.join("src"))
        .and_then(|()| fs::write(folder.join("Cargo.toml"), manifest))
        .and_then(|()| fs::write(folder.join("src/lib.rs"), source))
        .with_context(|| format!("{} can't be made", folder.display()))?;
    Ok(folder)
}

/// Whether a plugin in `parent` becomes a member of the workspace there.
fn is_member(parent: &Path) -> bool {
    let manifest = fs::read_to_string(parent.join("Cargo.toml")).unwrap_or_default();
    let value: toml::Value = toml::from_str(&manifest).unwrap_or(toml::Value::Boolean(false));
    value
        .get("workspace")
        .and_then(|w| w.get("dependencies"))
        .is_some_and(|found| found.get("nerve-sdk").is_some())
}
