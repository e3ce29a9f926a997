//! What a disk was asked to change, for those who count or name the changes.

/// A change that a disk was asked for, whether it was made or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskChange {
    /// The file, by its name before the change; empty for the folder, and for a file that has no name any more.
    pub file: String,
    /// What was asked for.
    pub kind: ChangeKind,
}

/// The calls that change a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A file is made.
    Create,
    /// So many bytes are written at a place.
    Write {
        /// The place.
        at: u64,
        /// How many.
        bytes: usize,
    },
    /// A file is cut.
    Truncate,
    /// Room is taken for a file.
    Allocate,
    /// A file's content is made durable.
    Sync,
    /// A file gets another name.
    Rename,
    /// A file goes.
    Remove,
    /// The names are made durable.
    SyncFolder,
}
