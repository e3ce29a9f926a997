//! Rewinds in a seeded simulation of one plugin, in one lane and in several: what its records say of order, of what was
//! settled and of the states, live and fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nerve_eventlog::proof::{Scale, cases};
use nerve_eventlog::{Micros, Offset};

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Emit, Handled};
use crate::log::record::{FailureClass, Mute, OperatorAction, Outcome, Record, Rewind, RewindEnd, Verdict};
use crate::state::KeyValues;

/// Which attempts fail, decided by a hash; of the others half write down their event under its key, and half emit.
fn script(seed: u64) -> Script {
    Arc::new(move |delivery, state| {
        let mut dice = fastrand::Rng::with_seed(
            seed ^ delivery.offset.0.wrapping_mul(0x9e37_79b9)
                ^ (u64::from(delivery.attempt) << 48)
                ^ (u64::from(delivery.replay) << 40),
        );
        match dice.u32(..24) {
            0..3 => return failed(FailureClass::Trap),
            3 => return failed(FailureClass::Reject),
            _ => {}
        }
        let emit = Emit {
            r#type: "out.x".into(),
            key: None,
            subject: None,
            content_type: None,
            data: vec![0xc0],
        };
        let mut handled = Handled::default();
        if dice.bool() {
            handled.effects.emits.push(emit);
        }
        if dice.bool() {
            return handled;
        }
        let key: Box<str> = delivery.event.key.unwrap_or("-").into();
        let before = handled.reads.get(state, key.to_string()).unwrap_or_default();
        let grown = [&before[..], format!("{} ", delivery.offset).as_bytes()].concat();
        handled.effects.writes.push((key, Some(grown.into())));
        handled
    })
}

/// One stream of deliveries: the live ones, or those of a rewind.
#[derive(Default)]
struct Stream {
    /// Events that came to their end.
    ended: BTreeSet<u64>,
    /// The event of each key that waits for a retry.
    open: BTreeMap<String, u64>,
    last: BTreeMap<String, u64>,
}

impl Stream {
    fn outcome(&mut self, seed: u64, at: Offset, outcome: &Outcome<'_>, key: Option<&String>) {
        let event = outcome.event;
        if let Some(key) = key {
            let waiting = self.open.remove(key);
            assert!(
                waiting.is_none_or(|waiting| waiting == event),
                "seed {seed}: {at} overtakes"
            );
            let last = self.last.insert(key.clone(), event).unwrap_or_default();
            assert!(last <= event, "seed {seed}: {at} goes back from {last}");
        }
        assert!(!self.ended.contains(&event), "seed {seed}: {at} settles twice");
        match (outcome.verdict, key) {
            (Verdict::Retry { .. }, Some(key)) => drop(self.open.insert(key.clone(), event)),
            (Verdict::Retry { .. }, None) => {}
            _ => drop(self.ended.insert(event)),
        }
    }
}

struct Running {
    order: Rewind,
    stream: Stream,
    shadow: KeyValues,
}

/// What the records of `bed` say, held against each other and against its state; how many rewinds ended, and how.
fn check(bed: &Bed, published: &BTreeMap<u64, Option<String>>, seed: u64) -> [u64; 2] {
    let (mut live, state) = (Stream::default(), KeyValues::default());
    let (mut running, mut ended): (Option<Running>, [u64; 2]) = (None, [0; 2]);
    let mut ids = BTreeSet::new();
    for (at, _, bytes) in bed.records() {
        match Record::decode(&bytes).unwrap() {
            Record::Event(event) if event.r#type == "out.x" => {
                assert!(
                    ids.insert(event.id.to_owned()),
                    "seed {seed}: {at} is emitted twice"
                );
            }
            Record::Outcome(outcome) => {
                let key = published[&outcome.event].as_ref();
                let Some(of) = &outcome.rewind else {
                    assert!(!outcome.replay, "seed {seed}: nobody redrives");
                    live.outcome(seed, at, &outcome, key);
                    write(&state, &outcome, seed, at);
                    continue;
                };
                let one = running
                    .as_mut()
                    .unwrap_or_else(|| panic!("seed {seed}: {at} is of no rewind"));
                assert!(
                    live.ended.contains(&outcome.event),
                    "seed {seed}: {at} is no history yet"
                );
                assert!(
                    outcome.event >= one.order.from,
                    "seed {seed}: {at} is before the beginning"
                );
                assert!(
                    !one.order.mute.emit || outcome.emitted == 0,
                    "seed {seed}: {at} is muted"
                );
                assert_eq!(
                    (of.historic, of.fresh),
                    (true, one.order.fresh),
                    "seed {seed}: {at}"
                );
                one.stream.outcome(seed, at, &outcome, key);
                write(if of.fresh { &one.shadow } else { &state }, &outcome, seed, at);
            }
            Record::Operator(operator) => match operator.action {
                OperatorAction::Rewind(order) => {
                    running = Some(Running {
                        order,
                        stream: Stream::default(),
                        shadow: KeyValues::default(),
                    });
                }
                OperatorAction::StopRewind => running = None,
                _ => {}
            },
            Record::Rewound(rewound) => {
                let one = running.take().unwrap();
                let is_history = |event: &u64| {
                    *event >= one.order.from && one.order.through.is_none_or(|through| *event <= through)
                };
                let expected: BTreeSet<u64> = live.ended.iter().copied().filter(is_history).collect();
                assert_eq!(
                    one.stream.ended, expected,
                    "seed {seed}: {at} ends before its history"
                );
                match rewound.end {
                    RewindEnd::Swapped => state.take(&one.shadow),
                    RewindEnd::Done => {}
                    RewindEnd::Gap { .. } => panic!("seed {seed}: nothing was dropped"),
                }
                ended[usize::from(rewound.end == RewindEnd::Swapped)] += 1;
            }
            _ => {}
        }
    }
    let all: BTreeSet<u64> = published.keys().copied().collect();
    assert_eq!(live.ended, all, "seed {seed}: every event came to an end");
    assert!(running.is_none(), "seed {seed}: the rewind never ends");
    let told = |state: &crate::state::PluginState| format!("{:?}", state.snapshot(Offset(0)));
    let now = bed.subscriber.state.lock();
    assert_eq!(told(&bed.fold()), told(&now), "seed {seed}");
    let entries = |state: &KeyValues| state.scan("", None, usize::MAX);
    assert_eq!(entries(&state), entries(&now.key_values), "seed {seed}");
    ended
}

