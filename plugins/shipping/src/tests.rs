//! What `shipping` promises.

use nerve_sdk::testing::Host;

use super::*;

fn registered(country: &str) -> UserRegistered {
    UserRegistered {
        user: "ada".into(),
        address: Address {
            country: country.into(),
        },
    }
}

fn moved(country: &str) -> AddressChanged {
    AddressChanged {
        user: "ada".into(),
        address: Address {
            country: country.into(),
        },
    }
}

#[test]
fn costs_follow_the_address() {
    let mut host = Host::<Shipping>::new();
    host.deliver(&registered("GB")).expect_done();
    let outcome = host.deliver(&moved("FR"));
    let changed = outcome.expect_done().emitted::<CostChanged>();
    assert_eq!(
        changed,
        [CostChanged {
            user: "ada".into(),
            cents: ABROAD_CENTS
        }]
    );
    assert_eq!(
        host.state("cost/ada"),
        Some(Cost {
            cents: ABROAD_CENTS,
            computed: 2
        })
    );
}

#[test]
fn a_move_at_the_same_cost_is_computed_but_not_announced() {
    let mut host = Host::<Shipping>::new();
    host.deliver(&registered("FR")).expect_done();
    let outcome = host.deliver(&moved("DE"));
    assert!(outcome.expect_done().emitted.is_empty());
    assert_eq!(
        host.state("cost/ada"),
        Some(Cost {
            cents: ABROAD_CENTS,
            computed: 2
        })
    );
}

#[test]
fn the_operator_sets_the_prices() {
    let mut host = Host::<Shipping>::new()
        .config("home", "FR")
        .config("home_cents", "100");
    host.deliver(&registered("FR")).expect_done();
    assert_eq!(
        host.state("cost/ada"),
        Some(Cost {
            cents: 100,
            computed: 1
        })
    );
}

#[test]
fn a_wrong_price_is_tried_again_until_it_is_mended() {
    let mut host = Host::<Shipping>::new().config("home_cents", "cheap");
    let outcome = host.deliver(&registered("GB"));
    assert!(matches!(outcome.expect_failure(), Failure::Retry { .. }));
    assert!(host.state_keys().is_empty());
}

#[test]
fn a_paid_order_is_sent() {
    let mut host = Host::<Shipping>::new();
    let (order, user) = ("o-1".to_owned(), "ada".to_owned());
    let outcome = host.deliver(&OrderConfirmed {
        order: order.clone(),
        user: user.clone(),
    });
    assert_eq!(
        outcome.expect_done().emitted::<ParcelSent>(),
        [ParcelSent { order, user }]
    );
}
