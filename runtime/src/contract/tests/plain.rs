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
