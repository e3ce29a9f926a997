//! Compiled code by the hash of its component.
//!
//! Compiled code is run as it is, so that the cache is as much to be trusted as the host's own binary: its folder is
//! the host's alone, and every file carries a keyed hash, whose key lies in the same folder, so that a torn or
//! foreign file is compiled anew and never run.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::log::record::Hash;

/// Length of the keyed hash at the end of a file.
const SEAL: usize = 32;

/// A folder of compiled code.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", folder.display())]
pub struct CacheError {
    folder: PathBuf,
    #[source]
    cause: io::Error,
}

impl Cache {
    /// The cache in `folder`, which is made, for the host alone, where it is missing.
    pub fn open(folder: PathBuf) -> Result<Self, CacheError> {
        let open = || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            let path = folder.join("key");
            if let Ok(key) = fs::read(&path)
                && let Ok(key) = <[u8; 32]>::try_from(key)
            {
                return Ok(key);
            }
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|cause| io::Error::other(cause.to_string()))?;
            fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(path)?
                .write_all(&key)?;
            Ok(key)
        };
        match open() {
            Ok(key) => Ok(Self { folder, key }),
            Err(cause) => Err(CacheError { folder, cause }),
        }
    }

    /// The compiled form of `component`: from its file, or compiled now and kept.
    pub fn compile(&self, engine: &Engine, component: &[u8]) -> wasmtime::Result<Component> {
        let path = self.folder.join(Self::name(engine, component));
        if let Some(component) = self.read(engine, &path) {
            return Ok(component);
        }
        let compiled = Component::new(engine, component)?;
        let mut code = compiled.serialize()?;
        code.extend_from_slice(blake3::keyed_hash(&self.key, &code).as_bytes());
        let beside = path.with_extension("new");
        let kept = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside);
        let kept = kept
            .and_then(|mut file| file.write_all(&code))
            .and_then(|()| fs::rename(&beside, &path));
        if let Err(cause) = kept {
            tracing::warn!("{}: compiled code is not kept: {cause}", path.display());
        }
        Ok(compiled)
    }

    /// The code in the file at `path`, where it is whole and ours.
    fn read(&self, engine: &Engine, path: &std::path::Path) -> Option<Component> {
        let file = fs::read(path).ok()?;
        let (code, seal) = file.split_at_checked(file.len().checked_sub(SEAL)?)?;
        if blake3::keyed_hash(&self.key, code) != <[u8; SEAL]>::try_from(seal).ok()? {
            tracing::warn!(
                "{}: damaged, or made by somebody else; it is compiled anew",
                path.display()
            );
            return None;
        }
        #[expect(
            unsafe_code,
            reason = "the bytes are what this host compiled: the keyed hash was checked just above"
        )]
        let component = unsafe { Component::deserialize(engine, code) };
        component.ok()
    }

    fn name(engine: &Engine, component: &[u8]) -> String {
        use std::hash::{Hash as _, Hasher as _};
        let mut compatibility = siphasher::sip::SipHasher13::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        format!("{}-{:016x}", Hash::of(component), compatibility.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tampered_file_is_compiled_anew_and_never_run() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let engine = Engine::default();
        let component = wat::parse_str("(component)").unwrap();
        cache.compile(&engine, &component).unwrap();
        let path = cache.folder.join(Cache::name(&engine, &component));
        assert!(cache.read(&engine, &path).is_some());
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(cache.read(&engine, &path).is_none());
        fs::write(&path, b"short").unwrap();
        assert!(cache.read(&engine, &path).is_none());
        cache.compile(&engine, &component).unwrap();
        assert!(cache.read(&engine, &path).is_some(), "it is mended");
        assert_eq!(
            fs::metadata(&cache.folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
