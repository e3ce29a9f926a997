//! Sees what changes in the plugin folder.
//!
//! A plugin is `NAME.wasm`, with `NAME.toml` beside it where there is one, or else `NAME.webhook.toml` alone.
//!
//! A thread looks at the whole folder whenever the system says that something changed in it, and every few seconds
//! besides, for notifications get lost. What it makes of what it sees is decided by `Watch`, which knows neither
//! the file system nor the time: a changed file is shown at once, so that a drop serves quickly, and shown again as
//! settled when it has not changed for a while, so that only a file that is really there is ever refused.

mod watch;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{self, Sender};

use super::name::PluginName;
use super::webhook;
use crate::log::record::Hash;
use watch::{Print, See, Watch};

/// How often the folder is looked at without being told to.
const RESCAN: Duration = Duration::from_secs(2);

/// Bytes of a file that are read at most; the loader refuses long before.
pub const LONGEST_FILE: u64 = 256 << 20;

/// What changed.
#[derive(Debug)]
pub enum FolderChange {
    /// The plugins that are there, once, at the start; each is `Present` besides.
    First(Vec<PluginName>),
    /// A plugin's component or settings are new or changed.
    Present(Pair),
    /// A plugin's component is gone.
    Gone(PluginName),
    /// Something is no plugin.
    Ignored {
        /// What.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A component and its settings.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The plugin.
    pub name: PluginName,
    /// The bytes of `NAME.wasm`; none where it is a webhook.
    pub component: Bytes,
    /// The text of `NAME.toml`, where it is there, or of `NAME.webhook.toml`.
    pub settings: Option<String>,
    /// Hash of both.
    pub hash: Hash,
    /// Whether the files have been quiet for a while; until then they may be half-written.
    pub settled: bool,
}

/// Why a folder can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The folder can't be made or read.
    #[error("the plugin folder {} can't be read: {cause}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The system gives no notifications.
    #[error("the plugin folder {} can't be watched: {cause}", folder.display())]
    Notify {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: notify::Error,
    },
}

/// Watches until it is dropped.
pub struct Watcher {
    _notify: notify::RecommendedWatcher,
    /// How often the folder was looked at.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests count"))]
    looks: Arc<AtomicU64>,
}

impl Watcher {
    /// Watch `folder`, which is made where it is missing.
    pub fn start(folder: &Path) -> Result<(Self, mpsc::Receiver<FolderChange>), WatchError> {
        let folder = folder.to_owned();
        let refused = |cause| WatchError::Folder {
            folder: folder.clone(),
            cause,
        };
        std::fs::create_dir_all(&folder).map_err(refused)?;
        scan(&folder).map_err(refused)?;
        let (ring, rings) = channel();
        let no_notify = |cause| WatchError::Notify {
            folder: folder.clone(),
            cause,
        };
        let mut notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Looking at the folder is an access too, and must not make it look again. Whatever else it was, and also
            // when the notification failed: look.
            if !event.is_ok_and(|event| event.kind.is_access() && !is_written(event.kind)) {
                ring.send(()).ok();
            }
        })
        .map_err(no_notify)?;
        notify
            .watch(&folder, RecursiveMode::NonRecursive)
            .map_err(no_notify)?;
        let (changes, receiver) = mpsc::channel(16);
        let looks: Arc<AtomicU64> = Arc::default();
        let run = {
            let (folder, looks) = (folder.clone(), looks.clone());
            move || follow(&folder, &rings, &changes, &looks)
        };
        std::thread::Builder::new()
            .name("plugin-watch".into())
            .spawn(run)
            .map_err(refused)?;
        Ok((
            Self {
                _notify: notify,
                looks,
            },
            receiver,
        ))
    }
}

/// Whether a file was closed that had been open for writing.
fn is_written(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    kind == notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Look at the folder until nobody listens, or the watcher is dropped.
fn follow(folder: &Path, rings: &Receiver<()>, changes: &Sender<FolderChange>, looks: &AtomicU64) {
    let begun = Instant::now();
    let mut watch = Watch::default();
    let mut first = true;
    let mut unreadable = false;
    loop {
        looks.fetch_add(1, Ordering::Relaxed);
        match scan(folder) {
            Ok((seen, ignored)) => {
                unreadable = false;
                if std::mem::take(&mut first) {
                    let names = seen.keys().cloned().collect();
                    if changes.blocking_send(FolderChange::First(names)).is_err() {
                        return;
                    }
                }
                for see in watch.look(seen, ignored, begun.elapsed()) {
                    let Some(change) = change(folder, see) else {
                        continue;
                    };
                    if changes.blocking_send(change).is_err() {
                        return;
                    }
                }
            }
            // An unreadable folder is no empty one: nothing is taken to be gone.
            Err(cause) if !std::mem::replace(&mut unreadable, true) => {
                tracing::warn!("the plugin folder {} can't be read: {cause}", folder.display());
            }
            Err(_) => {}
        }
        let wait = watch.next_look(begun.elapsed()).unwrap_or(RESCAN).min(RESCAN);
        match rings.recv_timeout(wait) {
            Ok(()) => while rings.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if changes.is_closed() {
            return;
        }
    }
}

type Seen = BTreeMap<PluginName, Print>;

/// What is in the folder: plugins by name, and what is no plugin, with the reason.
fn scan(folder: &Path) -> io::Result<(Seen, BTreeMap<PathBuf, String>)> {
    let (mut seen, mut ignored) = (Seen::new(), BTreeMap::new());
    let mut webhooks = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let webhook = file.strip_suffix(webhook::ENDING);
        let stem = webhook.or_else(|| file.strip_suffix(".wasm"));
        let Some(stem) = stem.filter(|_| !file.starts_with('.')) else {
            continue;
        };
        let name = match PluginName::parse(stem) {
            Ok(name) => name,
            Err(bad) => {
                ignored.insert(path, bad.to_string());
                continue;
            }
        };
        // Follows links: a link to a file is a file.
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() && webhook.is_some() => {
                webhooks.push((name, path, Print::of(&meta, None)));
            }
            Ok(meta) if meta.is_file() => {
                let settings = std::fs::metadata(path.with_extension("toml")).ok();
                seen.insert(name, Print::of(&meta, settings.as_ref()));
            }
            Ok(_) => {
                ignored.insert(path, "it is a directory or a device: plugins are files".into());
            }
            Err(cause) => {
                ignored.insert(path, format!("it can't be read: {cause}"));
            }
        }
    }
    for (name, path, print) in webhooks {
        match seen.entry(name) {
            Entry::Vacant(free) => {
                free.insert(print);
            }
            Entry::Occupied(taken) => {
                let reason = format!(
                    "{}.wasm is there as well, and comes first: remove one of the two",
                    taken.key()
                );
                ignored.insert(path, reason);
            }
        }
    }
    Ok((seen, ignored))
}

