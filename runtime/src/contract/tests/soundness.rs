//! The verdicts and the checker against another implementation of JSON Schema.

use std::sync::atomic::{AtomicU64, Ordering};

use nerve_eventlog::proof::{Dice, Scale, cases};
use serde_json::Value as Json;

use super::random;
use crate::contract::{Checked, Schema, Verdict, accepts};

/// Data that is tried against each pair of schemas.
const TRIED: usize = 60;

struct Side {
    mine: Schema,
    other: jsonschema::Validator,
}

impl Side {
    fn new(json: &Json) -> Self {
        Self {
            mine: json
                .to_string()
                .parse()
                .unwrap_or_else(|bad| panic!("{json}: {bad}")),
            other: jsonschema::draft202012::new(json).unwrap_or_else(|bad| panic!("{json}: {bad}")),
        }
    }
}

fn pair(dice: &mut Dice) -> (Json, Json) {
    let given = random::schema(dice, 3);
    let expected = match dice.below(6) {
        0 => random::schema(dice, 3),
        1 => given.clone(),
        2 => random::changed(dice, &given),
        _ => {
            let once = random::changed(dice, &given);
            random::changed(dice, &once)
        }
    };
    if dice.one_in(2) {
        (expected, given)
    } else {
        (given, expected)
    }
}

#[test]
fn what_is_called_safe_accepts_every_document_and_every_example_of_breaking_breaks() {
    let told = [const { AtomicU64::new(0) }; 3];
    cases(
        "contract_verdicts",
        Scale {
            short: 2_000,
            long: 5_000_000,
        },
        |seed| {
            let dice = &mut Dice::new(seed);
            let (expected_json, given_json) = pair(dice);
            let (expected, given) = (Side::new(&expected_json), Side::new(&given_json));
            let verdict = accepts(&expected.mine, &given.mine);
            match &verdict {
                Verdict::Safe => {
                    told[0].fetch_add(1, Ordering::Relaxed);
                    for at in 0..TRIED {
                        let json = match at % 3 {
                            0 => random::data(dice, 3),
                            1 => random::fitting(dice, &given_json, 4),
                            _ => random::fitting(dice, &expected_json, 4),
                        };
                        assert!(
                            !given.other.is_valid(&json) || expected.other.is_valid(&json),
                            "{expected_json} is said to accept {given_json}, and does not accept {json}"
                        );
                    }
                }
                Verdict::Breaking(difference) => {
                    told[1].fetch_add(1, Ordering::Relaxed);
                    let example = difference.example.as_ref().unwrap();
                    assert!(
                        given.other.is_valid(example) && !expected.other.is_valid(example),
                        "{example} is said to be allowed by {given_json} and not accepted by {expected_json}"
                    );
                }
                Verdict::CantTell(_) => drop(told[2].fetch_add(1, Ordering::Relaxed)),
            }
        },
    );
    let [safe, breaking, unknown] = told.map(AtomicU64::into_inner);
    let all = safe + breaking + unknown;
    if all > 1 {
        assert!(
            safe * 10 > all && breaking * 5 > all,
            "{safe} safe, {breaking} breaking, {unknown} not told"
        );
    }
}

#[test]
fn data_is_valid_where_another_implementation_says_so() {
    let told = [const { AtomicU64::new(0) }; 2];
    cases(
        "contract_checks",
        Scale {
            short: 2_000,
            long: 1_000_000,
        },
        |seed| {
            let dice = &mut Dice::new(seed);
            let json = random::schema(dice, 3);
            let side = Side::new(&json);
            for at in 0..TRIED {
                let data = if at % 2 == 0 {
                    random::data(dice, 3)
                } else {
                    random::fitting(dice, &json, 4)
                };
                let bytes = crate::ingest::message_pack::from_json(data.to_string().as_bytes()).unwrap();
                let valid = side.other.is_valid(&data);
                let checked = side.mine.check(&bytes);
                assert_ne!(checked, Checked::CantTell, "{json} and {data}");
                assert_eq!(checked == Checked::Valid, valid, "{json} and {data}");
                told[usize::from(valid)].fetch_add(1, Ordering::Relaxed);
            }
        },
    );
    let [invalid, valid] = told.map(AtomicU64::into_inner);
    assert!(
        valid * 10 > invalid && invalid * 10 > valid,
        "{valid} valid, {invalid} not"
    );
}
