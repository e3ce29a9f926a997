//! Which plugins a folder has: the crates in it that make a `cdylib`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::cli::exit::{Exit, fail};
use crate::cli::plugin::tool_chain::ToolChain;
use crate::plugin::name::PluginName;

/// The plugins that are built.
pub(super) struct Crates {
    /// What builds them.
    pub(super) chain: ToolChain,
    /// Each.
    pub(super) all: Vec<Crate>,
    /// The folder's `Cargo.toml`.
    pub(super) manifest: PathBuf,
    /// Where cargo puts what it builds.
    pub(super) target: PathBuf,
    /// Folders whose files matter.
    pub(super) sources: Vec<PathBuf>,
}

/// A plugin's crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crate {
    /// Its name.
    pub(super) name: PluginName,
    /// Its folder.
    pub(super) folder: PathBuf,
}

impl Crates {
    /// The plugins in `dir`.
    pub(super) fn find(dir: &Path) -> anyhow::Result<Self> {
        let manifest = dir.join("Cargo.toml");
        if !manifest.is_file() {
            let message = format!(
                "{} is not there: name a plugin's folder, or make one with `nerve plugin new NAME`",
                manifest.display()
            );
            return Err(fail(Exit::NotFound, message));
        }
        let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
        let manifest = dir.join("Cargo.toml");
        let chain = ToolChain::find(&dir)?;
        let metadata = chain.metadata(&manifest)?;
        let target = metadata["target_directory"].as_str().unwrap_or("target").into();
        let (all, sources) = plugins(&metadata, &dir)?;
        if all.is_empty() {
            let message = format!(
                "{} has no plugin: a plugin's crate has `crate-type = [\"cdylib\"]` under [lib]",
                dir.display()
            );
            return Err(fail(Exit::NotFound, message));
        }
        Ok(Self {
            chain,
            all,
            manifest,
            target,
            sources,
        })
    }
}

/// The crates in `dir` that cargo's `metadata` has and that make a plugin, and the folders that they are made from.
fn plugins(metadata: &Value, dir: &Path) -> anyhow::Result<(Vec<Crate>, Vec<PathBuf>)> {
    let (mut all, mut sources) = (Vec::new(), vec![dir.to_owned()]);
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let folder = Path::new(manifest).parent().unwrap_or(dir).to_owned();
        let targets = package["targets"].as_array().into_iter().flatten();
        let mut kinds = targets.flat_map(|target| target["kind"].as_array().into_iter().flatten());
        if !folder.starts_with(dir) || !kinds.any(|kind| kind == "cdylib") {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let name = PluginName::parse(name).map_err(|bad| fail(Exit::Usage, format!("{manifest}: {bad}")))?;
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let beside = dependencies
            .filter_map(|one| one["path"].as_str())
            .map(PathBuf::from);
        sources.extend(beside.filter(|folder| !folder.starts_with(dir)));
        all.push(Crate { name, folder });
    }
    sources.sort();
    sources.dedup();
    Ok((all, sources))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_plugins_of_a_folder_are_its_crates_that_make_a_cdylib() {
        let package = |name: &str, kind: &str, dependency: &str| {
            json!({
                "name": name, "manifest_path": format!("/w/{name}/Cargo.toml"), "targets": [{ "kind": [kind] }],
                "dependencies": [{ "name": "serde" }, { "name": "x", "path": dependency }],
            })
        };
        let metadata = json!({ "packages": [
            package("carts", "cdylib", "/w/shared"),
            package("shared", "lib", "/elsewhere"),
            package("login", "cdylib", "/sdk"),
        ]});
        let names = |dir: &str| {
            let (all, sources) = plugins(&metadata, Path::new(dir)).unwrap();
            let names: Vec<String> = all.iter().map(|one| one.name.to_string()).collect();
            let sources: Vec<String> = sources
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            (names.join(" "), sources.join(" "))
        };
        assert_eq!(names("/w"), ("carts login".to_owned(), "/sdk /w".to_owned()));
        assert_eq!(
            names("/w/carts"),
            ("carts".to_owned(), "/w/carts /w/shared".to_owned())
        );
        assert_eq!(names("/w/shared").0, "");
    }
}
