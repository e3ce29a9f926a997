//! Compiled code by the hash of its component.
//!
//! Compiled code is run as it is, so that the cache is as much to be trusted as the host's own binary: its folder is
//! the host's alone, and every file carries a keyed hash, whose key lies in the same folder, so that a torn, foreign or
//! swapped file is compiled anew and never run. As with that binary the system maps a file once it is checked, and reads of
//! it what is run; a file is never written to under its name.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use wasmtime::Engine;

use crate::give_way::give_way;
use crate::log::record::Hash;

/// Length of the keyed hash at the end of a file.
const SEAL: usize = 32;

/// A folder of compiled code.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

/// Code that was found in the cache.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its file, which begins with it.
    pub(super) path: PathBuf,
    pub(super) code: Vec<u8>,
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
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                return Ok(key);
            }
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|cause| io::Error::other(cause.to_string()))?;
            private().open(path)?.write_all(&key)?;
            Ok(key)
        };
        match open() {
            Ok(key) => Ok(Self { folder, key }),
            Err(cause) => Err(CacheError { folder, cause }),
        }
    }

    /// The code called `name`, where its file is whole, ours, and of that name.
    pub(super) fn read(&self, name: &str) -> Option<Kept> {
        let path = self.folder.join(name);
        let mut file = fs::read(&path).ok()?;
        give_way();
        let code = file.len().checked_sub(SEAL)?;
        let seal = file.split_off(code);
        if self.seal(name, &file) != <[u8; SEAL]>::try_from(seal).ok()? {
            tracing::warn!(
                "{}: damaged, or made by somebody else; it is compiled anew",
                path.display()
            );
            return None;
        }
        Some(Kept { path, code: file })
    }

    /// Keep `code` under `name`. Where that fails, it is compiled again next time.
    pub(super) fn keep(&self, name: &str, code: &[u8]) {
        let path = self.folder.join(name);
        let beside = path.with_extension("new");
        let write = || {
            let mut file = private().open(&beside)?;
            file.write_all(code)?;
            file.write_all(self.seal(name, code).as_bytes())?;
            fs::rename(&beside, &path)
        };
        if let Err(cause) = write() {
            tracing::warn!("{}: compiled code is not kept: {cause}", path.display());
        }
    }

    /// The name is under the seal too, so that one component's code can't take another's place.
    fn seal(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(code);
        hasher.finalize()
    }
}

/// How a file is opened that the host alone may read.
fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    options
}

/// The name of the code for `bytes`: their hash, and that of all that compiling depends on, such as the versions of
/// the host and its compiler, the compiler's settings and the processor.
pub(super) fn name(engine: &Engine, bytes: &[u8]) -> String {
    use std::hash::{Hash as _, Hasher as _};
    let mut compatibility = siphasher::sip::SipHasher13::new();
    env!("CARGO_PKG_VERSION").hash(&mut compatibility);
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    format!("{}-{:016x}", Hash::of(bytes), compatibility.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &tempfile::TempDir) -> Cache {
        Cache::open(folder.path().join("cache")).unwrap()
    }

    fn mode(path: &std::path::Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_whole_files_of_ours_under_their_own_name_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        cache.keep("one", b"code");
        assert_eq!(cache.read("one").unwrap().code, b"code");
        let path = cache.folder.join("one");
        let whole = fs::read(&path).unwrap();
        for byte in 0..whole.len() {
            let mut tampered = whole.clone();
            tampered[byte] ^= 1;
            fs::write(&path, tampered).unwrap();
            assert!(cache.read("one").is_none(), "byte {byte} is another");
            fs::write(&path, &whole[..byte]).unwrap();
            assert!(cache.read("one").is_none(), "cut off at {byte}");
        }
        fs::write(cache.folder.join("two"), &whole).unwrap();
        assert!(cache.read("two").is_none(), "swapped");
        cache.keep("one", b"code");
        assert_eq!(cache.read("one").unwrap().code, b"code", "it is mended");
    }

    #[test]
    fn what_another_key_sealed_is_foreign_and_a_lost_key_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let before = cache(&folder);
        before.keep("one", b"code");
        assert!(
            cache(&folder).read("one").is_some(),
            "the key outlives the process"
        );
        for key in [None, Some(b"short".as_slice())] {
            match key {
                None => fs::remove_file(before.folder.join("key")).unwrap(),
                Some(key) => fs::write(before.folder.join("key"), key).unwrap(),
            }
            let after = cache(&folder);
            assert!(after.read("one").is_none());
            after.keep("one", b"code");
            assert!(after.read("one").is_some());
        }
    }

    #[test]
    fn it_is_the_hosts_alone_and_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let before = cache(&folder);
        before.keep("one", b"code");
        let paths = ["", "key", "one"].map(|name| before.folder.join(name));
        assert_eq!(paths.each_ref().map(|path| mode(path)), [0o700, 0o600, 0o600]);
        for path in &paths[..2] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        cache(&folder);
        assert_eq!([mode(&paths[0]), mode(&paths[1])], [0o700, 0o600]);
    }

    #[test]
    fn other_settings_of_the_compiler_make_another_name() {
        let mut other = wasmtime::Config::new();
        other.epoch_interruption(true);
        let other = Engine::new(&other).unwrap();
        assert_ne!(name(&other, b"x"), name(&Engine::default(), b"x"));
        assert_ne!(name(&other, b"x"), name(&other, b"y"));
    }
}
