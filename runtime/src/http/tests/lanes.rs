//! A plugin in several lanes, on threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use serde_json::json;

use super::bed::{Bed, Script, event};
use crate::delivery::handler::Handled;

/// Meets as many others as `barrier` waits for, in each delivery.
fn meets(barrier: &Arc<Barrier>, ran: &Arc<AtomicUsize>) -> Script {
    let (barrier, ran) = (barrier.clone(), ran.clone());
    Arc::new(move |_| {
        barrier.wait();
        ran.fetch_add(1, Ordering::Relaxed);
        Handled::default()
    })
}

#[tokio::test]
async fn a_plugin_handles_as_many_events_at_once_as_it_has_lanes_after_a_swap_too() {
    let (bed, ran) = (Bed::new(), Arc::new(AtomicUsize::new(0)));
    for lanes in [3, 5, 1] {
        bed.deploy_in("p", "in.x", lanes, meets(&Arc::new(Barrier::new(lanes)), &ran));
        let mut last = 0;
        for n in 0..lanes * 20 {
            last = bed.publish(&event(&format!("{lanes}-{n}"), "in.x")).await;
        }
        // It is settled only when so many were handled at once, again and again.
        bed.settled("p", last).await;
        let shown = bed.get("/v1/plugins/p").await.ok();
        assert_eq!((&shown["lanes"], &shown["lag"]), (&json!(lanes), &json!(0)));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 9 * 20);
    bed.host.stop().await.unwrap();
}
