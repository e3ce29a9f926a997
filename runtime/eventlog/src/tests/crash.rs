//! A power cut at every change of the disk, with unsynced writes lost, kept, torn and reordered.

use super::*;
use crate::storage::Crash;

/// Append until the disk dies at `die_at`; answers what was acknowledged, and what was appended.
fn run_until_death(disk: &FaultyStorage, options: &Options, die_at: u64) -> (u64, u64) {
    disk.die_at(die_at);
    let Ok((log, _, _)) = open(Arc::new(disk.clone()), options.clone()) else {
        return (0, 0);
    };
    let (mut acknowledged, mut appended) = (0, 0);
    for n in 0..12u64 {
        let one = log.append(batch(&[&record(2 * n + 1), &record(2 * n + 2)]), None);
        let Ok(one) = one else { break };
        appended = one.last.0;
        // Now and then two batches share a frame.
        if n % 3 == 0 {
            continue;
        }
        match log.wait_durable(one.last) {
            Ok(()) => acknowledged = one.last.0,
            Err(_) => break,
        }
    }
    (acknowledged, appended)
}

/// How many changes a run without a crash makes.
fn changes(options: &Options) -> u64 {
    let disk = FaultyStorage::default();
    run_until_death(&disk, options, u64::MAX);
    disk.changes()
}

/// Whether what was found is right: everything acknowledged, nothing that was never appended, batches whole.
fn right(found: &[Vec<u8>], acknowledged: u64, appended: u64) -> bool {
    let count = found.len() as u64;
    count >= acknowledged && count <= appended && count.is_multiple_of(2) && *found == records(count)
}

#[test]
fn invariant_01_a_crash_at_any_change_loses_nothing_that_was_acknowledged() {
    let options = small();
    for die_at in 1..=changes(&options) + 1 {
        for how in [Crash::LoseAll, Crash::KeepAll]
            .into_iter()
            .chain((0..30).map(Crash::Tear))
        {
            let disk = FaultyStorage::default();
            let (acknowledged, appended) = run_until_death(&disk, &options, die_at);
            let after: Arc<dyn Storage> = Arc::new(disk.crash(how));
            let (log, _, found) = open(after.clone(), options.clone()).unwrap_or_else(|refused| {
                panic!("crash at {die_at}, {how:?}: a crash is no damage, but: {refused}")
            });
            assert!(
                right(&found, acknowledged, appended),
                "crash at {die_at}, {how:?}: {acknowledged} acknowledged, {} found",
                found.len()
            );
            // It goes on, and is whole the next time.
            log.append(batch(&[b"after"]), None).unwrap();
            drop(log);
            let (_, recovered, again) = open(after, options.clone()).unwrap();
            assert_eq!(again.len(), found.len() + 1, "crash at {die_at}, {how:?}");
            assert!(recovered.torn.is_none());
        }
    }
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_noticed_by_this_test() {
    // The negative control: acknowledged under `os`, the records survive the end of the process and not a power cut.
    let options = Options {
        durability: Durability::Os,
        ..Options::default()
    };
    let disk = FaultyStorage::default();
    let (log, _, _) = open(Arc::new(disk.clone()), options.clone()).unwrap();
    for n in 0..3u64 {
        let one = log
            .append(batch(&[&record(2 * n + 1), &record(2 * n + 2)]), None)
            .unwrap();
        log.wait_durable(one.last).unwrap();
    }
    let (killed, cut) = (disk.crash(Crash::KeepAll), disk.crash(Crash::LoseAll));
    let (_, _, found) = open(Arc::new(killed), options.clone()).unwrap();
    assert!(right(&found, 6, 6));
    let (_, _, found) = open(Arc::new(cut), options).unwrap();
    assert!(!right(&found, 6, 6), "the check notices what was lost");
}

#[test]
fn a_torn_tail_is_copied_aside_and_reported() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(filled(&storage, Options::default(), 3));
    let name = crate::segment::name(Offset(1));
    let mut bytes = disk.content(&name).unwrap();
    bytes.extend_from_slice(b"NVF1 and then the power went");
    disk.put(&name, bytes);
    let (_, recovered, seen) = open(storage.clone(), Options::default()).unwrap();
    let torn = recovered.torn.unwrap();
    assert_eq!((seen.len(), torn.bytes, torn.offset), (6, 28, Offset(7)));
    assert_eq!(
        disk.content(&torn.copied_to).unwrap(),
        b"NVF1 and then the power went"
    );
}
