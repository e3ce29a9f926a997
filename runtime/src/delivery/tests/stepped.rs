//! The lanes of a bed, a step at a time: to choose, to run the handler, to settle.

use nerve_eventlog::{Entry, Micros};

use super::bed::Bed;
use crate::delivery::cursor::OrderKey;
use crate::delivery::handler::{Delivery, Handled, Outside};
use crate::delivery::lane::{Choice, UnderWay, event_of};
use crate::state::OfRewind;

/// What one lane is at.
enum At {
    Rest,
    /// It chose, and its handler has not run.
    Chose(Entry, UnderWay),
    /// Its handler ran, and nothing is settled.
    Ran(Entry, UnderWay, Box<Ran>),
    /// All that it took up was handled, and some of it is not settled.
    Handled,
}

struct Ran {
    attempt: u32,
    replay: bool,
    rewind: Option<OfRewind>,
    historic: bool,
    started: Micros,
    seed: u64,
    handled: Handled,
}

/// The lanes of a bed.
pub(super) struct Stepped {
    seed: u64,
    at: Vec<At>,
    /// Whether they take up several events at a time.
    in_stretches: bool,
    /// When the next retry is due, as the last lane that came to rest says.
    due: Option<Micros>,
}

impl Stepped {
    /// All at rest. Faults are told with `seed`.
    pub(super) fn new(bed: &Bed, seed: u64) -> Self {
        Self {
            seed,
            at: bed.lanes.iter().map(|_| At::Rest).collect(),
            due: None,
            in_stretches: false,
        }
    }

    /// The same, taking up several events at a time.
    pub(super) fn in_stretches(self) -> Self {
        Self {
            in_stretches: true,
            ..self
        }
    }

    /// Let lane `n` take a step; whether it did anything.
    pub(super) fn step(&mut self, bed: &mut Bed, n: usize) -> bool {
        let subscriber = bed.subscriber.clone();
        let at = std::mem::replace(&mut self.at[n], At::Rest);
        match at {
            At::Rest => self.choose(bed, n),
            At::Chose(entry, under_way) => {
                let event = event_of(&entry).unwrap();
                let (delivery, handled) = bed.lanes[n].handle(&entry, &event, &under_way);
                let mut ran = Ran {
                    attempt: delivery.attempt,
                    replay: delivery.replay,
                    rewind: delivery.rewind,
                    historic: delivery.historic,
                    started: delivery.started,
                    seed: delivery.seed,
                    handled,
                };
                let alone = under_way.runs_alone();
                // What it went on with is an ordinary delivery, as the first one was.
                let (entry, under_way) = match bed.lanes[n].stretch.went_on() {
                    Some((opened, under_way, started, seed)) => {
                        (ran.started, ran.seed) = (started, seed);
                        (opened.into_owner(), under_way)
                    }
                    None => (entry, under_way),
                };
                self.at[n] = At::Ran(entry, under_way, Box::new(ran));
                if alone {
                    self.step(bed, n);
                }
                true
            }
            At::Handled => {
                bed.lanes[n].stretch.settle().unwrap();
                true
            }
            At::Ran(entry, mut under_way, ran) => {
                let event = event_of(&entry).unwrap();
                let delivery = Delivery {
                    offset: entry.offset,
                    recorded: entry.time,
                    event: &event,
                    record: &entry.payload,
                    attempt: ran.attempt,
                    replay: ran.replay,
                    rewind: ran.rewind,
                    historic: ran.historic,
                    started: ran.started,
                    seed: ran.seed,
                    outside: Outside::default(),
                };
                let lane = &mut bed.lanes[n];
                let ended = lane.end(&subscriber, None, &entry, &mut under_way, &delivery, ran.handled);
                self.at[n] = if !ended.unwrap() {
                    At::Chose(entry, under_way)
                } else if let Some((entry, under_way)) = lane.stretch.next() {
                    At::Chose(entry, under_way)
                } else if self.in_stretches {
                    At::Handled
                } else {
                    At::Rest
                };
                true
            }
        }
    }

    /// Let lane `n` take so many steps.
    pub(super) fn steps(&mut self, bed: &mut Bed, n: usize, times: usize) {
        for _ in 0..times {
            self.step(bed, n);
        }
    }

    fn choose(&mut self, bed: &mut Bed, n: usize) -> bool {
        let (subscriber, seed) = (bed.subscriber.clone(), self.seed);
        if !bed.lanes[n].follow_swap(&subscriber.gate.read()) {
            return false;
        }
        let open = subscriber.state.lock().breaker.open().is_some();
        match bed.lanes[n].choose(&subscriber).unwrap() {
            Choice::Deliver(entry, mut under_way) => {
                if self.in_stretches {
                    bed.lanes[n].take_up(&subscriber, &mut under_way);
                }
                let key = order_key(&entry);
                assert!(
                    self.under_way().all(|other| order_key(other) != key),
                    "seed {seed}: two of {key:?} at once"
                );
                assert!(
                    !open || self.under_way().next().is_none(),
                    "seed {seed}: a probe is not alone"
                );
                self.at[n] = At::Chose(entry, under_way);
                true
            }
            Choice::Again => self.choose(bed, n),
            Choice::Nothing(due) => {
                self.due = due;
                false
            }
        }
    }

    /// The events under way.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Entry> {
        self.at.iter().filter_map(|at| match at {
            At::Rest | At::Handled => None,
            At::Chose(entry, _) | At::Ran(entry, ..) => Some(entry),
        })
    }

    /// Settle what is under way and begin nothing, as whoever waits for the gate has it.
    pub(super) fn settle_all(&mut self, bed: &mut Bed) {
        for n in 0..self.at.len() {
            while !matches!(self.at[n], At::Rest) {
                self.step(bed, n);
            }
        }
    }

    /// Go on, in an order that `dice` gives, until nothing is left or due.
    pub(super) fn run_all(&mut self, bed: &mut Bed, dice: &mut fastrand::Rng) {
        for _ in 0..100_000 {
            let mut order: Vec<usize> = (0..self.at.len()).collect();
            dice.shuffle(&mut order);
            if order.into_iter().any(|n| self.step(bed, n)) {
                continue;
            }
            match self.due.take() {
                Some(due) => bed.clock.set(due.max(Micros(bed.now()))),
                None => return,
            }
        }
        panic!("seed {}: it comes to no end", self.seed);
    }
}

fn order_key(entry: &Entry) -> OrderKey {
    OrderKey::of(event_of(entry).unwrap().key, entry.offset)
}
