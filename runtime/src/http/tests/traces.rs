//! Causal trees by what is said of their events.

use std::sync::Arc;

use serde_json::{Value, json};

use super::bed::{Bed, event};
use crate::delivery::handler::{Emit, Handled};

/// `orders` emits an event about the order for each that is placed. Answers the offset of the first of these, too.
async fn shop() -> (Bed, u64) {
    let bed = Bed::new();
    bed.deploy(
        "orders",
        "order.placed",
        Arc::new(|delivery| {
            let mut handled = Handled::default();
            handled.effects.emits.push(Emit {
                r#type: "payment.wanted".into(),
                key: delivery.event.key.map(Into::into),
                subject: None,
                content_type: None,
                data: delivery.event.data.to_vec(),
            });
            handled
        }),
    );
    let mut offsets = Vec::new();
    for (id, order, cents) in [("a", "o-1", 5), ("b", "o-2", 7), ("c", "o-1", 9)] {
        let mut placed = event(id, "order.placed");
        placed["partitionkey"] = order.into();
        placed["data"] = json!({ "order": order, "paid": { "cents": cents, "now": cents > 6 } });
        offsets.push(bed.publish(&placed).await);
    }
    bed.settled("orders", offsets[2]).await;
    (bed, offsets[0])
}

async fn found(bed: &Bed, query: &str) -> String {
    let answer = bed.get(&format!("/v1/traces?{query}")).await.ok();
    let each = answer["traces"].as_array().unwrap().iter();
    let text = |one: &Value| {
        format!(
            "{} {}",
            one["root"]["event"]["id"].as_str().unwrap(),
            one["found"]
        )
    };
    each.map(text).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_found_by_any_attribute_or_place_in_the_data_of_any_of_its_events() {
    let (bed, first) = shop().await;
    assert_eq!(found(&bed, "where=key=o-1").await, "c 2, a 2");
    assert_eq!(found(&bed, "where=data.order=o-2").await, "b 2");
    assert_eq!(found(&bed, "where=data.paid.cents=9").await, "c 2");
    assert_eq!(found(&bed, "where=data.paid.now=false").await, "a 2");
    assert_eq!(
        found(&bed, "where=key=o-1&where=type=payment.wanted").await,
        "c 1, a 1"
    );
    assert_eq!(found(&bed, "where=source=nerve:orders&limit=1").await, "c 1");
    assert_eq!(
        found(&bed, &format!("where=key=o-1&before={}", first + 1)).await,
        "a 1",
        "its second event came later"
    );
    assert_eq!(found(&bed, "where=key=o-3").await, "");
    assert_eq!(
        found(&bed, "where=data.paid=o-1").await,
        "",
        "a value is compared as a whole"
    );
}

#[tokio::test]
async fn what_can_not_be_asked_for_is_refused_with_an_example() {
    let bed = Bed::new();
    for query in [
        "",
        "where=key",
        "where==o-1",
        "where=data=1",
        "where=data.=1&x=1",
        "limit=10",
        "where=key=1&limit=x",
        "other=1&where=key=1",
    ] {
        let problem = bed
            .get(&format!("/v1/traces?{query}"))
            .await
            .problem(400, "query-invalid");
        assert!(
            problem["detail"].as_str().unwrap().len() > 20,
            "{query}: {problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_trees_leave_none_out() {
    let (bed, _) = shop().await;
    let mut seen = Vec::new();
    let mut query = "where=type=payment.wanted&limit=1".to_owned();
    loop {
        let answer = bed.get(&format!("/v1/traces?{query}")).await.ok();
        let each = answer["traces"].as_array().unwrap().iter();
        seen.extend(each.map(|one| one["root"]["event"]["id"].as_str().unwrap().to_owned()));
        let Some(next) = answer["next"].as_u64() else {
            break;
        };
        query = format!("where=type=payment.wanted&limit=1&before={next}");
    }
    assert_eq!(seen, ["c", "b", "a"]);
}