/// The component and the settings of a plugin.
fn read(folder: &Path, name: &PluginName) -> io::Result<(Bytes, Option<String>)> {
    let component = read_file(&folder.join(format!("{name}.wasm")));
    let (component, settings) = match component {
        Ok(component) => (component, format!("{name}.toml")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let text = std::fs::read_to_string(folder.join(format!("{name}{}", webhook::ENDING)))?;
            return Ok((Bytes::new(), Some(text)));
        }
        Err(cause) => return Err(cause),
    };
    match std::fs::read_to_string(folder.join(&settings)) {
        Ok(text) => Ok((component, Some(text))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok((component, None)),
        Err(cause) => Err(io::Error::new(cause.kind(), format!("its {settings}: {cause}"))),
    }
}

/// The change for what was seen; `None` where the file went away in between, which the next look sees.
fn change(folder: &Path, see: See) -> Option<FolderChange> {
    match see {
        See::Gone(name) => Some(FolderChange::Gone(name)),
        See::Ignored(path, reason) => Some(FolderChange::Ignored { path, reason }),
        See::Present { name, settled } => match read(folder, &name) {
            Ok((component, settings)) => {
                Some(FolderChange::Present(pair(name, component, settings, settled)))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => settled.then(|| FolderChange::Ignored {
                path: folder.join(format!("{name}.wasm")),
                reason: format!("it can't be read: {cause}"),
            }),
        },
    }
}

fn read_file(path: &Path) -> io::Result<Bytes> {
    let length = std::fs::metadata(path)?.len();
    if length > LONGEST_FILE {
        return Err(io::Error::other(format!(
            "it has {length} bytes, and at most {LONGEST_FILE} are read"
        )));
    }
    std::fs::read(path).map(Bytes::from)
}

/// A pair, with its hash.
pub fn pair(name: PluginName, component: Bytes, settings: Option<String>, settled: bool) -> Pair {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&Hash::of(&component).0);
    if let Some(settings) = &settings {
        hasher.update(settings.as_bytes());
    }
    Pair {
        name,
        component,
        settings,
        hash: Hash(*hasher.finalize().as_bytes()),
        settled,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Changes until `wanted` answers for one.
    fn wait<T>(
        changes: &mut mpsc::Receiver<FolderChange>,
        mut wanted: impl FnMut(&FolderChange) -> Option<T>,
    ) -> T {
        loop {
            let change = changes.blocking_recv().unwrap();
            if let Some(found) = wanted(&change) {
                return found;
            }
        }
    }

    fn settled(change: &FolderChange) -> Option<Pair> {
        match change {
            FolderChange::Present(pair) if pair.settled => Some(pair.clone()),
            _ => None,
        }
    }

    #[test]
    fn looking_at_the_folder_does_not_make_it_look_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.wasm"), b"component").unwrap();
        let (watcher, mut changes) = Watcher::start(folder.path()).unwrap();
        wait(&mut changes, settled);
        let looks = watcher.looks.load(Ordering::Relaxed);
        assert!(looks < 10, "it looked {looks} times while nothing changed");
    }

    #[test]
    fn files_links_and_settings_are_seen_and_the_rest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        let (_watcher, mut changes) = Watcher::start(&plugins).unwrap();
        fs::create_dir(plugins.join("folder.wasm")).unwrap();
        let ignored = |change: &FolderChange| match change {
            FolderChange::Ignored { path, reason } => Some((path.clone(), reason.clone())),
            _ => None,
        };
        let (path, reason) = wait(&mut changes, ignored);
        assert!(
            path.ends_with("folder.wasm") && reason.contains("directory"),
            "{reason}"
        );
        fs::write(folder.path().join("elsewhere"), b"one").unwrap();
        symlink(folder.path().join("elsewhere"), plugins.join("linked.wasm")).unwrap();
        assert_eq!(wait(&mut changes, settled).component, b"one"[..]);
        fs::write(plugins.join("linked.toml"), "start = \"now\"").unwrap();
        let with_settings = wait(&mut changes, |change| {
            settled(change).filter(|pair| pair.settings.is_some())
        });
        fs::write(plugins.join(".new"), b"two").unwrap();
        fs::rename(plugins.join(".new"), plugins.join("linked.wasm")).unwrap();
        let replaced = wait(&mut changes, |change| {
            settled(change).filter(|pair| pair.component == b"two"[..])
        });
        assert_ne!(replaced.hash, with_settings.hash);
        fs::remove_file(plugins.join("linked.wasm")).unwrap();
        wait(&mut changes, |change| {
            matches!(change, FolderChange::Gone(_)).then_some(())
        });
    }
}
