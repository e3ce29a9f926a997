//! Retention: the oldest segments go by age and by size, and the state of plugins that were removed long ago.
//!
//! What goes has to be needed by nobody: not by a start, which reads the log from the older one of two checkpoints on,
//! and not by a plugin. A plugin that stays behind is waited for, up to its largest lag; beyond it a gap record says
//! what it will never see, and it is paused. A plugin that was removed is not waited for.

mod need;
mod versions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nerve_eventlog::{Batch, DropError, FileLog, Micros, Offset, ReadError, SegmentInfo};
use tokio::sync::Notify;

use self::need::Need;
use super::{CheckpointError, Host, Stopped};
use crate::delivery::history::end_rewind;
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{AskedBy, Deployment, DeploymentAction, Gap, Record, RewindEnd};
use crate::log::sequencer::stopped;
use crate::plugin::components::ComponentError;
use crate::plugin::settings::{Lag, Settings};
use crate::state::{PluginState, checkpoint};

/// How long between two looks at what is old, while no segment is begun.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Checkpoints that a start may need.
const CHECKPOINTS: usize = 2;

/// What retention leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of the log. By default everything is kept.
    pub log: Keep,
    /// How long the cursor and the state of a removed plugin are kept. Default 30 days.
    pub removed: Duration,
    /// How long a version is kept that is not live any more. Default 30 days.
    pub versions: Duration,
}

/// How much of a log is kept: what is beyond either goes, in whole segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// The age of the oldest record; `None` keeps any.
    pub time: Option<Duration>,
    /// Bytes; `None` keeps any number.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            log: Keep::default(),
            removed: Duration::from_hours(30 * 24),
            versions: Duration::from_hours(30 * 24),
        }
    }
}

impl From<Lag> for Keep {
    fn from(lag: Lag) -> Self {
        Self {
            time: Some(Duration::from_secs(lag.hours.saturating_mul(3600))),
            bytes: Some(lag.mib.saturating_mul(1 << 20)),
        }
    }
}

impl Keep {
    /// The first offset that is kept of `segments`, the oldest first, at `now`.
    fn first(&self, segments: &[SegmentInfo], now: Micros) -> Offset {
        let mut behind: u64 = segments.iter().map(|segment| segment.bytes).sum();
        for pair in segments.windows(2) {
            behind -= pair[0].bytes;
            // Nothing in a segment is younger than the one behind it.
            let is_old = self.time.is_some_and(|time| since(pair[1].made, now) > time);
            let is_much = self.bytes.is_some_and(|bytes| behind >= bytes);
            if !is_old && !is_much {
                return pair[0].first;
            }
        }
        segments.last().map_or(Offset(1), |last| last.first)
    }
}

