//! The log against a plain vector, through appends, restarts and reads in any order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Vec<u8>>),
    Restart,
    Read(u64, usize),
    ReadAt(Vec<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6).prop_map(Step::Append),
        1 => Just(Step::Restart),
        3 => (1u64..120, 0usize..400).prop_map(|(from, bytes)| Step::Read(from, bytes)),
        2 => prop::collection::btree_set(1u64..120, 0..10).prop_map(|set| Step::ReadAt(set.into_iter().collect())),
    ]
}

fn compare(steps: Vec<Step>, spoil: bool) {
    let options = Options {
        hot_bytes: 600,
        ..small()
    };
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let (mut log, _, _) = open(storage.clone(), options.clone()).unwrap();
    let mut model: Vec<Vec<u8>> = Vec::new();
    for step in steps {
        match step {
            Step::Append(payloads) => {
                let parts: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                let appended = log.append(batch(&parts), None).unwrap();
                assert_eq!(appended.first.0, model.len() as u64 + 1);
                log.wait_durable(appended.last).unwrap();
                model.extend(payloads);
                if spoil {
                    model[0] = b"spoiled".to_vec();
                }
            }
            Step::Restart => {
                drop(log);
                let (again, _, seen) = open(storage.clone(), options.clone()).unwrap();
                assert_eq!(seen, model);
                log = again;
            }
            Step::Read(from, bytes) => {
                let entries = log.read(Offset(from), bytes, Reach::Durable).unwrap();
                let expected = model.iter().skip(usize::try_from(from).unwrap() - 1);
                assert_eq!(entries.is_empty(), expected.len() == 0);
                for (entry, payload) in entries.iter().zip(expected) {
                    assert_eq!(&*entry.payload, &**payload);
                }
            }
            Step::ReadAt(offsets) => {
                let offsets: Vec<Offset> = offsets.into_iter().map(Offset).collect();
                let mut entries = Vec::new();
                log.read_at(&offsets, &mut entries).unwrap();
                let there = offsets.iter().filter(|offset| offset.0 <= model.len() as u64);
                assert_eq!(entries.len(), there.clone().count());
                for (entry, offset) in entries.iter().zip(there) {
                    assert_eq!(&*entry.payload, &*model[usize::try_from(offset.0).unwrap() - 1]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_log_does_what_a_vector_does(steps in prop::collection::vec(step(), 0..40)) {
        compare(steps, false);
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn the_comparison_notices_another_content() {
    compare(vec![Step::Append(vec![b"a".to_vec()]), Step::Read(1, 10)], true);
}
