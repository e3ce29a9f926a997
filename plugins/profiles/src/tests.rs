//! What `profiles` promises.

use nerve_sdk::testing::Host;

use super::*;

fn ada() -> UserRegistered {
    UserRegistered {
        user: "ada".into(),
        email: "ada@example.com".into(),
        name: "Ada".into(),
        address: Address {
            street: "Main St 1".into(),
            city: "London".into(),
            country: "GB".into(),
        },
    }
}

#[test]
fn a_registration_creates_a_profile_and_says_so() {
    let mut host = Host::<Profiles>::new();
    let outcome = host.deliver(&ada());
    let created = outcome.expect_done().emitted::<ProfileCreated>();
    assert_eq!(created, [ProfileCreated { user: "ada".into() }]);
    let profile: Profile = host.state("profile/ada").expect("the profile was written");
    assert_eq!((profile.name.as_str(), profile.revision), ("Ada", 1));
}

#[test]
fn a_second_registration_is_no_second_creation() {
    let mut host = Host::<Profiles>::new();
    host.deliver(&ada()).expect_done();
    let outcome = host.deliver(&ada());
    assert!(outcome.expect_done().emitted.is_empty());
}

#[test]
fn a_new_address_replaces_the_old_one() {
    let mut host = Host::<Profiles>::new();
    host.deliver(&ada()).expect_done();
    let address = Address {
        city: "Paris".into(),
        ..Address::default()
    };
    host.deliver(&AddressChanged {
        user: "ada".into(),
        address: address.clone(),
    })
    .expect_done();
    let profile: Profile = host.state("profile/ada").expect("the profile was written");
    assert_eq!((profile.address, profile.revision), (address, 2));
}

#[test]
fn what_is_no_email_is_rejected_and_leaves_nothing() {
    let mut host = Host::<Profiles>::new();
    let outcome = host.deliver(&UserRegistered {
        email: "ada".into(),
        ..ada()
    });
    assert_eq!(
        outcome.expect_failure(),
        &Failure::reject("\"ada\" is not an email address")
    );
    assert!(host.state_keys().is_empty());
}
