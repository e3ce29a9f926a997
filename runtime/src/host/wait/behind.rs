//! Who is behind, and why: what a wait that did not end well is answered with.

use std::collections::BTreeMap;
use std::time::Duration;

use nerve_eventlog::{Micros, Offset};

use super::Waited;
use crate::delivery::cursor::OrderKey;
use crate::host::Host;
use crate::log::record::OpenReason;
use crate::state::PluginState;
use crate::trace::settled::{Open, Progress};

/// How long the answer waits for the disk beyond its time: it shows nothing that a crash could take back.
const LONGEST: Duration = Duration::from_secs(5);

/// A plugin that has not settled.
#[derive(Debug, Clone)]
pub struct Behind {
    /// Its name.
    pub plugin: String,
    /// Why.
    pub why: Why,
    /// How many of the events it has not settled.
    pub events: usize,
    /// The oldest of them.
    pub event: Option<Offset>,
    /// When it is tried again, where it is.
    pub next_try: Option<Micros>,
    /// Why, for people.
    pub detail: String,
}

/// Why a plugin has not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is none of this name.
    NoSuchPlugin,
    /// None of its versions was ever live.
    NeverLive,
    /// Its file is gone.
    Removed,
    /// Nothing that the events can cause reaches it.
    NotSubscribed,
    /// Its breaker is open, or an operator paused it.
    Paused,
    /// A key waits for its next attempt.
    Parked,
    /// Its deliveries stopped.
    Stopped,
    /// It has not got so far yet.
    Lag,
    /// The host can't say.
    Unknown,
}

impl Why {
    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoSuchPlugin => "no-such-plugin",
            Self::NeverLive => "never-live",
            Self::Removed => "removed",
            Self::NotSubscribed => "not-subscribed",
            Self::Paused => "paused",
            Self::Parked => "parked",
            Self::Stopped => "stopped",
            Self::Lag => "lag",
            Self::Unknown => "unknown",
        }
    }
}

/// The answer where nothing is known.
pub(super) fn unknown(plugins: &[Box<str>], detail: &str) -> Waited {
    let behind = |plugin| because(plugin, Why::Unknown, detail.to_owned());
    Waited {
        settled: false,
        failed: Vec::new(),
        behind: plugins.iter().map(|plugin| behind(plugin)).collect(),
    }
}

/// The answer to a wait for `plugins` that is so far.
pub(super) async fn told(host: &Host, plugins: &[Box<str>], progress: Progress) -> Waited {
    let settled = progress.is_settled();
    let mut through = progress.through;
    let mut behind = Vec::new();
    if !settled {
        for plugin in &progress.unreached {
            behind.push(unreached(host, plugin));
        }
        let mut open: BTreeMap<&str, Vec<&Open>> = BTreeMap::new();
        for one in &progress.open {
            open.entry(&one.plugin).or_default().push(one);
        }
        for (plugin, events) in open {
            behind.push(late(host, plugin, &events));
        }
        if progress.is_cut {
            let detail = "the events caused more than is followed: `nerve trace` shows how far they are";
            behind.extend(unknown(plugins, detail).behind);
        } else if !progress.unseen.is_empty() {
            behind.extend(unknown(plugins, "the host has not read so far in this time").behind);
        }
        through = host.log().bounds().last;
    }
    match tokio::time::timeout(LONGEST, host.durable(through)).await {
        Ok(Ok(_)) => Waited {
            settled,
            failed: progress.failed,
            behind,
        },
        Ok(Err(stopped)) => unknown(plugins, &stopped.to_string()),
        Err(_) => unknown(plugins, "the host waits for its disk"),
    }
}

/// Why nothing reaches a plugin.
fn unreached(host: &Host, plugin: &str) -> Behind {
    let Ok(subscriber) = host.subscriber(plugin) else {
        return because(
            plugin,
            Why::NoSuchPlugin,
            "there is no plugin of this name".into(),
        );
    };
    let state = subscriber.state.lock();
    let (why, detail) = if state.live.is_none() {
        (Why::NeverLive, "none of its versions was ever live".to_owned())
    } else if state.removed {
        (Why::Removed, removed())
    } else {
        let patterns = state.subscription.patterns().iter();
        let patterns: Vec<String> = patterns
            .map(|(pattern, from)| format!("{pattern} from offset {from} on"))
            .collect();
        let detail = format!(
            "it subscribes to {}, and nothing that these events cause, by what plugins declare to emit, is among it",
            patterns.join(", ")
        );
        (Why::NotSubscribed, detail)
    };
    because(plugin, why, detail)
}

fn removed() -> String {
    "its file is gone; put it back, and it goes on".to_owned()
}

/// Why a plugin has not settled `events`.
fn late(host: &Host, plugin: &str, events: &[&Open]) -> Behind {
    let mut behind = match host.subscriber(plugin) {
        Err(_) => because(plugin, Why::NoSuchPlugin, "it was given up".into()),
        Ok(subscriber) => {
            let trouble = subscriber.trouble.lock().clone();
            let state = subscriber.state.lock();
            match trouble {
                _ if state.removed => because(plugin, Why::Removed, removed()),
                Some(trouble) => because(plugin, Why::Stopped, trouble),
                None => held_up(&state, plugin, events).unwrap_or_else(|| {
                    let waiting = host.inner.sequencer.count(&state.subscription, state.cursor.low);
                    let waiting = waiting.saturating_sub(state.cursor.above.len());
                    let detail = format!(
                        "it has settled up to offset {}, and {waiting} events wait",
                        state.cursor.low
                    );
                    because(plugin, Why::Lag, detail)
                }),
            }
        }
    };
    behind.events = events.len();
    behind.event = behind.event.or(events.first().map(|open| open.event));
    behind
}

/// What holds a plugin or one of the keys of `events` up.
fn held_up(state: &PluginState, plugin: &str, events: &[&Open]) -> Option<Behind> {
    if let Some(open) = state.breaker.open() {
        let detail = match open.why {
            OpenReason::Operator => open.reason.to_string(),
            OpenReason::Outage => format!("it fails across keys: {}", open.reason),
            OpenReason::Exhausted => format!("the attempts at an event are used up: {}", open.reason),
            OpenReason::Gap => format!("it was too far behind: {}", open.reason),
        };
        return Some(Behind {
            next_try: open.probe,
            ..because(plugin, Why::Paused, detail)
        });
    }
    events.iter().find_map(|event| {
        let key = OrderKey::of(event.key.as_deref(), event.event);
        let head = state.cursor.parked.get(&key)?.head.as_ref()?;
        let whose = key.name().map(|key| format!("key {key:?} waits, for "));
        let detail = format!(
            "{}attempt {} at the event at offset {} failed: {}",
            whose.unwrap_or_default(),
            head.attempt,
            head.event,
            head.reason
        );
        Some(Behind {
            event: Some(event.event),
            next_try: Some(head.due),
            ..because(plugin, Why::Parked, detail)
        })
    })
}

fn because(plugin: &str, why: Why, detail: String) -> Behind {
    Behind {
        plugin: plugin.to_owned(),
        why,
        events: 0,
        event: None,
        next_try: None,
        detail,
    }
}
