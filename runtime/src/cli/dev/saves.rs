//! Tells when a source file was saved.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::crates::Crates;

/// How long nothing must be saved before it is built: editors write a file in several steps, and tools many files.
const QUIET: Duration = Duration::from_millis(40);

/// How long it waits for quiet at most.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches until it is dropped.
pub(super) struct Watching {
    _notify: notify::RecommendedWatcher,
}

/// What counts as a source of `crates`, one notice for what is saved together.
pub(super) fn watch(crates: &Crates) -> anyhow::Result<(UnboundedReceiver<()>, Watching)> {
    let (ring, rings) = channel();
    let target = crates.target.clone();
    let mut notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // When the notification failed, something was saved for all that is known.
        let counts = event.map_or(true, |event| {
            is_change(event.kind) && event.paths.iter().any(|path| is_source(path, &target))
        });
        if counts {
            ring.send(()).ok();
        }
    })
    .context("the system gives no notice of changed files")?;
    for folder in folders(&crates.sources, &crates.target) {
        let (folder, mode) = folder;
        let watched = notify.watch(&folder, mode);
        watched.with_context(|| format!("{} can't be watched", folder.display()))?;
    }
    let (save, saves) = unbounded_channel();
    std::thread::Builder::new()
        .name("source-watch".into())
        .spawn(move || settle(&rings, &save))
        .context("no thread for watching")?;
    Ok((saves, Watching { _notify: notify }))
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
        EventKind::Modify(notify::event::ModifyKind::Metadata(_)) => false,
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
fn settle(rings: &Receiver<()>, save: &UnboundedSender<()>) {
    while rings.recv().is_ok() {
        let begun = Instant::now();
        while begun.elapsed() < LONGEST {
            match rings.recv_timeout(QUIET) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if save.send(()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
