//! How what the system allows this process is shared out: open files, and pieces of memory that are mapped. Each connection takes a file, and each
//! component that is loaded: that of its code where it is mapped, or one in memory that its data begins as where it is copied. A component is
//! mapped in three pieces, and its instance in a few more. The log must never find that there are none left.

use rustix::process::{Resource, getrlimit};

/// Connections at most, however many files there are.
const MOST_CONNECTIONS: usize = 512;

/// Files for everything else: the log, its folders, what plugins call, and the system's own.
const REST: usize = 128;

/// Pieces of memory for each component: three for its code, and what is left over for instances of those that are busy.
const PIECES: usize = 4;

/// One of so many places for components is for those that take the place of another.
const KEPT: usize = 8;

/// How many of everything there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allotment {
    /// Files that the system lets this process open.
    pub(crate) files: usize,
    /// Pieces of memory that it lets it map.
    pub(crate) pieces: usize,
    /// Connections; who comes later waits.
    pub(crate) connections: usize,
    /// Components that are loaded; what comes later is refused.
    pub(crate) components: usize,
    /// So many of them only in place of another, which goes once it has come.
    pub(crate) kept: usize,
}

impl Allotment {
    /// Of this process, as its limits are now.
    pub(crate) fn now() -> Self {
        // Far more than there can be, and little enough to count with.
        let without_limit = usize::MAX >> 4;
        let files = getrlimit(Resource::Nofile).current;
        let files = files.and_then(|files| usize::try_from(files).ok());
        let pieces = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let pieces = pieces.and_then(|count| count.trim().parse().ok());
        let [files, pieces] =
            [files, pieces].map(|limit: Option<usize>| limit.unwrap_or(without_limit).min(without_limit));
        Self::of(files, pieces)
    }

    fn of(files: usize, pieces: usize) -> Self {
        let connections = MOST_CONNECTIONS.min(files / 2).max(1);
        let rest = REST.min(files / 4);
        let components = files.saturating_sub(connections + rest).min(pieces / PIECES);
        Self {
            files,
            pieces,
            connections,
            components,
            kept: components / KEPT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_out_leaves_some_for_the_log() {
        for (files, pieces, connections, components, kept) in [
            (64, 65_530, 32, 16, 2),
            (1024, 65_530, 512, 384, 48),
            (20_000, 65_530, 512, 16_382, 2047),
            (20_000, 1_000_000, 512, 19_360, 2420),
        ] {
            let shared = Allotment::of(files, pieces);
            assert_eq!(
                (shared.connections, shared.components, shared.kept),
                (connections, components, kept)
            );
            assert!(files - connections - components >= 16);
        }
    }
}
