//! What `carts` promises.

use nerve_sdk::testing::Host;

use super::*;

fn add(host: &mut Host<Carts>, product: &str, count: u64) {
    host.deliver(&ItemAdded {
        user: "ada".into(),
        product: product.into(),
        count,
        cents: 100,
    })
    .expect_done();
}

fn check_out() -> CheckedOut {
    CheckedOut {
        user: "ada".into(),
        order: "o-1".into(),
    }
}

#[test]
fn a_checkout_makes_an_order_of_the_cart_and_empties_it() {
    let mut host = Host::<Carts>::new();
    add(&mut host, "desk", 1);
    add(&mut host, "chair", 2);
    add(&mut host, "chair", 2);
    let outcome = host.deliver(&check_out());
    let line = |product: &str, count| Line {
        product: product.into(),
        count,
    };
    assert_eq!(
        outcome.expect_done().emitted::<OrderPlaced>(),
        [OrderPlaced {
            order: "o-1".into(),
            user: "ada".into(),
            lines: vec![line("chair", 4), line("desk", 1)],
            cents: 500,
        }]
    );
    assert_eq!(host.state::<Cart>("cart/ada"), None);
}

#[test]
fn an_empty_cart_can_not_be_bought() {
    let outcome = Host::<Carts>::new().deliver(&check_out());
    assert_eq!(outcome.expect_failure().reason(), "the cart of ada is empty");
}

#[test]
fn a_price_beyond_all_numbers_is_rejected() {
    let outcome = Host::<Carts>::new().deliver(&ItemAdded {
        user: "eve".into(),
        product: "desk".into(),
        count: u64::MAX,
        cents: 2,
    });
    assert_eq!(outcome.expect_failure().reason(), "nobody can pay for so much");
}
