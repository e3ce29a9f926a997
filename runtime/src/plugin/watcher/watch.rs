//! What to make of one look at the folder after the other. Pure: files and times are given.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::plugin::name::PluginName;

/// How long a file must stay as it is to be taken for whole, or for gone.
pub(super) const QUIET: Duration = Duration::from_millis(200);

/// What tells one content of a plugin's files from another without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print([(u64, u64, i64, i64); 2]);

impl Print {
    pub(super) fn of(component: &Metadata, settings: Option<&Metadata>) -> Self {
        let one = |meta: &Metadata| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
        Self([one(component), settings.map_or((0, 0, 0, 0), one)])
    }
}

/// What a look at the folder says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum See {
    /// A plugin's files are new or changed; or, when settled, have stayed so.
    Present { name: PluginName, settled: bool },
    /// A plugin's file is gone.
    Gone(PluginName),
    /// Something is no plugin, for this reason.
    Ignored(PathBuf, String),
}

/// Remembers what was seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    plugins: BTreeMap<PluginName, Known>,
    ignored: BTreeMap<PathBuf, String>,
}

#[derive(Debug)]
struct Known {
    /// `None` while the file is missing.
    print: Option<Print>,
    since: Duration,
    settled: bool,
}

impl Watch {
    /// One look, at `now`: what is there, and what is no plugin.
    pub(super) fn look(
        &mut self,
        mut seen: BTreeMap<PluginName, Print>,
        ignored: BTreeMap<PathBuf, String>,
        now: Duration,
    ) -> Vec<See> {
        let mut out = Vec::new();
        self.plugins.retain(|name, known| {
            let print = seen.remove(name);
            if print != known.print {
                *known = Known {
                    print,
                    since: now,
                    settled: false,
                };
                if print.is_some() {
                    out.push(See::Present {
                        name: name.clone(),
                        settled: false,
                    });
                }
            } else if !known.settled && now >= known.since + QUIET {
                known.settled = true;
                out.push(match print {
                    Some(_) => See::Present {
                        name: name.clone(),
                        settled: true,
                    },
                    None => See::Gone(name.clone()),
                });
                return print.is_some();
            }
            true
        });
        for (name, print) in seen {
            out.push(See::Present {
                name: name.clone(),
                settled: false,
            });
            self.plugins.insert(
                name,
                Known {
                    print: Some(print),
                    since: now,
                    settled: false,
                },
            );
        }
        for (path, reason) in &ignored {
            if self.ignored.get(path) != Some(reason) {
                out.push(See::Ignored(path.clone(), reason.clone()));
            }
        }
        self.ignored = ignored;
        out
    }

    /// How long until something may have settled; `None` where nothing is under way.
    pub(super) fn next_look(&self, now: Duration) -> Option<Duration> {
        let waiting = self.plugins.values().filter(|known| !known.settled);
        waiting
            .map(|known| (known.since + QUIET).saturating_sub(now))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PluginName {
        PluginName::parse(text).unwrap()
    }

    fn there(files: &[(&str, u64)]) -> BTreeMap<PluginName, Print> {
        files
            .iter()
            .map(|(file, content)| (name(file), Print([(1, *content, 0, 0); 2])))
            .collect()
    }

    fn present(text: &str, settled: bool) -> See {
        See::Present {
            name: name(text),
            settled,
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_file_that_is_being_written_settles_only_when_it_stays_as_it_is() {
        let mut watch = Watch::default();
        let mut look = |files: &[(&str, u64)], ms| watch.look(there(files), BTreeMap::new(), at(ms));
        assert_eq!(look(&[("a", 1)], 0), [present("a", false)]);
        assert_eq!(look(&[("a", 2)], 150), [present("a", false)]);
        assert_eq!(look(&[("a", 2)], 300), []);
        assert_eq!(look(&[("a", 2)], 350), [present("a", true)]);
        assert_eq!(look(&[("a", 2)], 900), [], "it is shown once");
    }

    #[test]
    fn a_file_that_is_replaced_is_never_gone() {
        let mut watch = Watch::default();
        let mut look = |files: &[(&str, u64)], ms| watch.look(there(files), BTreeMap::new(), at(ms));
        look(&[("a", 1)], 0);
        look(&[("a", 1)], 200);
        assert_eq!(look(&[], 300), []);
        assert_eq!(
            look(&[("a", 2)], 400),
            [present("a", false)],
            "removed and made again within the quiet time"
        );
        assert_eq!(look(&[], 500), []);
        assert_eq!(look(&[], 700), [See::Gone(name("a"))]);
        assert_eq!(look(&[], 900), []);
    }

    #[test]
    fn what_is_no_plugin_is_named_once() {
        let mut watch = Watch::default();
        let ignored = || BTreeMap::from([(PathBuf::from("x"), "why".to_owned())]);
        assert_eq!(watch.look(there(&[]), ignored(), at(0)).len(), 1);
        assert_eq!(watch.look(there(&[]), ignored(), at(9)).len(), 0);
        assert_eq!(watch.next_look(at(9)), None);
    }
}
