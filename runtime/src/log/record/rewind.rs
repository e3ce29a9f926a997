//! Rewinds: history that runs again through a plugin.

use serde::{Deserialize, Serialize};

/// History is to run again through a plugin. The offset of the operator's record names the rewind: its *generation*.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rewind {
    /// Matching events from here on.
    pub from: u64,
    /// Up to here, which the plugin has settled; `None` until it has caught up with what it settles meanwhile.
    pub through: Option<u64>,
    /// What does not happen.
    pub mute: Mute,
    /// Whether it builds a state of its own from nothing, which takes the state's place when it has caught up.
    pub fresh: bool,
    /// Deliveries a second at most.
    pub rate: Option<u32>,
}

/// What is recorded and does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mute {
    /// Events are not emitted, timers neither set nor cancelled.
    pub emit: bool,
    /// Nobody outside is called.
    pub http: bool,
}

impl Mute {
    /// All that has happened does not happen again.
    pub const HAPPENED: Self = Self {
        emit: true,
        http: true,
    };
}

/// How a rewind ended that no operator stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewound {
    /// The plugin.
    pub plugin: String,
    /// The rewind.
    pub generation: u64,
    /// How.
    pub end: RewindEnd,
}

/// How a rewind ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewindEnd {
    /// All of it was settled.
    Done,
    /// It has caught up: the state that it built is the plugin's state from this record on.
    Swapped,
    /// Retention took events before their turn came.
    Gap {
        /// The first offset that is left.
        first: u64,
        /// Why, for people.
        why: String,
    },
}

/// Of which rewind a delivery was, and what was muted of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Replay<'a> {
    /// The rewind, or the rollback.
    pub generation: u64,
    /// Whether the rewind is under way: the outcome moves its cursor, and not the plugin's. An event that the rewind
    /// gave up on and that an operator delivers again is of the rewind, and no part of it any more. An event that is delivered
    /// again since state and cursor went back is of that rollback, and moves the plugin's cursor.
    pub historic: bool,
    /// Whether the outcome writes into the state that the rewind builds.
    pub fresh: bool,
    /// What would have been emitted and set.
    #[serde(borrow)]
    pub muted: Vec<Muted<'a>>,
}

/// An effect that did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Muted<'a> {
    /// An event.
    Emit {
        /// Its type.
        r#type: &'a str,
        /// Its key.
        key: Option<&'a str>,
    },
    /// A timer that was set.
    Set {
        /// Its name.
        name: &'a str,
        /// When it would have fired, in microseconds.
        due: u64,
    },
    /// A timer that was cancelled.
    Cancel {
        /// Its name.
        name: &'a str,
    },
}