/// What `outcome` writes, on what it says was there.
fn write(state: &KeyValues, outcome: &Outcome<'_>, seed: u64, at: Offset) {
    for write in &outcome.writes {
        let there = state.get(write.key);
        assert_eq!(
            write.previous,
            there.as_deref(),
            "seed {seed}: {at} saw another state"
        );
        state.write(write.key, write.value.map(bytes::Bytes::copy_from_slice));
    }
}

fn live(seed: u64) -> (Bed, BTreeMap<u64, Option<String>>) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut published = BTreeMap::new();
    let lanes = dice.usize(1..5);
    let mut bed = Bed::with_lanes(script(seed), POLICY, lanes);
    let mut stepped = Stepped::new(&bed, seed).in_stretches();
    for _ in 0..dice.usize(40..200) {
        match dice.u32(..40) {
            0..14 => {
                let key = (dice.u32(..5) > 0).then(|| format!("k{}", dice.u32(..3)));
                published.insert(bed.publish(key.as_deref()), key);
            }
            14..31 => {
                let lane = dice.usize(..lanes);
                stepped.step(&mut bed, lane);
            }
            31..33 => bed.clock.set(Micros(bed.now() + dice.u64(..30_000))),
            33 => {
                // What is under way is lost.
                bed = bed.restart(script(seed));
                stepped = Stepped::new(&bed, seed).in_stretches();
            }
            34 => {
                stepped.settle_all(&mut bed);
                bed.swap_to(script(seed), lanes);
            }
            35..39 => {
                stepped.settle_all(&mut bed);
                rewind(&bed, &mut dice);
            }
            _ => {
                stepped.settle_all(&mut bed);
                if bed.subscriber.state.lock().rewinding.is_some() {
                    bed.stop_rewind();
                }
            }
        }
    }
    stepped.run_all(&mut bed, &mut dice);
    (bed, published)
}

fn rewind(bed: &Bed, dice: &mut fastrand::Rng) {
    let settled = {
        let state = bed.subscriber.state.lock();
        if state.rewinding.is_some() || state.cursor.low == Offset(0) {
            return;
        }
        state.cursor.low.0
    };
    let mute = Mute {
        emit: dice.bool(),
        http: false,
    };
    let from = if dice.bool() { 1 } else { dice.u64(1..=settled) };
    bed.rewind(from, mute, dice.bool());
}

#[test]
fn invariant_03_history_and_live_events_keep_their_order_whatever_happens() {
    let scale = Scale {
        short: 1_000,
        long: 200_000,
    };
    let seen = parking_lot::Mutex::new([0; 2]);
    cases("rewinds at random", scale, |seed| {
        let (bed, published) = live(seed);
        let ended = check(&bed, &published, seed);
        let mut seen = seen.lock();
        *seen = [seen[0] + ended[0], seen[1] + ended[1]];
    });
    let [done, swapped] = seen.into_inner();
    if std::env::var_os("NERVE_PROOF_SEED").is_none() {
        assert!(done > 100 && swapped > 100, "{done} and {swapped} rewinds ended");
    }
}

#[test]
#[should_panic(expected = "ends before its history")]
fn the_check_notices_history_that_was_left_out() {
    for seed in 0..50 {
        let (bed, mut published) = live(seed);
        let ended = check(&bed, &published, seed);
        if ended == [0, 0] {
            continue;
        }
        // An event that the rewind should have had, and did not: settled by a record that stands before its end.
        let missing = bed.publish(None);
        published.insert(missing, None);
        let state = bed.subscriber.state.lock().clone();
        let mut batch = nerve_eventlog::Batch::new();
        let outcome = Outcome {
            plugin: "p",
            event: missing,
            attempt: 1,
            ..Outcome::default()
        };
        let order = Rewind {
            from: 1,
            ..Rewind::default()
        };
        for record in [
            Record::Operator(crate::log::record::Operator {
                who: None,
                plugin: "p".into(),
                action: OperatorAction::Rewind(order),
            }),
            Record::Outcome(outcome),
            Record::Rewound(crate::log::record::Rewound {
                plugin: "p".into(),
                generation: state.through.0,
                end: RewindEnd::Done,
            }),
        ] {
            batch.push_with(|out| record.encode(out));
        }
        bed.sequencer.append(batch, None, std::iter::empty()).unwrap();
        check(&bed, &published, seed);
    }
}
