//! An order that is not paid in time, and all that happened, seen from above: its trace, who emits and who consumes what,
//! and what the doctor says of it.

use anyhow::ensure;
use serde_json::Value;

use super::orders;
use super::stage::Stage;
use crate::cli::Done;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter(
        "(k) One order is not paid in time. The operator asks what became of it, who emits and who consumes what, and \
         whether anything is wrong with it.",
    );
    orders::tell_late(stage)?;
    let asked = ["trace", "--where", "data.order=late-0"];
    let trace = run(stage, &asked)?;
    stage.say(&format!("\n$ nerve {}\n{trace}", asked.join(" ")));
    let steps = [
        "cart.checked_out",
        "payment.timed_out",
        "order.cancelled",
        "payment.refunded",
    ];
    stage.claim(
        steps.iter().all(|step| trace.contains(step)),
        "the trace shows the whole saga, from the cart through the timer to the money that came back",
    )?;
    let map = run(stage, &["map"])?;
    stage.say(&format!("\n$ nerve map\n{map}"));
    let map: Value = serde_json::from_str(&run(stage, &["map", "--output", "json"])?)?;
    let placed = of(&map["types"], "name", "order.placed");
    let (emitters, consumers) = (&placed["emitted_by"], &placed["consumed_by"]);
    stage.claim(
        emitters[0]["plugin"] == "carts"
            && emitters[0]["events"].as_u64() > Some(0)
            && of(consumers, "plugin", "orders")["attempts"].as_u64() > Some(0),
        "the map has what plugins declare and what the log shows: carts emits order.placed, and orders gets it",
    )?;
    stage.claim(
        map["findings"]["undeclared"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "nobody emits what it does not declare",
    )?;

    let report = run(stage, &["doctor"])?;
    stage.say(&format!("\n$ nerve doctor\n{report}"));
    let report: Value = serde_json::from_str(&run(stage, &["doctor", "--output", "json"])?)?;
    let asks = of(&report["findings"], "symptom", "request-answer");
    stage.claim(
        asks["plugins"][0] == "orders",
        "the doctor sees that orders asks and waits for answers, and says what to do where that is not the business",
    )?;
    let none = ["deployed-together", "domino", "cycle"];
    stage.claim(
        none.iter()
            .all(|symptom| of(&report["findings"], "symptom", symptom).is_null()),
        "nothing is deployed together, falls together or goes round",
    )
}

/// What a command of `nerve` prints.
fn run(stage: &Stage, args: &[&str]) -> anyhow::Result<String> {
    let output = stage.nerve(args)?;
    ensure!(
        output.status.success(),
        "nerve {args:?} fails: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The member of a list whose `key` is `is`; null where there is none.
fn of<'a>(list: &'a Value, key: &str, is: &str) -> &'a Value {
    let found = list
        .as_array()
        .and_then(|all| all.iter().find(|one| one[key] == is));
    found.unwrap_or(&Value::Null)
}
