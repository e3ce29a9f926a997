//! The stack of guests: one size for all plugins of a host, since the engine below has one.

use std::str::FromStr;

/// How much stack a guest may use, from 64 to 1024 KiB. Default 512 KiB.
///
/// A guest runs on the stack of the thread that calls it. A host runs plugins on threads of its tokio runtime, which has to give
/// them the usual 2 MiB or more: half of that is the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    kib: usize,
}

impl Default for Stack {
    fn default() -> Self {
        Self { kib: 512 }
    }
}

impl Stack {
    /// Its bytes.
    pub fn bytes(self) -> usize {
        self.kib << 10
    }
}

impl FromStr for Stack {
    type Err = String;

    /// From a number of KiB.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(kib @ 64..=1024) => Ok(Self { kib }),
            _ => Err("write 64 to 1024, the KiB of a guest's stack".to_owned()),
        }
    }
}
