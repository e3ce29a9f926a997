//! What is written and read by hand, held against the library that reads and writes all records.

use proptest::prelude::*;
use serde::Serialize;

use super::{
    Attribute, Cause, Event, EventGist, FailureClass, FailureRecord, Gist, Kind, Level, Line, Outcome,
    OutcomeGist, Replay, Verdict, VersionId, Write, pack, quick,
};

/// Everything that a record may be made of.
#[derive(Debug, Clone, Serialize)]
enum Part {
    Nothing,
    Flag(bool),
    Signed(i64),
    Small(i8),
    Unsigned(u64),
    Real(f64),
    Single(f32),
    Text(String),
    Letter(char),
    #[serde(with = "serde_bytes")]
    Bytes(Vec<u8>),
    List(Vec<Part>),
    Maybe(Option<Box<Part>>),
    Pair(u16, Box<Part>),
    Named {
        first: Box<Part>,
        second: (u32, i16),
    },
    Map(std::collections::BTreeMap<String, u8>),
    Unit(()),
}

/// Numbers at which the way that they are written changes, and any.
fn number() -> impl Strategy<Value = u64> {
    const EDGES: [u64; 12] = [
        0,
        31,
        32,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        0xffff_ffff,
        1 << 32,
        u64::MAX,
    ];
    prop_oneof![proptest::sample::select(&EDGES[..]), any::<u64>()]
}

/// Lengths at which the way that they are written changes.
const LENGTHS: [usize; 9] = [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(&LENGTHS[..]).prop_map(|n| "x".repeat(n)),
        ".{0,40}",
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        Just(Part::Nothing),
        Just(Part::Unit(())),
        any::<bool>().prop_map(Part::Flag),
        (number(), any::<bool>()).prop_map(|(n, below)| {
            let n = n.cast_signed();
            Part::Signed(if below { n.wrapping_neg() } else { n })
        }),
        any::<i8>().prop_map(Part::Small),
        number().prop_map(Part::Unsigned),
        any::<f64>().prop_map(Part::Real),
        any::<f32>().prop_map(Part::Single),
        any::<char>().prop_map(Part::Letter),
        text().prop_map(Part::Text),
        text().prop_map(|text| Part::Bytes(text.into_bytes())),
        proptest::collection::btree_map(".{0,3}", any::<u8>(), 0..20).prop_map(Part::Map),
    ];
    leaf.prop_recursive(3, 40, 20, |part| {
        prop_oneof![
            proptest::collection::vec(part.clone(), 0..20).prop_map(Part::List),
            proptest::option::of(part.clone().prop_map(Box::new)).prop_map(Part::Maybe),
            (any::<u16>(), part.clone()).prop_map(|(n, part)| Part::Pair(n, Box::new(part))),
            (part, any::<u32>(), any::<i16>()).prop_map(|(first, a, b)| Part::Named {
                first: Box::new(first),
                second: (a, b)
            }),
        ]
    })
}

/// JSON says how many parts something has when they are all there.
fn assert_packed_as_by_the_library(json: &str) {
    let mut packed = Vec::new();
    serde_transcode::transcode(
        &mut serde_json::Deserializer::from_str(json),
        pack::Pack(&mut packed),
    )
    .unwrap();
    let mut expected = Vec::new();
    let mut library = rmp_serde::Serializer::new(&mut expected);
    serde_transcode::transcode(&mut serde_json::Deserializer::from_str(json), &mut library).unwrap();
    assert!(packed == expected, "{json:.200}");
}

#[test]
fn lists_and_maps_of_every_length_are_packed_as_by_the_library() {
    for length in [0, 1, 15, 16, 17, 65_535, 65_536] {
        let (numbers, members) = (0..length)
            .map(|n| (n.to_string(), format!("\"{n}\":[{n}]")))
            .collect::<(Vec<_>, Vec<_>)>();
        let (list, map) = (numbers.join(","), members.join(","));
        assert_packed_as_by_the_library(&format!("[[{list}],{{\"a\":{{{map}}}}},7]"));
    }
}

fn of_kind(kind: Kind, fields: &[u8]) -> Vec<u8> {
    [&[kind as u8], fields].concat()
}

