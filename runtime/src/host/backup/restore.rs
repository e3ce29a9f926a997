//! Making a data folder from a backup. Everything is unpacked beside, checked as a whole and synced before any of it gets
//! its place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nerve_eventlog::Offset;

use super::manifest::{Kept, Manifest, NAME, is_known};
use crate::host::inspect::inspect;
use crate::log::record::Hash;
use crate::plugin::webhook;

/// The folder in the data folder that is unpacked into. While it is there, what else is there is not whole.
const BESIDE: &str = "restoring";

/// Bytes of the longest manifest: of a log of some 100,000 segments.
const LONGEST_MANIFEST: u64 = 64 << 20;

/// The folders that get their place; the log last, for it makes a data folder.
const FOLDERS: [&str; 3] = ["components", "checkpoints", "log"];

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The log's id.
    pub log: String,
    /// The last record.
    pub through: Offset,
    /// Files in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Plugins that were live.
    pub plugins: Vec<String>,
}

/// Why a backup was not restored. Nothing is in place then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is no whole and sound backup.
    #[error("{file} can't be restored: {what}; `nerve log backup FILE` writes another backup")]
    Damaged {
        /// The backup.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// Something is where it would go.
    #[error("{path} is there already: name a folder without a log, and plugin files that are not there")]
    Taken {
        /// What.
        path: String,
    },
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Read the backup `file` and check it against its manifest.
pub fn check(file: &Path) -> Result<Check, RestoreError> {
    Ok(summary(&read(file, None)?))
}

/// Make the data folder `data` from the backup `file`, and put the files of its live plugins into `plugins`.
pub fn restore(file: &Path, data: &Path, plugins: &Path) -> Result<Check, RestoreError> {
    let beside = data.join(BESIDE);
    let cut_off = beside.exists() && !data.join("log").exists();
    for folder in FOLDERS.map(|name| data.join(name)) {
        // What a restore that was cut off left is its own.
        if folder.exists() && !cut_off {
            return Err(RestoreError::Taken {
                path: folder.display().to_string(),
            });
        }
        remove(&folder)?;
    }
    remove(&beside)?;
    for folder in FOLDERS.iter().chain(&["plugins"]).map(|name| beside.join(name)) {
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    }
    let (manifest, dropped) = prepare(file, &beside, plugins).inspect_err(|_| {
        // The failure is told; what is left of it helps nobody, and the next attempt removes it anyway.
        fs::remove_dir_all(&beside).ok();
    })?;
    for folder in FOLDERS.map(|name| beside.join(name)).iter().chain([&beside]) {
        sync_folder(folder)?;
    }
    for (from, to) in dropped {
        fs::rename(&from, &to).map_err(io_error(&to))?;
    }
    if plugins.is_dir() {
        sync_folder(plugins)?;
    }
    for name in FOLDERS {
        let to = data.join(name);
        fs::rename(beside.join(name), &to).map_err(io_error(&to))?;
        sync_folder(data)?;
    }
    remove(&beside)?;
    Ok(summary(&manifest))
}

/// A file that is written under another name, and the name it gets.
type Hidden = (PathBuf, PathBuf);

/// Unpack the backup into the folder `beside`, and check all of it.
fn prepare(file: &Path, beside: &Path, plugins: &Path) -> Result<(Manifest, Vec<Hidden>), RestoreError> {
    let manifest = read(file, Some(beside))?;
    agrees(file, beside, &manifest)?;
    let dropped = drop_in(beside, plugins, &manifest)?;
    Ok((manifest, dropped))
}

/// Whether what was unpacked is a sound log with checkpoints and components that belong to it.
fn agrees(file: &Path, beside: &Path, manifest: &Manifest) -> Result<(), RestoreError> {
    let wrong = |what: String| RestoreError::Damaged {
        file: file.display().to_string(),
        what,
    };
    let seen = inspect(beside).map_err(io_error(beside))?;
    if let Some(bad) = seen.log.damage.first().or(seen.log.torn.as_ref()) {
        return Err(wrong(format!("{}, byte {}: {}", bad.file, bad.byte, bad.what)));
    }
    let id = seen.log.id.map(|id| id.to_string()).unwrap_or_default();
    if (&id, seen.log.last) != (&manifest.log, manifest.through) {
        return Err(wrong("its log is not the one that its manifest names".to_owned()));
    }
    let unusable = seen
        .checkpoints
        .iter()
        .find_map(|one| Some((&one.file, one.problem.as_ref()?)));
    if let Some((name, problem)) = unusable {
        return Err(wrong(format!("{name}: {problem}")));
    }
    if seen.starts_from.is_none() {
        return Err(wrong("no host starts on what is in it".to_owned()));
    }
    let kept: BTreeSet<&str> = manifest.files.iter().map(|file| &*file.name).collect();
    let missing = |component: &str| !kept.contains(&*format!("components/{component}.wasm"));
    if let Some((name, _)) = manifest.plugins.iter().find(|(_, component)| missing(component)) {
        return Err(wrong(format!("the component of plugin {name:?} is not in it")));
    }
    Ok(())
}

/// Put the files of the live plugins beside their places; answers what is to be renamed to what.
fn drop_in(beside: &Path, plugins: &Path, manifest: &Manifest) -> Result<Vec<Hidden>, RestoreError> {
    let mut out = Vec::new();
    for (name, component) in &manifest.plugins {
        let settings = beside.join(format!("plugins/{name}.toml"));
        let is_webhook = *component == webhook::component().to_string();
        let component = beside.join(format!("components/{component}.wasm"));
        let pair = [(settings, ".toml"), (component, ".wasm")];
        let files = match pair {
            [(settings, _), _] if is_webhook => vec![(settings, webhook::ENDING)],
            pair => pair.into(),
        };
        for (from, ending) in files {
            let to = plugins.join(format!("{name}{ending}"));
            if to.exists() {
                return Err(RestoreError::Taken {
                    path: to.display().to_string(),
                });
            }
            if from.exists() {
                // A dot in front hides it from a host that watches the folder.
                out.push((from, plugins.join(format!(".{name}{ending}.restoring")), to));
            }
        }
    }
    if !out.is_empty() {
        fs::create_dir_all(plugins).map_err(io_error(plugins))?;
    }
    out.into_iter()
        .map(|(from, hidden, to)| {
            fs::copy(&from, &hidden).map_err(io_error(&hidden))?;
            File::open(&hidden)
                .and_then(|file| file.sync_all())
                .map_err(io_error(&hidden))?;
            Ok((hidden, to))
        })
        .collect()
}

/// Read a backup and check every file against the manifest; into the folder `beside`, where one is named.
fn read(file: &Path, beside: Option<&Path>) -> Result<Manifest, RestoreError> {
    let wrong = |what: String| RestoreError::Damaged {
        file: file.display().to_string(),
        what,
    };
    let cut_off = |cause: io::Error| wrong(format!("it is cut off or no tar file: {cause}"));
    let opened = File::open(file).map_err(io_error(file))?;
    let mut archive = tar::Archive::new(io::BufReader::new(opened));
    let mut files: Vec<Kept> = Vec::new();
    for entry in archive.entries().map_err(cut_off)? {
        let mut entry = entry.map_err(cut_off)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(wrong(format!("{name:?} in it is no plain file")));
        }
        if name == NAME {
            let mut text = String::new();
            entry
                .take(LONGEST_MANIFEST)
                .read_to_string(&mut text)
                .map_err(cut_off)?;
            let manifest = Manifest::parse(&text).map_err(wrong)?;
            return match differs(&manifest.files, &files) {
                None => Ok(manifest),
                Some(name) => Err(wrong(format!("{name} in it is not what its manifest says"))),
            };
        }
        if !is_known(&name) || files.iter().any(|file| file.name == name) {
            return Err(wrong(format!("{name:?} in it is no file of a backup")));
        }
        let (bytes, hash) = match beside {
            None => copy(&mut entry, &mut io::sink()).map_err(cut_off)?,
            Some(beside) => {
                let path = beside.join(&name);
                let mut out = File::create_new(&path).map_err(io_error(&path))?;
                let copied = copy(&mut entry, &mut out).map_err(cut_off)?;
                out.sync_all().map_err(io_error(&path))?;
                copied
            }
        };
        files.push(Kept { name, bytes, hash });
    }
    Err(wrong(
        "it is cut off: the manifest at its end is missing".to_owned(),
    ))
}

/// The first file that is not as the manifest says.
fn differs<'a>(said: &'a [Kept], found: &'a [Kept]) -> Option<&'a str> {
    let pairs = said.iter().zip(found).find(|(said, found)| said != found);
    let longer = || {
        said.iter()
            .skip(found.len())
            .chain(found.iter().skip(said.len()))
            .next()
    };
    pairs
        .map(|(said, _)| said)
        .or_else(longer)
        .map(|file| &*file.name)
}

/// Copy all of `from`; answers its bytes and hash.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, Hash)> {
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, Hash(*hasher.finalize().as_bytes())));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
}

fn summary(manifest: &Manifest) -> Check {
    Check {
        log: manifest.log.clone(),
        through: manifest.through,
        files: manifest.files.len(),
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        plugins: manifest.plugins.iter().map(|(name, _)| name.clone()).collect(),
    }
}

fn remove(folder: &Path) -> Result<(), RestoreError> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(io_error(folder)(cause)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), RestoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error(folder))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> RestoreError + use<> {
    let path = path.display().to_string();
    move |cause| RestoreError::Io {
        path: path.clone(),
        cause,
    }
}
