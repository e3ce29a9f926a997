//! The guest that is measured, under as many names as are needed, and its events.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::BenchError;
use crate::host::{Host, Standing, VersionStatus};
use crate::ingest::{Acceptor, Limits, NewEvent, ValidEvent};
use crate::log::record::Hash;

/// The type that they subscribe to.
pub(super) const TYPE: &str = "bench.in";

/// How long a plugin is not looked at, at most, until it is what is waited for.
const LOOK: Duration = Duration::from_millis(1);

/// A component that is measured.
#[derive(Clone)]
pub(super) struct Guest {
    /// The name that it was built with, which ends in four digits; others of the same length take its place.
    pub(super) name: String,
    component: Vec<u8>,
}

impl Guest {
    /// The component of this name in `folder`.
    pub(super) fn read(folder: &Path, name: &str) -> Result<Self, BenchError> {
        let path = folder.join(name).with_extension("wasm");
        let bytes = Self::component_of(folder, name)?;
        for text in [name, TYPE] {
            if !bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                let path = path.display();
                return Err(BenchError::Guest(format!(
                    "{path} is not the benchmark's plugin: it does not speak of {text:?}; build it with `make plugins`"
                )));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            component: bytes,
        })
    }

    /// The bytes of any component in `folder`.
    pub(super) fn component_of(folder: &Path, name: &str) -> Result<Vec<u8>, BenchError> {
        let path = folder.join(name).with_extension("wasm");
        std::fs::read(&path).map_err(|cause| BenchError::Io {
            path: format!(
                "{} can't be read; `make plugins` builds it, and --fixtures names another folder",
                path.display()
            ),
            cause,
        })
    }

    /// The component.
    pub(super) fn component(&self) -> &[u8] {
        &self.component
    }

    /// Bytes of the component.
    pub(super) fn bytes(&self) -> usize {
        self.component.len()
    }

    /// The component under another name; where it is idle, it subscribes to a type that nobody publishes.
    fn named(&self, number: usize, idle: bool) -> (String, Vec<u8>) {
        let name = format!("{}{number:04}", self.name.trim_end_matches("0000"));
        let mut bytes = replaced(&self.component, &self.name, &name);
        if idle {
            bytes = replaced(&bytes, TYPE, "bench.no");
        }
        (name, bytes)
    }

    /// Put so many of the component into the host's folder, which subscribe to the benchmark's events; answers their names
    /// once all are live.
    pub(super) async fn install(
        &self,
        host: &Host,
        plugins: &Path,
        count: usize,
    ) -> Result<Vec<String>, BenchError> {
        self.put(host, plugins, count, false, "").await
    }

    /// The same, each with these `settings`.
    pub(super) async fn install_with(
        &self,
        host: &Host,
        plugins: &Path,
        count: usize,
        settings: &str,
    ) -> Result<Vec<String>, BenchError> {
        self.put(host, plugins, count, false, settings).await
    }

    /// The same, but nothing that they subscribe to comes.
    pub(super) async fn install_idle(
        &self,
        host: &Host,
        plugins: &Path,
        count: usize,
    ) -> Result<(), BenchError> {
        self.put(host, plugins, count, true, "").await.map(drop)
    }

    async fn put(
        &self,
        host: &Host,
        plugins: &Path,
        count: usize,
        idle: bool,
        settings: &str,
    ) -> Result<Vec<String>, BenchError> {
        let mut names = Vec::new();
        for number in 0..count {
            let (name, bytes) = self.named(number, idle);
            if !settings.is_empty() {
                drop_file(plugins, &format!("{name}.toml"), settings.as_bytes())?;
            }
            drop_file(plugins, &format!("{name}.wasm"), &bytes)?;
            names.push(name);
        }
        for name in &names {
            live(host, name).await?;
        }
        Ok(names)
    }
}

/// Put a file into the folder, whole at once.
pub(super) fn drop_file(plugins: &Path, name: &str, bytes: &[u8]) -> Result<(), BenchError> {
    let beside = plugins.join(format!(".{name}"));
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, plugins.join(name)))
        .map_err(|cause| BenchError::Io {
            path: plugins.display().to_string(),
            cause,
        })
}

/// Wait until the plugin is live.
pub(super) async fn live(host: &Host, name: &str) -> Result<(), BenchError> {
    until(host, name, |_| true).await
}

/// Wait until the version of the plugin is live that this `component` makes.
pub(super) async fn runs(host: &Host, name: &str, component: Hash) -> Result<(), BenchError> {
    until(host, name, |version| version.component == component).await
}

async fn until(host: &Host, name: &str, is_it: impl Fn(&VersionStatus) -> bool) -> Result<(), BenchError> {
    let begun = std::time::Instant::now();
    loop {
        match host.plugin(name).await {
            Ok(status)
                if status.standing == Standing::Live && status.version.as_ref().is_some_and(&is_it) =>
            {
                return Ok(());
            }
            Ok(status) => {
                if let Some((_, reason)) = status.refused {
                    return Err(BenchError::Guest(format!("{name} was refused: {reason}")));
                }
            }
            Err(_) if begun.elapsed().as_secs() < 60 => {}
            Err(cause) => return Err(BenchError::Guest(cause.to_string())),
        }
        // Whoever looked without a rest would take a core from the compiler.
        let next = host.log().bounds().durable.next();
        drop(tokio::time::timeout(LOOK, host.durable(next)).await);
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    debug_assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = out[at..]
        .windows(from.len())
        .position(|window| window == from.as_bytes())
    {
        out[at + found..at + found + to.len()].copy_from_slice(to.as_bytes());
        at += found + to.len();
    }
    out
}

/// Makes the records 256 bytes long.
const NOTE: &str = "leave it at the neighbour's, please; the bell does not ring: knock twice, and mind the dog, for it barks";

#[derive(Serialize)]
struct In<'a> {
    id: u64,
    user: &'a str,
    amount: u64,
    note: &'a str,
}

/// The data of event number `n`.
pub(super) fn data(n: usize) -> Vec<u8> {
    let user = format!("user-{:05}", n % 1000);
    let event = In {
        id: n as u64,
        user: &user,
        amount: n as u64 % 977,
        note: NOTE,
    };
    rmp_serde::to_vec_named(&event).expect("plain fields can be encoded")
}

/// Event number `n` in structured mode.
pub(super) fn structured(run: &str, n: u64) -> String {
    let user = format!("user-{:05}", n % 1000);
    let data = In {
        id: n,
        user: &user,
        amount: n % 977,
        note: NOTE,
    };
    serde_json::json!({
        "specversion": "1.0", "id": format!("{run}-{n}"), "source": "bench", "type": TYPE, "partitionkey": user,
        "data": data,
    })
    .to_string()
}

/// Valid events with numbers from `from` on.
pub(super) fn events(acceptor: &Acceptor, run: &str, from: usize, count: usize) -> Vec<ValidEvent> {
    let event = |n: usize| {
        let (id, key, data) = (format!("{run}-{n}"), format!("user-{:05}", n % 1000), data(n));
        let event = NewEvent {
            id: &id,
            source: "bench",
            r#type: TYPE,
            key: Some(&key),
            content_type: "application/json",
            data: &data,
            ..NewEvent::default()
        };
        acceptor.event(&event).expect("the benchmark's events are valid")
    };
    (from..from + count).map(event).collect()
}

/// Bytes of an event's record.
pub(super) fn record_bytes() -> usize {
    events(&Acceptor::new(Limits::default()), "run", 0, 1)[0]
        .record
        .len()
}
