//! What `notifications` promises.

use nerve_sdk::testing::Host;

use super::*;

#[test]
fn who_registers_is_welcomed() {
    let mut host = Host::<Notifications>::new();
    let outcome = host.deliver(&UserRegistered {
        user: "ada".into(),
        email: "ada@example.com".into(),
    });
    let sent = outcome.expect_done().emitted::<NotificationSent>();
    assert_eq!(
        sent,
        [NotificationSent {
            user: "ada".into(),
            kind: Kind::Welcome
        }]
    );
    assert!(outcome.logged("welcome to ada@example.com"));
}

#[test]
fn each_notification_is_counted_for_its_user() {
    let mut host = Host::<Notifications>::new();
    host.deliver(&UserRegistered {
        user: "ada".into(),
        email: "ada@example.com".into(),
    })
    .expect_done();
    host.deliver(&AddressChanged { user: "ada".into() }).expect_done();
    host.deliver(&AddressChanged { user: "bob".into() }).expect_done();
    assert_eq!(host.state::<u64>("sent/ada"), Some(2));
    assert_eq!(host.state::<u64>("sent/bob"), Some(1));
}