proptest! {
    #[test]
    fn what_is_packed_is_what_the_library_writes(part in part()) {
        let mut packed = Vec::new();
        pack::write(&part, &mut packed);
        prop_assert_eq!(packed, rmp_serde::to_vec(&part).unwrap());
    }

    #[test]
    fn what_is_packed_from_json_is_what_the_library_writes(part in part()) {
        let json = serde_json::to_string(&part).unwrap();
        assert_packed_as_by_the_library(&json);
    }

    #[test]
    fn an_outcome_that_is_read_quickly_is_what_the_library_reads(
        texts in proptest::collection::vec(text(), 4),
        values in proptest::collection::vec(proptest::option::of(text()), 0..18),
        (event, took) in (number(), number()),
        (small, present) in (any::<u32>(), any::<[bool; 4]>()),
        (is_done, says) in (prop::bool::weighted(0.9), prop::bool::weighted(0.1)),
        (at, flipped) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let bytes_of = |text: &'_ Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let values: Vec<_> = values.iter().map(bytes_of).collect();
        let write = |value| Write { key: &texts[0], value, previous: value.filter(|_| present[0]) };
        let failure = FailureRecord { class: FailureClass::Trap, reason: "r" };
        let outcome = Outcome {
            plugin: &texts[1],
            version: VersionId(event.to_be_bytes()),
            event,
            attempt: small,
            replay: present[1],
            verdict: if is_done { Verdict::Done } else { Verdict::Dead { failure } },
            key: Some(&*texts[2]).filter(|_| present[2]),
            cleared: present[3],
            low_water: took,
            started: event,
            took,
            seed: Some(took).filter(|_| present[0]),
            emitted: small,
            writes: values.iter().map(|value| write(value.as_deref())).collect(),
            lines: if says { vec![Line { level: Level::Info, text: &texts[3] }] } else { Vec::new() },
            waits_from: Some(event).filter(|_| present[3]),
            own: present[2],
            ..Outcome::default()
        };
        for historic in [false, true] {
            let rewind = Replay { generation: event, historic, fresh: false, muted: Vec::new() };
            let outcome = Outcome { rewind: Some(rewind), ..outcome.clone() };
            let bytes = of_kind(Kind::Outcome, &rmp_serde::to_vec(&outcome).unwrap());
            let Gist::Outcome(gist) = Gist::of(&bytes).unwrap() else { panic!("{bytes:?}") };
            prop_assert_eq!((gist.historic, gist.took), (historic, took));
        }
        let mut bytes = rmp_serde::to_vec(&outcome).unwrap();
        let is_short = texts.iter().all(|text| text.len() < 65_536);
        let is_usual = values.len() < 16 && is_done && !says;
        let is_read = quick::outcome(&bytes).is_some();
        prop_assert!(is_read == is_usual || is_usual && !is_short);
        let gist = OutcomeGist::from(&outcome);
        let short = quick::outcome_gist(&bytes);
        prop_assert!(short == Some(gist) || short.is_none() && (!is_usual || !is_short));
        let record = of_kind(Kind::Outcome, &bytes);
        prop_assert_eq!(Gist::of(&record).unwrap(), Gist::Outcome(gist));
        let at = at.index(bytes.len());
        for flip in [0, flipped] {
            bytes[at] ^= flip;
            let read = quick::outcome(&bytes);
            prop_assert!(read.is_none() || read == rmp_serde::from_slice(&bytes).ok());
            prop_assert!(quick::outcome(&bytes[..at]).is_none());
            let whole: Option<Outcome<'_>> = rmp_serde::from_slice(&bytes).ok();
            let gist = quick::outcome_gist(&bytes);
            prop_assert!(gist.is_none() || whole.is_none_or(|whole| gist == Some((&whole).into())));
            prop_assert!(quick::outcome_gist(&bytes[..at]).is_none());
        }
    }

    #[test]
    fn an_event_that_is_read_quickly_is_what_the_library_reads(
        texts in proptest::collection::vec(text(), 7),
        present in any::<[bool; 6]>(),
        (time, offset) in (number(), number()),
        extended in any::<bool>(),
        (at, flipped) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let maybe = |n: usize| Some(&*texts[n]).filter(|_| present[n]);
        let event = Event {
            id: &texts[0],
            source: &texts[1],
            r#type: &texts[2],
            key: maybe(3),
            subject: maybe(4),
            time: Some(time).filter(|_| present[0]),
            content_type: &texts[5],
            data: texts[6].as_bytes(),
            correlation: maybe(0),
            cause: Some(Cause { id: &texts[1], offset, hops: 1, index: 300 }).filter(|_| present[1]),
            traceparent: maybe(2),
            data_schema: maybe(5),
            extensions: if extended { vec![("x", Attribute::Integer(7))] } else { Vec::new() },
        };
        let mut bytes = rmp_serde::to_vec(&event).unwrap();
        let is_short = texts.iter().all(|text| text.len() < 65_536);
        prop_assert!(quick::event(&bytes).is_some() || !is_short || extended);
        let gist = EventGist::from(&event);
        let short = quick::event_gist(&bytes);
        prop_assert!(short == Some(gist) || short.is_none() && (extended || !is_short));
        let record = of_kind(Kind::Event, &bytes);
        prop_assert_eq!(Gist::of(&record).unwrap(), Gist::Event(gist));
        let at = at.index(bytes.len());
        for flip in [0, flipped] {
            bytes[at] ^= flip;
            let read = quick::event(&bytes);
            prop_assert!(read.is_none() || read == rmp_serde::from_slice(&bytes).ok());
            prop_assert!(quick::event(&bytes[..at]).is_none());
            let whole: Option<Event<'_>> = rmp_serde::from_slice(&bytes).ok();
            let gist = quick::event_gist(&bytes);
            prop_assert!(gist.is_none() || whole.is_none_or(|whole| gist == Some((&whole).into())));
            prop_assert!(quick::event_gist(&bytes[..at]).is_none());
        }
    }
}
