//! What `login` promises.

use nerve_sdk::testing::Host;

use super::*;

fn registered() -> Host<Logins> {
    let mut host = Host::new();
    host.deliver(&UserRegistered { user: "ada".into() }).expect_done();
    host
}

#[test]
fn who_registered_may_log_in() {
    let host = registered();
    let account: Account = host.state("login/ada").expect("ada registered");
    assert_eq!(
        account,
        Account {
            registered: true,
            logins: 0,
            last_login: None
        }
    );
}

#[test]
fn logins_are_counted_with_the_time_of_the_last() {
    let mut host = registered();
    for _ in 0..2 {
        host.deliver(&UserLoggedIn { user: "ada".into() }).expect_done();
    }
    let account: Account = host.state("login/ada").expect("ada registered");
    assert_eq!(account.logins, 2);
    assert!(account.last_login.is_some());
}

#[test]
fn a_stranger_is_rejected() {
    let outcome = Host::<Logins>::new().deliver(&UserLoggedIn { user: "eve".into() });
    assert_eq!(outcome.expect_failure(), &Failure::reject("eve never registered"));
}
