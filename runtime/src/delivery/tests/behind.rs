//! A lane that is behind the hot window.

use std::sync::Arc;

use nerve_eventlog::storage::FaultyStorage;
use nerve_eventlog::{Log, Options};

use super::bed::Bed;
use crate::delivery::handler::Handled;

#[test]
fn who_is_behind_what_the_index_has_reads_the_log_once_and_not_for_each_few_events() {
    let disk = FaultyStorage::default();
    let options = Options {
        hot_bytes: 10_000,
        ..Options::default()
    };
    let mut bed = Bed::on(
        Arc::new(disk.clone()),
        options,
        Arc::new(|_, _| Handled::default()),
    );
    let events: Vec<u64> = (0..2000).map(|_| bed.publish(None)).collect();
    bed.log.wait_durable(bed.log.bounds().last).unwrap();
    assert!(bed.log.bounds().hot_first.0 > events[1500]);
    let size: u64 = bed.records().iter().map(|(.., record)| record.len() as u64).sum();
    let before = disk.bytes_read();
    bed.run();
    let handled: Vec<u64> = bed.saw.lock().iter().map(|saw| saw.offset).collect();
    assert_eq!(handled, events);
    let read = disk.bytes_read() - before;
    assert!((size / 2..size * 3).contains(&read), "{read} bytes of {size}");
}
