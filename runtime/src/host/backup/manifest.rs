//! The last entry of a backup: what is in it, line by line, each file with its bytes and BLAKE3 hash.
//!
//! ```text
//! nerve backup 1
//! log 5f0c…
//! through 4711
//! file log/00000000000000000001.log 67108912 9f86…
//! plugin shipping 9f86…
//! end 2c26…
//! ```
//!
//! The last line has the hash of the lines before it. A backup that was cut off has no manifest.

use std::fmt::Write;

use nerve_eventlog::Offset;

use crate::log::record::Hash;
use crate::plugin::name::PluginName;

/// Name of the entry.
pub(super) const NAME: &str = "manifest";

/// The format that this version writes and reads.
const FORMAT: &str = "nerve backup 1";

/// What is in a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The log's id.
    pub(super) log: String,
    /// The last record.
    pub(super) through: Offset,
    /// The files before the manifest, in their order.
    pub(super) files: Vec<Kept>,
    /// Plugins that were live, each with its component.
    pub(super) plugins: Vec<(String, String)>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) hash: Hash,
}

impl Manifest {
    pub(super) fn to_text(&self) -> String {
        let mut out = format!("{FORMAT}\nlog {}\nthrough {}\n", self.log, self.through);
        let mut line =
            |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a string takes everything");
        for file in &self.files {
            line(format_args!("file {} {} {}", file.name, file.bytes, file.hash));
        }
        for (name, component) in &self.plugins {
            line(format_args!("plugin {name} {component}"));
        }
        let hash = Hash::of(out.as_bytes());
        out + &format!("end {hash}\n")
    }

    /// The manifest in `text`, or what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        if first != FORMAT {
            return Err(if first.starts_with("nerve backup ") {
                format!(
                    "it has the format {first:?}, and this version of nerve reads {FORMAT:?}: use the version that wrote it"
                )
            } else {
                "it is no backup of nerve".to_owned()
            });
        }
        let damaged = || "the manifest is damaged".to_owned();
        let (lines, end) = text
            .trim_end_matches('\n')
            .rsplit_once("\nend ")
            .ok_or_else(damaged)?;
        if Hash::of(format!("{lines}\n").as_bytes()).to_string() != end {
            return Err(damaged());
        }
        let mut manifest = Self::default();
        for line in lines.lines().skip(1) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["log", id] => id.clone_into(&mut manifest.log),
                ["through", offset] => manifest.through = Offset(offset.parse().map_err(|_| damaged())?),
                ["file", name, bytes, hash] => manifest.files.push(Kept {
                    name: name.to_owned(),
                    bytes: bytes.parse().map_err(|_| damaged())?,
                    hash: hash.parse().map_err(|_| damaged())?,
                }),
                ["plugin", name, component] => {
                    PluginName::parse(name).map_err(|bad| bad.to_string())?;
                    manifest.plugins.push((name.to_owned(), component.to_owned()));
                }
                _ => return Err(damaged()),
            }
        }
        Ok(manifest)
    }
}

/// Whether a backup may hold a file of this name: it has one folder of those that are backed up, and a name as the host
/// itself gives it. Nothing else is ever written to disk.
pub(super) fn is_known(name: &str) -> bool {
    let digits = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((folder, file)) = name.split_once('/') else {
        return false;
    };
    match (folder, file.rsplit_once('.')) {
        ("log", Some((stem, "log"))) | ("checkpoints", Some((stem, "checkpoint"))) => digits(stem),
        ("components", Some((stem, "wasm"))) => {
            stem.parse::<Hash>().is_ok_and(|hash| hash.to_string() == stem)
        }
        ("plugins", Some((stem, "toml"))) => PluginName::parse(stem).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_every_change_is_noticed() {
        let manifest = Manifest {
            log: "5f".into(),
            through: Offset(7),
            files: vec![Kept {
                name: "log/00000000000000000001.log".into(),
                bytes: 3,
                hash: Hash::of(b"abc"),
            }],
            plugins: vec![("shipping".into(), "9f".into())],
        };
        let text = manifest.to_text();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(
                Manifest::parse(&String::from_utf8_lossy(&bytes)).is_err(),
                "byte {at}"
            );
        }
        assert!(Manifest::parse(&text[..text.len() / 2]).is_err());
        let newer = text.replacen("nerve backup 1", "nerve backup 2", 1);
        assert!(
            Manifest::parse(&newer)
                .unwrap_err()
                .contains("use the version that wrote it")
        );
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert!(is_known("log/00000000000000000001.log"));
        assert!(is_known(&format!("components/{}.wasm", "0a".repeat(32))));
        assert!(is_known("plugins/shipping.toml"));
        for name in [
            "../log/00000000000000000001.log",
            "log/../00000000000000000001.log",
            "/log/00000000000000000001.log",
            "log/0000000000000000000/.log",
            "plugins/../x.toml",
            "plugins/.x.toml",
            "plugins/x.wasm",
            "log/repairs",
            "cache/key",
            "",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }
}
