//! Tells when a source file was saved.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long nothing must be saved before it is built: editors write a file in several steps, and tools many files.
const QUIET: Duration = Duration::from_millis(40);

/// How long it waits for quiet at most.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches until it is dropped.
pub(super) struct Watching {
    notify: notify::RecommendedWatcher,
    sources: Vec<PathBuf>,
    /// Where cargo puts what it builds.
    target: PathBuf,
}

/// Something was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Saved {
    /// What is in a crate.
    Source,
    /// A crate may have come or gone, too: a manifest, or a folder.
    Crates,
}

/// Notice of what counts as a source, one for what is saved together, from the folders that are given to `Watching`.
pub(super) fn watch(target: &Path) -> anyhow::Result<(UnboundedReceiver<Saved>, Watching)> {
    let (ring, rings) = channel();
    let built = target.to_owned();
    let notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // When the notification failed, anything was saved for all that is known.
        let saved = event.map_or(Some(Saved::Crates), |event| saved(&event, &built));
        if let Some(saved) = saved {
            ring.send(saved).ok();
        }
    })
    .context("the system gives no notice of changed files")?;
    let (save, saves) = unbounded_channel();
    std::thread::Builder::new()
        .name("source-watch".into())
        .spawn(move || settle(&rings, &save))
        .context("no thread for watching")?;
    let watching = Watching {
        notify,
        sources: Vec::new(),
        target: target.to_owned(),
    };
    Ok((saves, watching))
}

impl Watching {
    /// Whether these `sources` are watched already.
    pub(super) fn is_of(&self, sources: &[PathBuf]) -> bool {
        self.sources == sources
    }

    /// Watch `sources`, whatever was watched of them: a folder that went and came back is another one.
    pub(super) fn watch(&mut self, sources: &[PathBuf]) -> anyhow::Result<()> {
        sources.clone_into(&mut self.sources);
        for (folder, mode) in folders(sources, &self.target) {
            match self.notify.watch(&folder, mode) {
                Err(why) if folder.is_dir() => {
                    return Err(why).with_context(|| format!("{} can't be watched", folder.display()));
                }
                // Where it has gone since it was found, there is nothing to watch.
                _ => {}
            }
        }
        Ok(())
    }
}

/// What `event` saved, where it counts.
fn saved(event: &notify::Event, target: &Path) -> Option<Saved> {
    if event.need_rescan() {
        return Some(Saved::Crates);
    }
    let paths = event.paths.iter().filter(|_| is_change(event.kind));
    let paths = paths.filter(|path| is_source(path, target));
    let saved = paths.map(|path| {
        if is_of_crates(path) {
            Saved::Crates
        } else {
            Saved::Source
        }
    });
    saved.max()
}

/// Whether it says which crates there are: a manifest, or a folder, of one that is gone as far as its name tells.
fn is_of_crates(path: &Path) -> bool {
    let is_gone_folder = || path.extension().is_none() && !path.is_file();
    path.ends_with("Cargo.toml") || path.is_dir() || is_gone_folder()
}

/// What to watch: each of `sources`, and whole what is in it, but for what cargo builds and what is hidden.
fn folders(sources: &[PathBuf], target: &Path) -> Vec<(PathBuf, RecursiveMode)> {
    let mut out = Vec::new();
    for source in sources {
        out.push((source.clone(), RecursiveMode::NonRecursive));
        let inside = std::fs::read_dir(source).into_iter().flatten().flatten();
        let inside = inside.map(|entry| entry.path());
        let inside = inside.filter(|path| path.is_dir() && is_source(path, target));
        out.extend(inside.map(|path| (path, RecursiveMode::Recursive)));
    }
    out
}

/// Whether a file's content or its being there changed.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        _ => true,
    }
}

/// Whether the file at `path` goes into a build. Cargo writes `Cargo.lock` itself, and editors hide what they keep
/// beside a file.
fn is_source(path: &Path, target: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_beside = name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913";
    !path.starts_with(target) && name != "target" && name != "Cargo.lock" && !is_beside
}

/// One notice for rings that come together.
fn settle(rings: &Receiver<Saved>, save: &UnboundedSender<Saved>) {
    while let Ok(mut saved) = rings.recv() {
        let begun = Instant::now();
        while begun.elapsed() < LONGEST {
            match rings.recv_timeout(QUIET) {
                Ok(more) => saved = saved.max(more),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if save.send(saved).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_folders_say_which_crates_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let (target, there) = (folder.path().join("target"), folder.path().join("carts"));
        std::fs::create_dir(&there).unwrap();
        let of = |names: &[&str], kind| {
            let paths = names.iter().map(|name| folder.path().join(name));
            saved(
                &paths.fold(notify::Event::new(kind), notify::Event::add_path),
                &target,
            )
        };
        let any = EventKind::Any;
        assert_eq!(of(&["carts/src/lib.rs"], any), Some(Saved::Source));
        assert_eq!(
            of(&["carts/src/lib.rs", "carts/Cargo.toml"], any),
            Some(Saved::Crates)
        );
        assert_eq!(of(&["carts"], any), Some(Saved::Crates));
        assert_eq!(of(&["login"], any), Some(Saved::Crates), "it has gone");
        assert_eq!(of(&["target"], any), None);
        let touched = EventKind::Modify(ModifyKind::Metadata(notify::event::MetadataKind::Any));
        assert_eq!(of(&["carts"], touched), None);
        let lost = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(saved(&lost, &target), Some(Saved::Crates));
    }

    #[test]
    fn what_cargo_and_editors_write_for_themselves_is_no_source() {
        let target = Path::new("/w/out");
        for (path, counts) in [
            ("/w/src/lib.rs", true),
            ("/w/greeter.toml", true),
            ("/w/schemas/order.json", true),
            ("/w/Cargo.lock", false),
            ("/w/out/release/a.wasm", false),
            ("/w/target", false),
            ("/w/src/.lib.rs.swp", false),
            ("/w/src/lib.rs~", false),
            ("/w/src/4913", false),
            ("/w/.git", false),
        ] {
            assert_eq!(is_source(Path::new(path), target), counts, "{path}");
        }
    }
}