/// Why nothing more was dropped.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// The host is stopping, or its log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A start needs two checkpoints, and they can't be made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log can't be read: what would be dropped may be needed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A segment could not be removed.
    #[error(transparent)]
    Drop(#[from] DropError),
    /// A component could not be removed.
    #[error(transparent)]
    Component(#[from] ComponentError),
}

impl Host {
    /// Drop what is beyond retention and needed by nobody; answers the first offset that is left. Blocks: it reads
    /// what plugins may need, and waits for deliveries of those that get a gap.
    pub fn retain(&self) -> Result<Offset, RetainError> {
        let _still = self.inner.retaining.lock();
        let now = self.inner.clock.now();
        self.forget_removed(now)?;
        self.collect_versions(now)?;
        let segments = self.inner.store.segments();
        let first = self.log().bounds().first;
        let mut target = self.inner.retention.log.first(&segments, now);
        for subscriber in self.inner.subscribers.all() {
            if target <= first {
                return Ok(first);
            }
            let need = Need::of(&subscriber);
            if let Some(lag) = need.lag()
                && let Some(needed) = need.first(&**self.log(), &subscriber, target)?
            {
                target = target.min(Keep::from(lag).first(&segments, now).max(needed));
            }
        }
        if target <= first {
            return Ok(first);
        }
        let target = begin_of(&segments, target.min(self.reach_of_checkpoints(target)?));
        if target <= first {
            return Ok(first);
        }
        for subscriber in self.inner.subscribers.all() {
            self.pass(&subscriber, target)?;
        }
        let durable = self.log().wait_durable(self.log().bounds().last);
        durable.map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))?;
        let left = self.log().drop_before(target)?;
        tracing::info!("retention dropped what lay before offset {left}");
        Ok(left)
    }

    /// Up to where the log can go without a start that needs it: checkpoints are made where they hold it back.
    fn reach_of_checkpoints(&self, target: Offset) -> Result<Offset, RetainError> {
        let reach = || {
            let storage = self.inner.checkpoints.storage();
            let verified = checkpoint::verified(storage).map_err(|cause| CheckpointError::Io {
                folder: storage.place(),
                cause,
            })?;
            let oldest = verified.get(CHECKPOINTS - 1);
            Ok::<_, RetainError>(oldest.map_or(Offset(0), |through| through.next()))
        };
        for _ in 0..CHECKPOINTS {
            let reach = reach()?;
            if reach >= target {
                return Ok(reach);
            }
            self.checkpoint()?;
        }
        reach()
    }

    /// The plugin needs nothing before `target` from here on: what it had not settled becomes a gap.
    fn pass(&self, subscriber: &Subscriber, target: Offset) -> Result<(), RetainError> {
        let need = Need::of(subscriber);
        if need.first(&**self.log(), subscriber, target)?.is_some() {
            let between = subscriber.between_events();
            // It may have moved on while the delivery under way was waited for.
            let need = Need::of(subscriber);
            let lost = need.count(&**self.log(), target)?;
            if let Some((from, events)) = lost {
                self.record_gap(subscriber, &need, from, target, events)?;
            }
            let rewinds = need.rewinds_below(target);
            if rewinds {
                let why = "the rewind was further behind than the plugin's largest lag".to_owned();
                let gap = RewindEnd::Gap { first: target.0, why };
                end_rewind(subscriber, &self.inner.sequencer, gap)?;
            }
            if rewinds || lost.is_some() {
                between.look_anew();
            }
        }
        subscriber
            .needs_nothing_below
            .fetch_max(target.0, Ordering::Relaxed);
        Ok(())
    }

    /// Between two events: record that `subscriber` will never see `events` events from `from` on and below `target`.
    fn record_gap(
        &self,
        subscriber: &Subscriber,
        need: &Need,
        from: Offset,
        target: Offset,
        events: u64,
    ) -> Result<(), Stopped> {
        let why = match need.lag() {
            Some(lag) => format!(
                "the plugin was further behind than its largest lag of {} hours or {} MiB; `nerve plugin resume` goes \
                 on behind them",
                lag.hours, lag.mib
            ),
            None => {
                "the plugin was removed, and retention does not wait for it; once it is back, `nerve plugin \
                     resume` goes on behind them"
                    .to_owned()
            }
        };
        let gap = Gap {
            plugin: subscriber.name.to_string(),
            from: from.0,
            through: target.prev().0,
            events,
            why,
        };
        tracing::warn!(
            plugin = %subscriber.name,
            "{events} events from offset {from} on are lost to it: {}",
            gap.why
        );
        let mut state = subscriber.state.lock();
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Gap(gap.clone()).encode(out));
        let appended = self.inner.sequencer.append(batch, None, std::iter::empty());
        let appended = appended.map_err(|refused| stopped(&refused))?;
        state.apply_gap(appended.time, &gap);
        Ok(())
    }

    /// Give up the cursors and the state of plugins that were removed long ago.
    fn forget_removed(&self, now: Micros) -> Result<(), RetainError> {
        let is_due = |state: &PluginState| {
            let at = state
                .removed_at
                .filter(|_| state.removed && state.waiting.is_none());
            at.is_some_and(|at| since(at, now) > self.inner.retention.removed)
        };
        for subscriber in self.inner.subscribers.all() {
            if !is_due(&subscriber.state.lock()) {
                continue;
            }
            let between = subscriber.between_events();
            let state = subscriber.state.lock();
            // It may have come back.
            if !is_due(&state) {
                continue;
            }
            let forgotten = Deployment {
                who: None,
                plugin: subscriber.name.to_string(),
                pair: None,
                action: DeploymentAction::Forgotten,
                by: AskedBy::Retention,
                warnings: Vec::new(),
            };
            let mut batch = Batch::new();
            batch.push_with(|out| Record::Deployment(forgotten.clone()).encode(out));
            let appended = self.inner.sequencer.append(batch, None, std::iter::empty());
            appended.map_err(|refused| stopped(&refused))?;
            self.inner.subscribers.forget(&subscriber);
            drop((state, between));
            tracing::info!(plugin = %subscriber.name, "it was removed long ago: its cursor and state are given up");
        }
        Ok(())
    }
}

