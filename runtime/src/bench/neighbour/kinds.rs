//! The neighbours: what each does its worst with.

/// One kind of neighbour.
pub(super) struct Kind {
    /// What it is called in the figures.
    pub(super) name: &'static str,
    /// The fixture, which is also the plugin's name.
    pub(super) fixture: &'static str,
    /// What makes it work.
    pub(super) work: Work,
}

/// What makes a neighbour work.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Events of this type.
    Events(&'static str),
    /// Other settings, again and again: each makes another version.
    Settings,
    /// Another component, again and again: each is compiled.
    Components,
}

/// All kinds.
pub(super) const KINDS: [Kind; 13] = [
    kind("busy loop", "loop-forever", Work::Events("test.loop")),
    kind("work without end", "counter", Work::Events("test.x")),
    kind("memory bomb", "memory-bomb", Work::Events("test.bomb")),
    kind("trap storm", "trap", Work::Events("test.trap")),
    kind("emit flood", "torrent", Work::Events("torrent.emits")),
    kind(
        "emit flood past its limit",
        "flood",
        Work::Events("test.flood.emit"),
    ),
    kind("log flood", "torrent", Work::Events("torrent.lines")),
    kind("state flood", "torrent", Work::Events("torrent.writes")),
    kind("timer flood", "torrent", Work::Events("torrent.timers")),
    kind("scan flood", "torrent", Work::Events("torrent.scans")),
    kind("retries", "retry", Work::Events("test.retry")),
    kind("reload storm", "counter", Work::Settings),
    kind("compile storm", "counter", Work::Components),
];

const fn kind(name: &'static str, fixture: &'static str, work: Work) -> Kind {
    Kind { name, fixture, work }
}
