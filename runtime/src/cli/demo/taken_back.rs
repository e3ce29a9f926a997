//! A version that traps is taken back by the host itself: no event is lost, doubled or out of order.

use serde_json::{Value, json};

use super::stage::Stage;
use crate::cli::Done;

/// Views of each user.
const VIEWS: u32 = 20;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(c2) The faulty version is deployed again, and this time it is on probation, as every new version is.");
    let good = stage.plugin("recommendations")?["version"].clone();
    let component = stage.built("broken/recommendations.wasm")?;
    let deployed = stage.api().put(
        "/v1/plugins/recommendations?settings=",
        "application/wasm",
        &component,
    )?;
    stage.claim(
        deployed["deployed"] == "live" && deployed["probation"]["before"] == good,
        "`nerve plugin deploy` puts it live, and the version before stays at hand",
    )?;
    let faulty = deployed["version"].clone();
    let (mut mallorys, mut last) = (Vec::new(), 0);
    for n in 0..VIEWS {
        view(stage, "dave", n)?;
        last = view(stage, "mallory", n)?;
        mallorys.push(last);
    }
    stage.until("the version before is live again", |stage| {
        Ok(stage.plugin("recommendations")?["version"] == good)
    })?;
    let versions = stage.api().get("/v1/plugins/recommendations/versions")?;
    let fell = versions["versions"].as_array().into_iter().flatten();
    let fell = fell.filter(|version| version["version"] == faulty);
    let back = fell
        .map(|version| version["rolled_back"].clone())
        .next()
        .unwrap_or_default();
    stage.claim(
        back["by"] == "probation",
        &format!(
            "the host took it back by itself: {}",
            back["why"].as_str().unwrap_or_default()
        ),
    )?;
    let mallory = stage.state("recommendations", "recommended/mallory", last)?;
    let dave = stage.state("recommendations", "recommended/dave", last)?;
    stage.claim(
        (mallory["views"].as_u64(), dave["views"].as_u64())
            == (Some(3 + u64::from(VIEWS)), Some(VIEWS.into())),
        "every view is counted, once: those that it failed too",
    )?;
    let mut done = Vec::new();
    for offset in &mallorys {
        let deliveries = stage.deliveries(*offset)?;
        let of_it = deliveries.iter().filter(|one| one["plugin"] == "recommendations");
        let ended: Vec<&Value> = of_it.filter(|one| one["verdict"] == "done").collect();
        done.extend(ended.iter().filter_map(|one| one["offset"].as_u64()));
    }
    stage.claim(
        done.len() == mallorys.len() && done.is_sorted(),
        "Mallory's events were settled in their order",
    )?;
    let plugin = stage.plugin("recommendations")?;
    stage.claim(plugin["dead_letters"] == 0, "and none of them was given up")
}

fn view(stage: &Stage, user: &str, n: u32) -> anyhow::Result<u64> {
    let data = json!({ "user": user, "product": format!("product-{n}") });
    stage.publish("product.viewed", &format!("again-{user}-{n}"), user, &data)
}
