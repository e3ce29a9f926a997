//! How often things happen: `analytics` counts every event of the shop by its type.
//!
//! It subscribes to patterns, so that events of plugins that are written next year are counted too.

use nerve_sdk::prelude::*;

struct Analytics;

#[plugin(readable("count/"))]
impl Analytics {
    #[on(">")]
    fn count(ctx: &mut Context<Self>, event: RawEvent) -> Result<(), Failure> {
        ctx.state()
            .update(&format!("count/{}", event.event_type()), |count: &mut u64| *count += 1)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! What `analytics` promises.

    use nerve_sdk::testing::Host;

    use super::*;

    #[test]
    fn every_event_is_counted_by_its_type() {
        let mut host = Host::<Analytics>::new();
        for event_type in ["user.registered", "order.placed", "user.registered"] {
            host.deliver_as(event_type, &()).expect_done();
        }
        assert_eq!(host.state::<u64>("count/user.registered"), Some(2));
        assert_eq!(host.state::<u64>("count/order.placed"), Some(1));
    }
}
