//! Whether a file is another one than before, without reading it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What changes when a file is written, or another takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u64; 3], [i64; 4]);

impl Stamp {
    /// That of the file at `path`, where there is one.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(file) => Ok(Some(Self::from(&file))),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(file: &std::fs::Metadata) -> Self {
        Self(
            [file.dev(), file.ino(), file.len()],
            [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()],
        )
    }
}
