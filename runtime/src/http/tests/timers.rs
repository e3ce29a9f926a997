//! Timers as the API shows them.

use std::sync::Arc;

use nerve_eventlog::Micros;
use serde_json::json;

use super::bed::{Bed, event};
use crate::delivery::handler::{Emit, Handled, SetTimer};

#[tokio::test(flavor = "multi_thread")]
async fn timers_are_listed_by_when_they_fire_and_in_pages() {
    let bed = Bed::new();
    bed.deploy(
        "orders",
        "order.placed",
        Arc::new(|delivery| {
            let mut handled = Handled::default();
            let hour = 3_600_000_000;
            for (name, hours) in [("late", 3), ("early", 1), ("between", 2)] {
                let set = SetTimer {
                    due: Micros(delivery.started.0 + hours * hour),
                    emit: Emit {
                        r#type: "order.expired".into(),
                        key: Some("o1".into()),
                        subject: None,
                        content_type: None,
                        data: vec![0xc0],
                    },
                };
                handled.effects.timers.push((name.into(), Some(set)));
            }
            handled
        }),
    );
    let placed = bed.publish(&event("o1", "order.placed")).await;
    bed.settled("orders", placed).await;
    let page = bed.get("/v1/plugins/orders/timers?limit=2").await.ok();
    let names = |page: &serde_json::Value| -> Vec<String> {
        let timers = page["timers"].as_array().unwrap().iter();
        timers
            .map(|timer| timer["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&page), ["early", "between"]);
    assert_eq!(page["next"], 2);
    let first = &page["timers"][0];
    assert_eq!(
        (&first["type"], &first["key"], &first["set_at"]),
        (&json!("order.expired"), &json!("o1"), &json!(placed + 1))
    );
    let rest = bed.get("/v1/plugins/orders/timers?limit=2&after=2").await.ok();
    assert_eq!(
        (names(&rest), &rest["next"]),
        (vec!["late".to_owned()], &json!(null))
    );
    bed.get("/v1/plugins/nobody/timers")
        .await
        .problem(404, "plugin-not-found");
}
