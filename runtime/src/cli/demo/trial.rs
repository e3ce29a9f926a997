//! A version of shipping with another fee is tried on real events before it goes live.

use serde_json::{Value, json};

use super::stage::{Stage, event};
use crate::cli::Done;

/// People who register, and on whose events the version is tried.
const PEOPLE: usize = 1000;

/// Every so many of them live abroad.
const ABROAD: usize = 4;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter(&format!(
        "(h) A version of shipping is tried on the last {PEOPLE} events before it goes live."
    ));
    let people: Vec<Value> = (0..PEOPLE)
        .map(|n| {
            let user = format!("settler-{n}");
            let country = if n % ABROAD == 0 { "NZ" } else { "GB" };
            let address =
                json!({ "street": format!("Main street {n}"), "city": "Somewhere", "country": country });
            let data = json!({ "user": user, "email": format!("{user}@shop.example"), "name": user, "address": address });
            event(
                "user.registered",
                &format!("registration-of-{user}"),
                &user,
                &data,
            )
        })
        .collect();
    let last = stage.publish_all(&people)?;
    stage.state("shipping", "cost/settler-0", last)?;
    let before = settled(stage)?;

    let file = stage.built_file("dearer/shipping.wasm");
    let file = file.display().to_string();
    let args = ["plugin", "check", &file, "--against", &format!("last:{PEOPLE}")];
    let told = stage.nerve(&args)?;
    stage.say(&format!(
        "\n$ nerve {}\n{}",
        args.join(" "),
        String::from_utf8_lossy(&told.stdout)
    ));
    let found = stage.nerve(&[&args[..], &["--output", "json"]].concat())?;
    let found: Value = serde_json::from_slice(&found.stdout)?;
    let at_home = (PEOPLE - PEOPLE / ABROAD) as u64;
    stage.claim(
        told.status.code() == Some(4) && found["report"]["differ"] == at_home,
        &format!("the {at_home} parcels that stay in the country would cost more, and nothing else differs"),
    )?;
    stage.claim(
        found["report"]["reproduced"]["same"] == PEOPLE as u64,
        "beside it the running version came to what the log says, every time",
    )?;
    stage.claim(
        settled(stage)? == before,
        "the trial settled nothing: what is live, and all that it ever did, is what it was",
    )
}

/// The version of shipping that is live, and what it has settled.
fn settled(stage: &Stage) -> anyhow::Result<[Value; 3]> {
    let shipping = stage.plugin("shipping")?;
    Ok(["version", "cursor", "counters"].map(|what| shipping[what].clone()))
}
