//! What is known by a value's first bytes is what the whole check says of it.

use nerve_eventlog::proof::Dice;
use serde_json::json;

use super::random;
use crate::contract::{Checked, Schema};
use crate::ingest::message_pack;

#[test]
fn what_is_known_by_the_first_bytes_is_what_the_whole_check_says() {
    let mut known = 0;
    for seed in 0..4000 {
        let dice = &mut Dice::new(seed);
        let text = random::schema(dice, 2).to_string();
        let quick: Schema = text.parse().unwrap();
        let mut whole: Schema = text.parse().unwrap();
        for node in &mut whole.nodes {
            known += u32::from(node.plain.take().is_some());
        }
        for _ in 0..20 {
            let data = message_pack::from_json(random::data(dice, 2).to_string().as_bytes()).unwrap();
            let data = &data[..data.len() - usize::from(dice.one_in(9))];
            assert_eq!(quick.check(data), whole.check(data), "{text}, {data:x?}");
        }
    }
    assert!(known > 1000, "{known}");
}

#[test]
fn what_is_plainly_taken_is_taken_by_whole_checks_too() {
    let mut taken = 0;
    for seed in 0..4000 {
        let dice = &mut Dice::new(seed);
        let text = random::schema(dice, 2).to_string();
        let schema: Schema = text.parse().unwrap();
        for _ in 0..30 {
            let json = random::data(dice, 2).to_string();
            let mut data = message_pack::from_json(json.as_bytes()).unwrap();
            for _ in 0..dice.below(3) {
                let place = dice.place(data.len());
                data[place] = u8::try_from(dice.below(256)).unwrap();
            }
            if schema.plainly_takes(&data) {
                taken += 1;
                message_pack::check(&data).unwrap_or_else(|cause| panic!("{text}, {data:x?}: {cause}"));
                assert_eq!(schema.check(&data), Checked::Valid, "{text}, {data:x?}");
            }
        }
    }
    assert!(taken > 1000, "{taken}");
}

#[test]
fn records_of_plain_values_are_plainly_taken_and_what_is_wrong_with_them_is_not() {
    let nested = json!({ "type": "object", "properties": { "n": { "type": ["integer", "null"] } } });
    let schema = json!({
        "type": "object",
        "properties": { "id": { "type": "integer", "minimum": 1 }, "user": { "type": "string" }, "of": nested },
        "required": ["id"],
        "additionalProperties": false,
    });
    let schema: Schema = schema.to_string().parse().unwrap();
    let packed = |json: &str| message_pack::from_json(json.as_bytes()).unwrap();
    let user = "ü".repeat(40);
    for whole in [
        json!({ "id": 1 }),
        json!({ "id": 70_000, "user": user, "of": { "n": null } }),
        json!({ "of": { "n": 0 }, "id": u64::MAX }),
    ] {
        let data = packed(&whole.to_string());
        assert!(schema.plainly_takes(&data), "{whole}");
        assert!((0..data.len()).all(|end| !schema.plainly_takes(&data[..end])));
        assert!(
            !schema.plainly_takes(&[&data[..], &[0xc0]].concat()),
            "bytes follow it"
        );
    }
    for other in [
        json!({ "id": 0 }),
        json!({ "user": "a" }),
        json!({ "id": 1, "more": 1 }),
        json!({ "id": "1" }),
        json!({ "id": 1, "of": { "n": "x" } }),
        json!([]),
        json!(1),
    ] {
        assert!(!schema.plainly_takes(&packed(&other.to_string())), "{other}");
    }
    let twice = [&[0x83][..], b"\xa2id\x01\xa4user\xa1a\xa4user\xa1a"].concat();
    let no_text = [&[0x82][..], b"\xa2id\x01\xa4user\xa1\xff"].concat();
    assert!(!schema.plainly_takes(&twice) && !schema.plainly_takes(&no_text));
}

#[test]
fn bounds_hold_at_both_ends_of_what_a_number_may_be() {
    let bounds = [i64::MIN, -1, 0, 1, 127, 128, 255, 256, 65_536, 1 << 32, i64::MAX];
    let numbers: Vec<_> = bounds.iter().map(|n| json!(n)).chain([json!(u64::MAX)]).collect();
    for least in &bounds {
        for most in &bounds {
            let schema = json!({ "type": ["integer", "null"], "minimum": least, "maximum": most });
            let schema: Schema = schema.to_string().parse().unwrap();
            for number in &numbers {
                let data = message_pack::from_json(number.to_string().as_bytes()).unwrap();
                let admitted = schema.check(&data) == Checked::Valid;
                let is_within = number.as_u64().map_or_else(
                    || (*least..=*most).contains(&number.as_i64().unwrap()),
                    |number| (i128::from(*least)..=i128::from(*most)).contains(&number.into()),
                );
                assert_eq!(admitted, is_within, "{least} to {most}, {number}");
            }
        }
    }
}
