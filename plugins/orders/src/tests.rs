//! What `orders` promises.

use nerve_sdk::testing::Host;

use super::*;

/// A host with an order of a desk and two chairs.
fn placed() -> Host<Orders> {
    let mut host = Host::<Orders>::new();
    let line = |product: &str, count| Line {
        product: product.into(),
        count,
    };
    let outcome = host.deliver(&OrderPlaced {
        order: "o-1".into(),
        user: "ada".into(),
        lines: vec![line("desk", 1), line("chair", 2)],
        cents: 700,
    });
    assert_eq!(outcome.expect_done().emitted::<StockWanted>().len(), 2);
    host
}

fn reserve(host: &mut Host<Orders>, product: &str) -> nerve_sdk::testing::Outcome {
    host.deliver(&StockReserved {
        order: "o-1".into(),
        product: product.into(),
    })
}

/// The same, with everything reserved.
fn paying() -> Host<Orders> {
    let mut host = placed();
    let outcome = reserve(&mut host, "desk");
    assert!(
        outcome.expect_done().emitted.is_empty(),
        "the chairs are not there yet"
    );
    let outcome = reserve(&mut host, "chair");
    assert_eq!(outcome.expect_done().emitted::<PaymentWanted>()[0].order, "o-1");
    assert_eq!(host.state::<Order>("order/o-1").unwrap().cents, 700);
    host
}

fn step(host: &Host<Orders>) -> Step {
    host.state::<Order>("order/o-1").unwrap().step
}

fn received() -> PaymentReceived {
    PaymentReceived { order: "o-1".into() }
}

#[test]
fn a_paid_order_is_confirmed_and_its_timer_is_cancelled() {
    let mut host = paying();
    assert!(host.timers().contains_key("payment/o-1"));
    let outcome = host.deliver(&received());
    assert_eq!(
        outcome.expect_done().emitted::<OrderConfirmed>()[0].lines.len(),
        2
    );
    assert!(host.timers().is_empty());
    assert_eq!(step(&host), Step::Confirmed);
}

#[test]
fn a_payment_that_takes_too_long_cancels_the_order_and_releases_the_stock() {
    let mut host = paying();
    let outcome = host.fire("payment/o-1");
    let released = outcome.expect_done().emitted::<StockReleased>();
    assert_eq!(
        released
            .iter()
            .map(|one| (&*one.product, one.count))
            .collect::<Vec<_>>(),
        [("desk", 1), ("chair", 2)]
    );
    assert_eq!(
        outcome.emitted::<OrderCancelled>()[0].reason,
        "the payment took too long"
    );
    assert_eq!(step(&host), Step::Cancelled);
    let outcome = host.deliver(&received());
    assert_eq!(
        outcome.expect_done().emitted::<RefundWanted>().len(),
        1,
        "money that comes later goes back"
    );
}

#[test]
fn a_declined_payment_cancels_the_order() {
    let mut host = paying();
    let outcome = host.deliver(&PaymentDeclined {
        order: "o-1".into(),
        reason: "no".into(),
    });
    assert_eq!(outcome.expect_done().emitted::<StockReleased>().len(), 2);
    assert!(host.timers().is_empty());
}

#[test]
fn what_is_short_cancels_the_order_and_what_is_reserved_later_goes_back() {
    let mut host = placed();
    let outcome = host.deliver(&StockShort {
        order: "o-1".into(),
        product: "desk".into(),
    });
    assert_eq!(
        outcome.expect_done().emitted::<OrderCancelled>()[0].reason,
        "there is too little of desk"
    );
    assert!(outcome.emitted::<StockReleased>().is_empty());
    let outcome = reserve(&mut host, "chair");
    assert_eq!(outcome.expect_done().emitted::<StockReleased>()[0].count, 2);
    assert!(host.timers().is_empty());
}

#[test]
fn an_order_is_placed_once() {
    let mut host = placed();
    let outcome = host.deliver(&OrderPlaced {
        order: "o-1".into(),
        user: "eve".into(),
        lines: vec![],
        cents: 0,
    });
    assert_eq!(outcome.expect_failure().reason(), "o-1 was placed before");
}
