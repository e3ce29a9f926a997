//! The components of the versions that are kept, by hash in the data folder, so that a version can run again when its
//! file in the plugin folder is gone, changed or damaged.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};

use crate::log::record::Hash;

/// A folder of components by hash. Clones share its hold.
#[derive(Debug, Clone)]
pub struct Components {
    folder: PathBuf,
    /// Read by whoever relies on what is kept, written by whoever removes.
    held: Arc<RwLock<()>>,
}

/// Why a component could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file does not hold what its name says.
    #[error("{}: the file was damaged; deploy the plugin again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Components {
    /// Keep components in `folder`, which is made where it is missing.
    pub fn open(folder: &Path) -> Result<Self, ComponentError> {
        fs::create_dir_all(folder).map_err(|cause| io_error(folder, cause))?;
        Ok(Self::at(folder))
    }

    /// The components in `folder`, to be read.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            held: Arc::default(),
        }
    }

    /// Nothing is removed while the answer is held.
    pub fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.held.read()
    }

    /// Remove all but what `is_needed`, which is asked when nobody holds on to what is kept, and only then; answers how
    /// many went. Where somebody does, nothing is removed.
    pub fn collect(&self, is_needed: impl FnOnce() -> BTreeSet<Hash>) -> Result<usize, ComponentError> {
        let Some(_alone) = self.held.try_write() else {
            return Ok(0);
        };
        let (needed, mut gone) = (is_needed(), 0);
        for hash in self.list()?.into_iter().filter(|hash| !needed.contains(hash)) {
            let path = self.path(hash);
            fs::remove_file(&path).map_err(|cause| io_error(&path, cause))?;
            gone += 1;
        }
        Ok(gone)
    }

    /// Keep `component`. It is on disk when this returns.
    pub fn keep(&self, hash: Hash, component: &[u8]) -> Result<(), ComponentError> {
        let path = self.path(hash);
        if self.read(hash).is_ok() {
            return Ok(());
        }
        let beside = path.with_extension("new");
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(component)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|cause| io_error(&path, cause))
    }

    /// The component with this hash.
    pub fn read(&self, hash: Hash) -> Result<Vec<u8>, ComponentError> {
        let path = self.path(hash);
        let bytes = fs::read(&path).map_err(|cause| io_error(&path, cause))?;
        if Hash::of(&bytes) != hash {
            return Err(ComponentError::Damaged { path });
        }
        Ok(bytes)
    }

    /// The hashes of what is kept.
    pub fn list(&self) -> Result<Vec<Hash>, ComponentError> {
        let refused = |cause| io_error(&self.folder, cause);
        let mut out = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".wasm"));
            out.extend(stem.and_then(|stem| stem.parse::<Hash>().ok()));
        }
        out.sort_unstable();
        Ok(out)
    }

    fn path(&self, hash: Hash) -> PathBuf {
        self.folder.join(format!("{hash}.wasm"))
    }
}

fn io_error(path: &Path, cause: io::Error) -> ComponentError {
    ComponentError::Io {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let components = Components::open(folder.path()).unwrap();
        let hash = Hash::of(b"component");
        components.keep(hash, b"component").unwrap();
        assert_eq!(components.read(hash).unwrap(), b"component");
        fs::write(folder.path().join("half.new"), b"x").unwrap();
        assert_eq!(components.list().unwrap(), [hash]);
        fs::write(components.path(hash), b"componens").unwrap();
        assert!(matches!(
            components.read(hash),
            Err(ComponentError::Damaged { .. })
        ));
        components.keep(hash, b"component").unwrap();
        assert_eq!(
            components.read(hash).unwrap(),
            b"component",
            "keeping it again mends it"
        );
    }
}
