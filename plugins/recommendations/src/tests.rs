//! What `recommendations` promises.

use nerve_sdk::testing::Host;

use super::*;

fn view(host: &mut Host<Recommendations>, user: &str, product: &str) -> nerve_sdk::testing::Outcome {
    host.deliver(&ProductViewed {
        user: user.into(),
        product: product.into(),
    })
}

#[test]
fn what_was_seen_most_is_recommended_first() {
    let mut host = Host::new();
    for product in ["lamp", "desk", "desk"] {
        view(&mut host, "ada", product).expect_done();
    }
    let recommended: Recommended = host.state("recommended/ada").expect("ada looked around");
    assert_eq!(
        recommended,
        Recommended {
            products: vec!["desk".into(), "lamp".into()],
            views: 3
        }
    );
}

#[test]
fn an_unchanged_ranking_is_not_announced() {
    let mut host = Host::new();
    assert_eq!(view(&mut host, "ada", "desk").expect_done().emitted.len(), 1);
    assert!(view(&mut host, "ada", "desk").expect_done().emitted.is_empty());
}

#[test]
fn what_is_remembered_of_a_user_is_bounded() {
    let mut host = Host::new();
    view(&mut host, "ada", "desk").expect_done();
    view(&mut host, "ada", "desk").expect_done();
    for product in 0..=REMEMBERED {
        view(&mut host, "ada", &format!("product-{product}")).expect_done();
    }
    let seen: BTreeMap<String, u64> = host.state("seen/ada").expect("ada looked around");
    assert_eq!(seen.len(), REMEMBERED);
    assert_eq!(seen.get("desk"), Some(&2));
}

#[cfg(not(feature = "broken"))]
#[test]
fn nobody_is_fatal() {
    view(&mut Host::new(), "mallory", "desk").expect_done();
}

#[cfg(feature = "broken")]
#[test]
fn the_faulty_build_traps_on_one_user_only() {
    let mut host = Host::new();
    let outcome = view(&mut host, "mallory", "desk");
    assert!(matches!(outcome.ending, nerve_sdk::testing::Ending::Trapped(_)));
    view(&mut host, "ada", "desk").expect_done();
}
