//! What `inventory` promises.

use nerve_sdk::testing::Host;

use super::*;

fn order(count: u64) -> StockWanted {
    StockWanted {
        order: "o-1".into(),
        product: "desk".into(),
        count,
    }
}

fn stocked(count: u64) -> Host<Inventory> {
    let mut host = Host::new();
    host.deliver(&StockReceived {
        product: "desk".into(),
        count,
    })
    .expect_done();
    host
}

#[test]
fn an_order_reserves_what_is_there() {
    let mut host = stocked(5);
    let outcome = host.deliver(&order(2));
    let reserved = outcome.expect_done().emitted::<StockReserved>();
    assert_eq!(
        reserved,
        [StockReserved {
            order: "o-1".into(),
            product: "desk".into(),
            count: 2
        }]
    );
    assert_eq!(
        host.state("stock/desk"),
        Some(Stock {
            available: 3,
            reserved: 2
        })
    );
}

#[test]
fn an_order_beyond_the_stock_reserves_nothing_and_says_what_is_missing() {
    let mut host = stocked(5);
    let outcome = host.deliver(&order(7));
    let short = outcome.expect_done().emitted::<StockShort>();
    assert_eq!(
        short,
        [StockShort {
            order: "o-1".into(),
            product: "desk".into(),
            missing: 2
        }]
    );
    assert_eq!(
        host.state("stock/desk"),
        Some(Stock {
            available: 5,
            reserved: 0
        })
    );
}

#[test]
fn an_absurd_delivery_is_rejected_instead_of_wrapping_around() {
    let mut host = stocked(5);
    let outcome = host.deliver(&StockReceived {
        product: "desk".into(),
        count: u64::MAX,
    });
    assert!(matches!(outcome.expect_failure(), Failure::Reject { .. }));
    assert_eq!(
        host.state("stock/desk"),
        Some(Stock {
            available: 5,
            reserved: 0
        })
    );
}

#[test]
fn what_is_released_is_there_again_and_what_is_confirmed_leaves_the_shop() {
    let mut host = stocked(5);
    host.deliver(&order(2)).expect_done();
    host.deliver(&order(1)).expect_done();
    let product = || "desk".to_owned();
    host.deliver(&StockReleased {
        product: product(),
        count: 2,
    })
    .expect_done();
    let line = Line {
        product: product(),
        count: 1,
    };
    host.deliver(&OrderConfirmed {
        order: "o-1".into(),
        lines: vec![line],
    })
    .expect_done();
    assert_eq!(
        host.state("stock/desk"),
        Some(Stock {
            available: 4,
            reserved: 0
        })
    );
}
