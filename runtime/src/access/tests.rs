//! Tokens: made, shown, expired, revoked, and a file that can't be trusted.

use std::os::unix::fs::PermissionsExt;

use nerve_eventlog::ManualClock;

use super::*;

struct Bed {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    access: Access,
}

impl Bed {
    fn new(anonymous: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Micros(1_000_000)));
        let access = Access::by_tokens(folder.path(), anonymous, clock.clone());
        Self {
            folder,
            clock,
            access,
        }
    }

    fn make(&self, name: &str, scopes: &[&str], expires: Option<u64>) -> String {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        let made = create(
            self.folder.path(),
            name,
            scopes,
            self.clock.now(),
            expires.map(Micros),
        );
        made.unwrap().text().to_owned()
    }

    fn admit(&self, shown: Option<&str>) -> Result<Caller, AccessError> {
        self.access.admit(&self.access.look(), shown)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(FILE)).unwrap()
    }
}

#[test]
fn while_no_token_was_made_everybody_is_let_in_or_nobody() {
    let caller = Bed::new(true).admit(None).unwrap();
    assert!(
        caller.may(Needs::Operate) && caller.may_publish("any"),
        "{caller:?}"
    );
    assert_eq!(caller.name(), ANONYMOUS);
    assert_eq!(Bed::new(false).admit(None).unwrap_err(), AccessError::NoToken);
    assert_eq!(
        Bed::new(false).admit(Some("nrv_1")).unwrap_err(),
        AccessError::Unknown
    );
}

#[test]
fn a_token_counts_from_when_it_is_made_until_it_is_revoked_and_the_last_one_opens_nothing() {
    let bed = Bed::new(true);
    let (one, two) = (
        bed.make("one", &["read"], None),
        bed.make("two", &["operate"], None),
    );
    assert!(one.starts_with(PREFIX) && one.len() == PREFIX.len() + 64 && one != two);
    assert!(!bed.text().contains(&one) && !bed.text().contains(&one[PREFIX.len()..]));
    let mode = std::fs::metadata(bed.folder.path().join(FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let caller = bed.admit(Some(&one)).unwrap();
    assert_eq!(
        (caller.name(), bed.admit(Some(&two)).unwrap().name()),
        ("one", "two")
    );
    assert_eq!(bed.admit(None).unwrap_err(), AccessError::NoToken);
    for other in [
        "",
        "nrv_",
        &one[..one.len() - 1],
        &one.to_uppercase(),
        &format!("{one}0"),
    ] {
        assert_eq!(
            bed.admit(Some(other)).unwrap_err(),
            AccessError::Unknown,
            "{other}"
        );
    }
    assert!(bed.access.still_admits(&caller));
    revoke(bed.folder.path(), "one").unwrap();
    assert!(!bed.access.still_admits(&caller), "whoever is in already goes");
    assert_eq!(bed.admit(Some(&one)).unwrap_err(), AccessError::Unknown);
    assert!(bed.admit(Some(&two)).is_ok());
    revoke(bed.folder.path(), "two").unwrap();
    assert_eq!(bed.admit(None).unwrap_err(), AccessError::NoToken);
}

#[test]
fn a_token_is_good_until_it_expires() {
    let bed = Bed::new(true);
    let token = bed.make("ci", &["read"], Some(5_000_000));
    let caller = bed.admit(Some(&token)).unwrap();
    bed.clock.set(Micros(4_999_999));
    assert!(bed.access.still_admits(&caller));
    bed.clock.set(Micros(5_000_000));
    assert!(!bed.access.still_admits(&caller));
    assert_eq!(bed.admit(Some(&token)).unwrap_err(), AccessError::Unknown);
}

#[test]
fn a_scope_is_good_for_what_it_says_and_for_nothing_else() {
    let bed = Bed::new(true);
    let token = bed.make("shop", &["publish:order.*", "publish:cart.item_added"], None);
    let caller = bed.admit(Some(&token)).unwrap();
    assert!(caller.may(Needs::Publish) && !caller.may(Needs::Read) && !caller.may(Needs::Operate));
    for (event_type, may) in [
        ("order.placed", true),
        ("order.a.b", false),
        ("orders.placed", false),
        ("cart.item_added", true),
        ("cart.checked_out", false),
    ] {
        assert_eq!(caller.may_publish(event_type), may, "{event_type}");
    }
    let all = bed
        .admit(Some(&bed.make("all", &["publish", "read"], None)))
        .unwrap();
    assert!(all.may_publish("any.type") && all.may(Needs::Read) && !all.may(Needs::Operate));
    for text in [
        "",
        "admin",
        "Read",
        "read:x",
        "publish:",
        "publish:a..b",
        "publish:>.a",
    ] {
        assert!(text.parse::<Scope>().is_err(), "{text}");
    }
}

#[test]
fn what_is_written_is_what_is_read_and_what_is_wrong_lets_nobody_in() {
    let bed = Bed::new(true);
    let folder = bed.folder.path();
    let token = bed.make("a", &["read", "publish:a.>", "publish"], Some(9_000_000_000_000));
    bed.make("b", &["operate"], None);
    let grants = read(folder).unwrap().unwrap();
    assert_eq!(
        grants[0].scopes.iter().map(Scope::to_string).collect::<Vec<_>>(),
        ["read", "publish:a.>", "publish"]
    );
    assert_eq!(
        (grants[0].created, grants[0].expires),
        (Micros(1_000_000), Some(Micros(9_000_000_000_000)))
    );
    assert!(matches!(
        create(folder, "a", vec![], Micros(1), None),
        Err(TokensError::Taken(_))
    ));
    assert!(matches!(revoke(folder, "c"), Err(TokensError::NotFound(_))));
    for name in ["", "anonymous", "a b", "é", &"x".repeat(65)] {
        let made = create(folder, name, vec![], Micros(1), None);
        assert!(matches!(made, Err(TokensError::Name(_))), "{name}");
    }
    assert!(matches!(
        read(&folder.join("none")),
        Err(TokensError::NoFolder(_))
    ));

    let path = folder.join(FILE);
    let good = bed.text();
    for bad in [
        "token = 1",
        "[[token]]\nname = \"a\"",
        &good.replace("operate", "admin"),
        &good.replacen("hash = \"", "hash = \"x", 1),
    ] {
        std::fs::write(&path, bad).unwrap();
        assert_eq!(
            bed.admit(Some(&token)).unwrap_err(),
            AccessError::Unreadable,
            "{bad}"
        );
        assert!(read(folder).is_err(), "{bad}");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(bed.admit(Some(&token)).is_ok());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
    assert_eq!(bed.admit(Some(&token)).unwrap_err(), AccessError::Unreadable);
    assert!(matches!(read(folder), Err(TokensError::Mode(_))));
}
