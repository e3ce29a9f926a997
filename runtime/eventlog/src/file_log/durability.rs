//! Durability, by name.

use std::fmt;
use std::str::FromStr;

/// What an acknowledged append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: one fdatasync for all that wait.
    #[default]
    Fsync,
    /// The end of the process, also by SIGKILL, but not of the system.
    Os,
    /// Nothing: no files are written. For tests and trials.
    Memory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Memory => "memory",
        })
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fsync" => Ok(Self::Fsync),
            "os" => Ok(Self::Os),
            "memory" => Ok(Self::Memory),
            other => Err(format!(
                "durability {other:?} is not known: write fsync, os or memory"
            )),
        }
    }
}
