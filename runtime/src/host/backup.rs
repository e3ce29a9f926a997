//! A copy of everything a host needs to go on elsewhere, made while it runs: one tar file with the log up to a durable
//! offset, the checkpoints and the components, and at its end a manifest with the hash of each.
//!
//! Compiled code and whatever else can be made again stays out, and so does what is secret: settings hold secrets by
//! reference only.

mod manifest;
mod restore;

use std::io::{self, Write};

use nerve_eventlog::{Durability, LogId, Offset, ReadError};

use self::manifest::{Kept, Manifest, NAME};
use super::{Host, Stopped};
use crate::log::record::Hash;
use crate::plugin::components::ComponentError;
use crate::state::checkpoint;

pub use restore::{Check, RestoreError, check, restore};

/// Blocks of a tar file are so long.
const BLOCK: usize = 512;

/// Why no backup was made, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The host keeps nothing on disk.
    #[error("a host that keeps everything in memory can't be backed up")]
    Memory,
    /// A part of the log is damaged.
    #[error("{0}; a backup would not be whole: see `nerve log verify`")]
    Log(#[from] ReadError),
    /// A component is damaged.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The host is stopping, or its log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The copy can't be written, or the folder not be read.
    #[error("the backup was cut off: {0}")]
    Io(#[from] io::Error),
}

impl Host {
    /// Write a backup to `out`; answers its last record. Blocks as long as it takes. Publishing goes on meanwhile, and
    /// retention waits.
    pub fn backup(&self, out: &mut dyn Write) -> Result<Offset, BackupError> {
        if self.inner.durability == Durability::Memory {
            return Err(BackupError::Memory);
        }
        let poisoned = |poisoned: nerve_eventlog::Poisoned| Stopped::Poisoned(poisoned.to_string());
        let components = self.inner.deployer.as_ref().map(|deployer| deployer.components());
        let _held = components.map(crate::plugin::components::Components::hold);
        // What the checkpoints need of the log is held before they are read; what they hold is in a later snapshot.
        let held = self.inner.store.snapshot().map_err(poisoned)?;
        let checkpoints = self.sound_checkpoints()?;
        let snapshot = self.inner.store.snapshot().map_err(poisoned)?;
        drop(held);
        let mut tar = Tar {
            out,
            manifest: Manifest::default(),
        };
        tar.manifest.log = self.log().id().to_string();
        for (number, (name, bytes)) in snapshot.files().into_iter().enumerate() {
            tar.entry(&format!("log/{name}"), bytes, |sink| -> Result<_, BackupError> {
                Ok(snapshot.copy(number, sink)?)
            })
            .map(|last| tar.manifest.through = last)?;
        }
        for (name, bytes) in checkpoints {
            tar.whole(&format!("checkpoints/{name}"), &bytes)?;
        }
        let mut live = Vec::new();
        for subscriber in self.inner.subscribers.all() {
            let state = subscriber.state.lock();
            if let Some(version) = state.live.as_ref().filter(|_| !state.removed) {
                let (component, settings) = (version.version.component, version.version.settings.clone());
                live.push((subscriber.name.to_string(), component, settings));
            }
        }
        if let Some(components) = components {
            for hash in components.list()? {
                match components.read(hash) {
                    Err(damaged @ ComponentError::Damaged { .. })
                        if !live.iter().any(|(_, component, _)| *component == hash) =>
                    {
                        tracing::warn!("a component that is not live is left out of a backup: {damaged}");
                    }
                    component => tar.whole(&format!("components/{hash}.wasm"), &component?)?,
                }
            }
        }
        for (name, component, settings) in live {
            if let Some(settings) = settings {
                tar.whole(&format!("plugins/{name}.toml"), settings.as_bytes())?;
            }
            tar.manifest.plugins.push((name, component.to_string()));
        }
        tar.end()
    }

    /// The checkpoints that can be used, whole.
    fn sound_checkpoints(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let storage = self.inner.checkpoints.storage();
        let mut out = Vec::new();
        for through in checkpoint::list(storage)? {
            let bytes = match checkpoint::read(storage, through) {
                // A newer one has taken its place.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            let is_of = |log: LogId| log == self.log().id();
            if checkpoint::parse(&bytes).is_ok_and(|found| is_of(found.log)) {
                out.push((checkpoint::name(through), bytes));
            }
        }
        Ok(out)
    }
}

/// A tar file that is being written, and what is in it so far.
struct Tar<'a> {
    out: &'a mut dyn Write,
    manifest: Manifest,
}

impl Tar<'_> {
    /// Write a file of so many bytes, which `fill` hands to its sink.
    fn entry<T>(
        &mut self,
        name: &str,
        bytes: u64,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<T, BackupError>,
    ) -> Result<T, BackupError> {
        self.header(name, bytes)?;
        let (mut hasher, mut written) = (blake3::Hasher::new(), 0);
        let out = &mut *self.out;
        let filled = fill(&mut |part| {
            hasher.update(part);
            written += part.len() as u64;
            out.write_all(part)
        })?;
        if written != bytes {
            return Err(io::Error::other(format!("{name} has {written} bytes, and had {bytes}")).into());
        }
        self.pad(bytes)?;
        self.manifest.files.push(Kept {
            name: name.to_owned(),
            bytes,
            hash: Hash(*hasher.finalize().as_bytes()),
        });
        Ok(filled)
    }

    /// Write a file that is in memory.
    fn whole(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.entry(name, bytes.len() as u64, |sink| Ok(sink(bytes)?))
    }

    fn header(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        let beyond = usize::try_from(bytes % BLOCK as u64).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..(BLOCK - beyond) % BLOCK])
    }

    /// Write the manifest and the end.
    fn end(mut self) -> Result<Offset, BackupError> {
        let text = self.manifest.to_text();
        self.header(NAME, text.len() as u64)?;
        self.out.write_all(text.as_bytes())?;
        self.pad(text.len() as u64)?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.manifest.through)
    }
}
