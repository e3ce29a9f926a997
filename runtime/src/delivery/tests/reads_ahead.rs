//! A rollback that takes the state back reads the log while the plugin goes on.

use std::sync::Arc;

use nerve_eventlog::Log;
use parking_lot::Mutex;

use super::bed::Bed;
use super::going_back::{QUIET, writes};
use crate::log::index::TypeIndex;
use crate::log::looked_at::LookedAt;
use crate::log::record::VersionId;
use crate::log::sequencer::{Order, Sequencer};
use crate::log::window::{Window, WindowOptions};
use crate::plugin::deploy::{Redelivers, swap_back};

#[test]
fn while_a_rollback_of_the_state_reads_the_log_the_plugin_delivers_and_settles() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    for _ in 0..20 {
        bed.publish(Some("k"));
    }
    bed.run();
    let (from, target) = {
        let state = bed.subscriber.state.lock();
        (VersionId([2; 8]), state.former[&VersionId([1; 8])].clone())
    };
    let free = Arc::new(Mutex::new(Vec::new()));
    let (saw, subscriber) = (free.clone(), bed.subscriber.clone());
    let log: &'static _ = Box::leak(Box::new(bed.log.clone()));
    let log: Arc<dyn Log> = Arc::new(LookedAt {
        of: &**log,
        hot_first: None,
        before: Box::new(move |_| {
            // A lane needs both.
            let is_free = subscriber.gate.try_read().is_some() && subscriber.state.try_lock().is_some();
            saw.lock().push(is_free);
            Ok(())
        }),
    });
    let order = Order {
        index: TypeIndex::default(),
        window: Window::new(WindowOptions::default()),
    };
    let sequencer = Sequencer::new(&log, order);
    sequencer.add_subscriber(bed.subscriber.bell.clone());
    let runs = bed.fake(writes("a"), 1);
    swap_back(
        &sequencer,
        &bed.subscriber,
        from,
        target,
        runs,
        Redelivers::Since(QUIET),
    )
    .unwrap();
    let free = free.lock();
    assert!(
        !free.is_empty() && free.iter().all(|is_free| *is_free),
        "{free:?}"
    );
}
