//! What `payments` promises.

use nerve_sdk::testing::{Host, Outcome};

use super::*;

const ORDER: &str = "o-1";

fn placed(cents: u64) -> OrderPlaced {
    OrderPlaced {
        order: ORDER.into(),
        user: "ada".into(),
        cents,
    }
}

/// An order of so many cents is placed, and to be paid.
fn pay(host: &mut Host<Payments>, cents: u64) -> Outcome {
    host.deliver(&placed(cents)).expect_done();
    host.deliver(&PaymentWanted { order: ORDER.into() })
}

#[test]
fn what_the_provider_takes_is_received_and_what_it_declines_is_said() {
    let mut host = Host::<Payments>::new().config("declines_above", "500");
    let outcome = pay(&mut host, 500);
    let order = ORDER.to_owned();
    assert_eq!(
        outcome.expect_done().emitted::<PaymentReceived>(),
        [PaymentReceived { order }]
    );
    let outcome = pay(&mut host, 501);
    assert_eq!(outcome.expect_done().emitted::<PaymentDeclined>().len(), 1);
    assert_eq!(host.state("paid/o-1"), Some(500_u64));
    assert_eq!(host.state::<Due>("due/o-1"), None, "either way nothing is due");
}

#[test]
fn a_provider_that_is_down_costs_no_payment() {
    let mut host = Host::<Payments>::new().config("provider", "down");
    let down = Failure::retry("the payment provider does not answer");
    let outcome = host.deliver(&placed(1));
    assert_eq!(outcome.expect_failure(), &down);
    let outcome = host.deliver(&PaymentWanted { order: ORDER.into() });
    assert_eq!(
        outcome.expect_failure(),
        &down,
        "it is no payment that nobody knows of"
    );
}

#[test]
fn of_an_order_that_is_cancelled_nothing_is_due() {
    let mut host = Host::<Payments>::new();
    host.deliver(&placed(7)).expect_done();
    host.deliver(&OrderCancelled { order: ORDER.into() })
        .expect_done();
    let outcome = host.deliver(&PaymentWanted { order: ORDER.into() });
    assert_eq!(outcome.expect_failure().reason(), "no payment is due for o-1");
}

#[test]
fn money_goes_back_once() {
    let mut host = Host::<Payments>::new();
    pay(&mut host, 7).expect_done();
    let refund = || RefundWanted { order: ORDER.into() };
    let outcome = host.deliver(&refund());
    assert_eq!(outcome.expect_done().emitted::<PaymentRefunded>()[0].cents, 7);
    let outcome = host.deliver(&refund());
    assert!(outcome.expect_done().emitted.is_empty());
}
