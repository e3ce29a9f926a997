//! Waiting until plugins have settled what was published, and all that it caused.
//!
//! However many wait, one follower reads the durable records behind the oldest event that somebody waits for, and shows
//! them to a [`Forest`]. It runs only while somebody waits: publishing itself knows nothing of it. Who waits for an
//! event that lies far behind the others is caught up in a forest of its own, a chunk of records in turns with the
//! others, until both stand at the same record.

mod behind;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nerve_eventlog::{Entry, Offset, Reach, ReadError};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

pub use self::behind::{Behind, Why};
use super::Host;
use crate::log::record::{Kind, kind};
use crate::trace::routes::{Route, Routes};
use crate::trace::settled::{Failed, Forest, Progress, Ticket};

/// Bytes of the log that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Who waits for an event that lies no more records behind a forest's place joins it.
const NEAR: u64 = 4096;

/// Those who wait.
#[derive(Default)]
pub(super) struct Waits {
    shared: Mutex<Shared>,
    /// Rung when somebody comes.
    bell: Notify,
}

#[derive(Default)]
struct Shared {
    last: Ticket,
    is_followed: bool,
    coming: Vec<Coming>,
    groups: Vec<Group>,
    answers: HashMap<Ticket, oneshot::Sender<Ended>>,
    /// Records that were read, for who wants to know what waiting costs.
    read: u64,
}

/// Somebody who has just come.
struct Coming {
    ticket: Ticket,
    roots: Vec<Offset>,
    plugins: Vec<Box<str>>,
}

/// Those whose trees have seen the records up to one place.
struct Group {
    at: Offset,
    forest: Forest,
}

/// How the following of a wait ended: with what it came to, or without an end, since the log can't be read.
type Ended = Result<Progress, String>;

/// What to do next.
enum Next {
    GoOn,
    /// Wait until there is more than this.
    Behind(Offset),
    Nobody,
}

/// Somebody waits. Who drops it waits no longer, and leaves nothing behind.
pub struct Settling {
    host: Host,
    ticket: Ticket,
    plugins: Vec<Box<str>>,
    ended: oneshot::Receiver<Ended>,
}

/// What waiting came to.
#[derive(Debug, Clone)]
pub struct Waited {
    /// Whether all plugins that were named have settled the events and what they caused.
    pub settled: bool,
    /// Events that a plugin gave up on, or will never see.
    pub failed: Vec<Failed>,
    /// Who has not settled yet, and why.
    pub behind: Vec<Behind>,
}

impl Host {
    /// Begin to wait until `plugins` have settled the events at `events` and all that they cause; timers that have not
    /// fired are no part of it. Ask it before the events are durable, so that little has to be read twice.
    pub fn watch_settling(&self, events: Vec<Offset>, plugins: Vec<Box<str>>) -> Settling {
        let (answer, ended) = oneshot::channel();
        let waits = &self.inner.waits;
        let (ticket, follow) = {
            let mut shared = waits.shared.lock();
            shared.last += 1;
            let ticket = shared.last;
            shared.answers.insert(ticket, answer);
            shared.coming.push(Coming {
                ticket,
                roots: events,
                plugins: plugins.clone(),
            });
            (ticket, !std::mem::replace(&mut shared.is_followed, true))
        };
        if follow {
            self.inner.tasks.spawn(follow_log(self.clone()));
        } else {
            waits.bell.notify_one();
        }
        Settling {
            host: self.clone(),
            ticket,
            plugins,
            ended,
        }
    }

    /// How many wait, and how many records were read for them since the host started.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (usize, u64) {
        let shared = self.inner.waits.shared.lock();
        (shared.answers.len(), shared.read)
    }

    /// The plugins that run, as they are now.
    fn routes(&self) -> Routes {
        let all = self.inner.subscribers.all();
        let route = |subscriber: &Arc<crate::delivery::subscriber::Subscriber>| {
            let state = subscriber.state.lock();
            let live = state.live.as_ref().filter(|_| !state.removed)?;
            let route = Route {
                subscription: state.subscription.clone(),
                emits: live.version.emits.clone(),
            };
            Some((subscriber.name.clone(), route))
        };
        let plugins: Vec<_> = all.iter().filter_map(route).collect();
        Routes::new(plugins, self.log().bounds().last)
    }
}

impl Settling {
    /// Wait for `longest` at most, and say what it came to.
    ///
    /// # Cancel safety
    /// May be cancelled at any time: nobody waits then.
    pub async fn within(mut self, longest: Duration) -> Waited {
        let ended = tokio::select! {
            ended = tokio::time::timeout(longest, &mut self.ended) => ended.ok().and_then(Result::ok),
            () = self.host.stopping() => None,
        };
        let ended = ended
            .or_else(|| self.host.inner.waits.leave(self.ticket).map(Ok))
            .or_else(|| self.ended.try_recv().ok());
        let progress = match ended {
            Some(Ok(progress)) => progress,
            Some(Err(unreadable)) => return behind::unknown(&self.plugins, &unreadable),
            None => {
                let why = self.host.not_ready();
                let why = why.as_deref().unwrap_or("the host can't go on reading its log");
                return behind::unknown(&self.plugins, why);
            }
        };
        behind::told(&self.host, &self.plugins, progress).await
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.host.inner.waits.leave(self.ticket);
    }
}

impl Waits {
    /// Somebody goes away: how far it is, where it has not ended.
    fn leave(&self, ticket: Ticket) -> Option<Progress> {
        let mut shared = self.shared.lock();
        shared.answers.remove(&ticket)?;
        if let Some(place) = shared.coming.iter().position(|coming| coming.ticket == ticket) {
            let unseen = shared.coming.remove(place).roots;
            return Some(Progress {
                unseen,
                ..Progress::default()
            });
        }
        let mut groups = shared.groups.iter_mut();
        groups.find_map(|group| group.forest.fell(ticket))
    }