/// Look at what is old now and then, until the host stops.
pub(super) async fn keep(host: Host) {
    let inner = &host.inner;
    let begun = segments_begin(&inner.store);
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = host.poisoned() => return,
            _ = tokio::time::timeout(LOOK_EVERY, begun.notified()) => {}
        }
        let retaining = host.clone();
        match tokio::task::spawn_blocking(move || retaining.retain()).await {
            Ok(Ok(first)) => tracing::debug!("the log begins at offset {first}"),
            Ok(Err(RetainError::Stopped(_) | RetainError::Checkpoint(CheckpointError::Stopped(_)))) => return,
            Ok(Err(refused)) => tracing::warn!("retention drops nothing more for now: {refused}"),
            Err(panicked) => tracing::error!("retention failed by a fault of the host: {panicked}"),
        }
    }
}

/// Rings now, and whenever a segment has begun.
fn segments_begin(store: &FileLog) -> Arc<Notify> {
    let rings = Arc::new(Notify::new());
    rings.notify_one();
    let bell = rings.clone();
    store.on_segment(Box::new(move || bell.notify_one()));
    rings
}

/// The lag that `settings` allow.
fn lag_of(settings: Option<&str>) -> Lag {
    let settings = settings.and_then(|text| Settings::parse(text).ok());
    settings.map(|settings| settings.lag).unwrap_or_default()
}

/// The first offset of the segment that holds `offset`.
fn begin_of(segments: &[SegmentInfo], offset: Offset) -> Offset {
    let behind = segments.partition_point(|segment| segment.first <= offset);
    behind.checked_sub(1).map_or(Offset(1), |at| segments[at].first)
}

fn since(earlier: Micros, now: Micros) -> Duration {
    Duration::from_micros(now.0.saturating_sub(earlier.0))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use nerve_eventlog::storage::MemoryStorage;
    use nerve_eventlog::{Log as _, Options, SystemClock};

    use super::*;

    #[test]
    fn what_is_beyond_age_or_size_goes_in_whole_segments_and_the_last_one_stays() {
        let segments: Vec<SegmentInfo> = [(1, 100, 10), (11, 200, 10), (21, 300, 10), (31, 400, 5)]
            .map(|(first, made, bytes)| SegmentInfo {
                first: Offset(first),
                made: Micros(made),
                bytes,
            })
            .into();
        for (time, bytes, now, first) in [
            (None, None, 1000, 1),
            (Some(100), None, 300, 1),
            (Some(100), None, 301, 11),
            (Some(100), None, 401, 21),
            (Some(100), None, 9000, 31),
            (None, Some(26), 0, 1),
            (None, Some(25), 0, 11),
            (None, Some(0), 0, 31),
            (Some(100), Some(15), 301, 21),
        ] {
            let keep = Keep {
                time: time.map(Duration::from_micros),
                bytes,
            };
            assert_eq!(
                keep.first(&segments, Micros(now)),
                Offset(first),
                "{keep:?} at {now}"
            );
        }
        assert_eq!(begin_of(&segments, Offset(20)), Offset(11));
        assert_eq!(begin_of(&segments, Offset(21)), Offset(21));
        assert_eq!(begin_of(&segments, Offset(0)), Offset(1));
    }

    #[test]
    fn it_looks_when_a_segment_begins_and_not_at_each_sync() {
        let options = Options {
            segment_bytes: 300,
            ..Options::default()
        };
        let (storage, clock) = (Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
        let (log, _) = FileLog::open(storage, options, clock, None, &mut |_| {}).unwrap();
        let begun = segments_begin(&log);
        let rings = || begun.notified().now_or_never().is_some();
        assert!(rings() && !rings(), "once, at first");
        let mut rung = Vec::new();
        let mut counts = vec![log.segment_count()];
        for _ in 0..12 {
            let mut batch = Batch::new();
            batch.push(&[7; 50]);
            let appended = log.append(batch, None).unwrap();
            log.wait_durable(appended.last).unwrap();
            rung.push(rings());
            counts.push(log.segment_count());
        }
        let begun: Vec<bool> = counts.windows(2).map(|two| two[0] != two[1]).collect();
        assert_eq!(rung, begun);
        assert!(begun.contains(&true) && begun.contains(&false), "{counts:?}");
    }
}
