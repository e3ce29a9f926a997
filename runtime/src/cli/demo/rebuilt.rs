//! Analytics is rebuilt from the start of the log, while events flow and its counts are read.

use serde_json::{Value, json};

use super::stage::{Stage, event};
use crate::cli::Done;

/// Events that are published meanwhile, at a time.
const AT_A_TIME: usize = 20;

/// What is counted.
const KIND: &str = "page.viewed";

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(j) Analytics is rebuilt from the start of the log, while events flow.");
    let offset = views(stage, 0)?;
    let before = count(stage, offset)?;
    let trouble = stage.plugin("analytics")?["dead_letters"].clone();
    let begun = stage.api().post(
        "/v1/plugins/analytics/rewind?to=start&fresh=true&mute=emit,http",
        "application/json",
        b"",
    )?;
    let history = begun["rewind"]["through"].as_u64().unwrap_or_default();
    stage.say(&format!(
        "  $ nerve plugin rewind analytics --to start --fresh --mute emit,http   (history up to offset {history})"
    ));
    let (mut last, mut published, mut read, mut seen) = (offset, 1, before, 0);
    stage.until("the rebuilt state takes the place of the old one", |stage| {
        last = views(stage, published)?;
        published += 1;
        let now = count(stage, last)?;
        if now != read + AT_A_TIME as u64 {
            anyhow::bail!("this does not hold: each view is counted once: {now} follows {read}");
        }
        read = now;
        let rewind = stage.plugin("analytics")?["rewind"].take();
        seen += usize::from(rewind.is_object());
        Ok(rewind.is_null())
    })?;
    stage.claim(
        read == before + (AT_A_TIME * (published - 1)) as u64,
        &format!(
            "{} views came meanwhile, each was counted at once, and no reader ever saw a gap",
            AT_A_TIME * (published - 1)
        ),
    )?;
    for kind in [KIND, "user.registered", "address.changed"] {
        let counted = stage.state("analytics", &format!("count/{kind}"), last)?;
        let events = stage.events(kind)?.len() as u64;
        stage.claim(
            counted == events,
            &format!("the rebuilt count of {kind} is the number of these events in the log: {events}"),
        )?;
    }
    let first = stage.events("user.registered")?;
    let first = first
        .first()
        .and_then(|one| one["offset"].as_u64())
        .unwrap_or_default();
    let replays = stage.deliveries(first)?;
    let replays = replays
        .iter()
        .filter(|one| one["plugin"] == "analytics" && one["rewind"]["fresh"] == true)
        .count();
    stage.claim(
        replays == 1,
        "the trace of the first registration shows its second delivery, as a replay",
    )?;
    let now = stage.plugin("analytics")?["dead_letters"].clone();
    stage.claim(now == trouble, "and nothing came of it but the counts")
}

/// Publish some views; the last one's offset.
fn views(stage: &Stage, turn: usize) -> anyhow::Result<u64> {
    let views: Vec<Value> = (0..AT_A_TIME)
        .map(|n| {
            event(
                KIND,
                &format!("view-{turn}-{n}"),
                &format!("page-{n}"),
                &json!({ "page": n }),
            )
        })
        .collect();
    stage.publish_all(&views)
}

fn count(stage: &Stage, offset: u64) -> anyhow::Result<u64> {
    let count = stage.state("analytics", &format!("count/{KIND}"), offset)?;
    Ok(count.as_u64().unwrap_or_default())
}
