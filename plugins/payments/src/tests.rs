//! What `payments` promises.

use nerve_sdk::testing::Host;

use super::*;

fn wanted(cents: u64) -> PaymentWanted {
    PaymentWanted {
        order: "o-1".into(),
        user: "ada".into(),
        cents,
    }
}

#[test]
fn what_the_provider_takes_is_received_and_what_it_declines_is_said() {
    let mut host = Host::<Payments>::new().config("declines_above", "500");
    let outcome = host.deliver(&wanted(500));
    let order = "o-1".to_owned();
    assert_eq!(
        outcome.expect_done().emitted::<PaymentReceived>(),
        [PaymentReceived { order }]
    );
    let outcome = host.deliver(&wanted(501));
    assert_eq!(outcome.expect_done().emitted::<PaymentDeclined>().len(), 1);
    assert_eq!(host.state("paid/o-1"), Some(500_u64));
}

#[test]
fn a_provider_that_is_down_costs_no_payment() {
    let mut host = Host::<Payments>::new().config("provider", "down");
    let outcome = host.deliver(&wanted(1));
    assert_eq!(
        outcome.expect_failure(),
        &Failure::retry("the payment provider does not answer")
    );
}

#[test]
fn money_goes_back_once() {
    let mut host = Host::<Payments>::new();
    host.deliver(&wanted(7)).expect_done();
    let refund = || RefundWanted { order: "o-1".into() };
    let outcome = host.deliver(&refund());
    assert_eq!(outcome.expect_done().emitted::<PaymentRefunded>()[0].cents, 7);
    let outcome = host.deliver(&refund());
    assert!(outcome.expect_done().emitted.is_empty());
}