    /// Read on for everybody, a chunk for each place where somebody stands.
    fn step(&self, host: &Host, routes: &mut Option<Arc<Routes>>) -> Next {
        let has_come = {
            let mut shared = self.shared.lock();
            if shared.answers.is_empty() {
                *shared = Shared {
                    last: shared.last,
                    read: shared.read,
                    ..Shared::default()
                };
                return Next::Nobody;
            }
            !shared.coming.is_empty()
        };
        if has_come {
            // A plugin's part of the fold may be held for long: nobody waits for this one meanwhile.
            let routes = routes.get_or_insert_with(|| Arc::new(host.routes()));
            self.shared.lock().admit(routes);
        }
        let places: Vec<Offset> = self.shared.lock().groups.iter().map(|group| group.at).collect();
        let mut next = None;
        for (index, at) in places.iter().enumerate() {
            let read = host.log().read(at.next(), CHUNK_BYTES, Reach::Durable);
            if let Ok(entries) = &read
                && entries.iter().any(is_deployment)
            {
                *routes = Some(Arc::new(host.routes()));
            }
            let is_front = index + 1 == places.len();
            if is_front && matches!(&read, Ok(entries) if entries.is_empty()) {
                next = Some(*at);
            }
            self.shared.lock().feed(*at, read, routes.as_ref());
        }
        let mut shared = self.shared.lock();
        shared.groups.retain(|group| !group.forest.is_empty());
        if shared.groups.len() > 1 || !shared.coming.is_empty() {
            return Next::GoOn;
        }
        match (next, shared.groups.first()) {
            (Some(at), Some(group)) if group.at == at => Next::Behind(at),
            _ => Next::GoOn,
        }
    }
}

impl Shared {
    /// Let those who have come stand where their events are next.
    fn admit(&mut self, routes: &Arc<Routes>) {
        self.coming
            .sort_by_key(|coming| coming.roots.iter().min().copied());
        for Coming {
            ticket,
            roots,
            plugins,
        } in std::mem::take(&mut self.coming)
        {
            let first = roots.iter().min().copied().unwrap_or_default();
            let near = |group: &Group| group.at < first && first.0 - group.at.0 <= NEAR;
            let place = self.groups.iter().rposition(near).unwrap_or_else(|| {
                let place = self.groups.partition_point(|group| group.at < first);
                let group = Group {
                    at: first.prev(),
                    forest: Forest::new(routes.clone()),
                };
                self.groups.insert(place, group);
                place
            });
            self.groups[place].forest.plant(ticket, &roots, &plugins);
        }
    }

    /// What was read behind `at`, for those who stand there.
    fn feed(&mut self, at: Offset, read: Result<Vec<Entry>, ReadError>, routes: Option<&Arc<Routes>>) {
        let Some(index) = self.groups.iter().position(|group| group.at == at) else {
            return;
        };
        let next = self.groups.get(index + 1).map(|group| group.at);
        let group = &mut self.groups[index];
        let unreadable = match read {
            Ok(entries) => {
                if let Some(routes) = routes {
                    group.forest.reroute(routes);
                }
                let mine = entries
                    .iter()
                    .take_while(|entry| next.is_none_or(|next| entry.offset <= next));
                let mut unreadable = None;
                for entry in mine {
                    self.read += 1;
                    group.at = entry.offset;
                    if let Err(cause) = group.forest.see(entry) {
                        unreadable = Some(format!("the record at offset {}: {cause}", entry.offset));
                        break;
                    }
                }
                unreadable
            }
            Err(cause) => Some(cause.to_string()),
        };
        for (ticket, progress) in group.forest.ended() {
            if let Some(answer) = self.answers.remove(&ticket) {
                // Who has gone away is told nothing.
                answer.send(Ok(progress)).ok();
            }
        }
        if let Some(why) = unreadable {
            for (ticket, _) in group.forest.clear() {
                if let Some(answer) = self.answers.remove(&ticket) {
                    answer.send(Err(why.clone())).ok();
                }
            }
        }
        if next == Some(group.at) {
            let behind = self.groups.remove(index);
            self.groups[index].forest.join(behind.forest);
        }
    }
}

fn is_deployment(entry: &Entry) -> bool {
    kind(&entry.payload) == Some(Kind::Deployment as u8)
}

/// Follow the log until nobody waits.
async fn follow_log(host: Host) {
    let mut routes = None;
    loop {
        let reader = host.clone();
        let stepped = tokio::task::spawn_blocking(move || {
            let next = reader.inner.waits.step(&reader, &mut routes);
            (next, routes)
        });
        let next;
        (next, routes) = match stepped.await {
            Ok(stepped) => stepped,
            Err(panicked) => {
                tracing::error!("those who wait for plugins are told nothing: {panicked}");
                break;
            }
        };
        match next {
            Next::Nobody => return,
            Next::GoOn if host.inner.stop.is_cancelled() => break,
            Next::GoOn => {}
            Next::Behind(at) => tokio::select! {
                grown = host.durable(at.next()) => if grown.is_err() { break },
                () = host.inner.waits.bell.notified() => {}
                () = host.stopping() => break,
            },
        }
    }
    // Whoever waits is told that there is no answer.
    let mut shared = host.inner.waits.shared.lock();
    *shared = Shared {
        last: shared.last,
        read: shared.read,
        ..Shared::default()
    };
}
