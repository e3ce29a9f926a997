//! Copies of a log that goes on.

use super::*;
use crate::verify::verify;

#[test]
fn a_copy_of_a_log_that_goes_on_is_a_whole_log() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let log = filled(&storage, small(), 20);
    let snapshot = log.snapshot().unwrap();
    // It goes on, and retention with it.
    for offset in 41..=80 {
        log.wait_durable(log.append(batch(&[&record(offset)]), None).unwrap().last)
            .unwrap();
    }
    assert_eq!(
        log.drop_before(Offset(60)).unwrap(),
        Offset(1),
        "nothing is dropped meanwhile"
    );
    let copy = MemoryStorage::default();
    let mut through = Offset(0);
    for (number, (name, bytes)) in snapshot.files().into_iter().enumerate() {
        let mut content = Vec::new();
        through = snapshot
            .copy(number, &mut |part| {
                content.extend_from_slice(part);
                Ok(())
            })
            .unwrap();
        assert_eq!(content.len() as u64, bytes);
        copy.put(&name, content);
    }
    drop(snapshot);
    assert!(log.drop_before(Offset(60)).unwrap() > Offset(1), "and then it is");
    assert_eq!(through, Offset(40));
    assert!(verify(&copy, &[]).unwrap().damage.is_empty());
    let (again, recovered, seen) = open(Arc::new(copy), small()).unwrap();
    assert_eq!((again.id(), seen), (log.id(), records(40)));
    assert!(recovered.torn.is_none());
}

#[test]
fn a_damaged_segment_is_not_copied_as_if_it_were_sound() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let log = filled(&storage, small(), 20);
    let snapshot = log.snapshot().unwrap();
    let (name, _) = snapshot.files().remove(1);
    let mut bytes = disk.content(&name).unwrap();
    bytes[200] ^= 1;
    disk.put(&name, bytes);
    let Err(ReadError::Damaged { file, .. }) = snapshot.copy(1, &mut |_| Ok(())) else {
        panic!("it is damaged")
    };
    assert_eq!(file, name);
}
