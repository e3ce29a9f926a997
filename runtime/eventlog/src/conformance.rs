//! What every implementation of [`Log`] must do, as a suite that each runs.

use crate::{AppendError, Batch, Condition, Log, Offset, Reach};

/// Run the suite. `open` makes an empty log, each time another one.
///
/// # Panics
/// When the log breaks its contract; the message says where.
pub fn suite(open: &mut dyn FnMut() -> Box<dyn Log>) {
    offsets_ascend_without_gaps(&*open());
    a_batch_is_all_or_nothing(&*open());
    readers_of_the_durable_prefix_see_nothing_else(&*open());
    a_condition_lets_one_writer_win(&*open());
    single_offsets_are_read(&*open());
    a_closed_log_takes_nothing_and_still_reads(&*open());
}

/// A batch of records with these payloads.
pub fn batch(payloads: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    for payload in payloads {
        batch.push(payload);
    }
    batch
}

fn append(log: &dyn Log, payloads: &[&[u8]]) -> crate::Appended {
    log.append(batch(payloads), None)
        .unwrap_or_else(|refused| panic!("the log takes a batch: {refused}"))
}

fn payloads(log: &dyn Log, from: u64, reach: Reach) -> Vec<Vec<u8>> {
    let entries = log
        .read(Offset(from), 1 << 20, reach)
        .unwrap_or_else(|cause| panic!("the log reads: {cause}"));
    for (at, entry) in (from..).zip(&entries) {
        assert_eq!(entry.offset, Offset(at), "entries have no gaps");
    }
    entries.into_iter().map(|entry| entry.payload.to_vec()).collect()
}

fn offsets_ascend_without_gaps(log: &dyn Log) {
    assert_eq!(
        (log.bounds().last, log.bounds().durable),
        (Offset(0), Offset(0)),
        "an empty log ends at 0"
    );
    let (first, second) = (append(log, &[b"a", b"b"]), append(log, &[b"c"]));
    assert_eq!(
        (first.first, first.last, second.first),
        (Offset(1), Offset(2), Offset(3))
    );
    assert!(first.time <= second.time, "times never go backwards");
    assert_eq!(payloads(log, 1, Reach::Appended), [b"a", b"b", b"c"]);
    assert_eq!(payloads(log, 3, Reach::Appended), [b"c"]);
    assert!(
        payloads(log, 4, Reach::Appended).is_empty(),
        "behind the end there is nothing"
    );
}

fn a_batch_is_all_or_nothing(log: &dyn Log) {
    let empty = log.append(Batch::new(), None);
    assert!(
        matches!(empty, Err(AppendError::Size { .. })),
        "a batch without records is refused"
    );
    append(log, &[b"", b"x"]);
    assert_eq!(payloads(log, 1, Reach::Appended), [&b""[..], b"x"]);
}

fn readers_of_the_durable_prefix_see_nothing_else(log: &dyn Log) {
    let appended = append(log, &[b"a", b"b"]);
    let seen = payloads(log, 1, Reach::Durable).len() as u64;
    assert!(
        seen <= log.bounds().durable.0,
        "a reader of the durable prefix runs ahead of it"
    );
    log.wait_durable(appended.last)
        .unwrap_or_else(|poisoned| panic!("it becomes durable: {poisoned}"));
    assert_eq!(payloads(log, 1, Reach::Durable).len(), 2);
}

fn a_condition_lets_one_writer_win(log: &dyn Log) {
    let write = |last| log.append(batch(&[b"w"]).writer("w"), Some(Condition { writer: "w", last }));
    let first = write(None).unwrap_or_else(|refused| panic!("the first one is taken: {refused}"));
    assert!(
        matches!(write(None), Err(AppendError::Conflict { found: Some(_), .. })),
        "the second is refused"
    );
    append(log, &[b"other"]);
    assert!(
        write(Some(first.last)).is_ok(),
        "who knows the last batch goes on"
    );
}

fn single_offsets_are_read(log: &dyn Log) {
    for n in 0..20u8 {
        append(log, &[&[n], &[n + 100]]);
    }
    let offsets = [1, 2, 3, 10, 39, 40, 41].map(Offset);
    let mut found = Vec::new();
    log.read_at(&offsets, &mut found)
        .unwrap_or_else(|cause| panic!("the log reads: {cause}"));
    let found: Vec<(u64, u8)> = found
        .iter()
        .map(|entry| (entry.offset.0, entry.payload[0]))
        .collect();
    assert_eq!(found, [(1, 0), (2, 100), (3, 1), (10, 104), (39, 19), (40, 119)]);
}

fn a_closed_log_takes_nothing_and_still_reads(log: &dyn Log) {
    append(log, &[b"a"]);
    log.close()
        .unwrap_or_else(|poisoned| panic!("it closes: {poisoned}"));
    assert_eq!(
        log.bounds().durable,
        Offset(1),
        "closing makes everything durable"
    );
    assert!(matches!(
        log.append(batch(&[b"b"]), None),
        Err(AppendError::Closed { .. })
    ));
    assert_eq!(payloads(log, 1, Reach::Durable), [b"a"]);
}
