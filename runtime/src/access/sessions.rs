//! Sessions: what a browser shows in the place of a token, so that the token is not kept where pages are.
//!
//! A session is good for what its token is good for, as long as that is, and never beyond the process or half a day. A cookie is
//! sent to every port of its host: what leaks there is a session, and not the token.

use std::collections::HashMap;
use std::time::Duration;

use nerve_eventlog::Micros;
use parking_lot::Mutex;

use super::{Token, TokenHash};

/// How long a session is good.
const LONGEST: Duration = Duration::from_hours(12);

/// Sessions that are open at a time; beyond, the oldest one is closed.
const MOST: usize = 1000;

/// The sessions of one host, by the hashes of what browsers show.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<TokenHash, Session>>);

#[derive(Debug, Clone, Copy)]
struct Session {
    token: TokenHash,
    until: Micros,
}

impl Sessions {
    /// Open one for who has this token; answers what their browser is to show.
    pub(super) fn open(&self, token: TokenHash, now: Micros) -> Result<Token, getrandom::Error> {
        let secret = Token::random()?;
        let micros = u64::try_from(LONGEST.as_micros()).expect("half a day fits");
        let until = Micros(now.0.saturating_add(micros));
        let mut open = self.0.lock();
        open.retain(|_, session| session.until > now);
        if open.len() >= MOST
            && let Some(oldest) = open
                .iter()
                .min_by_key(|(_, session)| session.until)
                .map(|(hash, _)| *hash)
        {
            open.remove(&oldest);
        }
        open.insert(Token::hash(secret.text()), Session { token, until });
        Ok(secret)
    }

    /// The token for which this session stands.
    pub(super) fn token(&self, shown: &str, now: Micros) -> Option<TokenHash> {
        let open = self.0.lock();
        let session = open
            .get(&Token::hash(shown))
            .filter(|session| session.until > now);
        session.map(|session| session.token)
    }

    /// Close it.
    pub(super) fn close(&self, shown: &str) {
        self.0.lock().remove(&Token::hash(shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stands_for_its_token_until_it_is_closed_or_half_a_day_is_over() {
        let (sessions, token, now) = (Sessions::default(), Token::hash("nrv_a"), Micros(7));
        let one = sessions.open(token, now).unwrap();
        let two = sessions.open(token, now).unwrap();
        assert_eq!(sessions.token(one.text(), now), Some(token));
        assert_eq!(sessions.token("nrv_a", now), None, "a token is no session");
        sessions.close(one.text());
        assert_eq!(sessions.token(one.text(), now), None);
        let end = Micros(7 + 12 * 3600 * 1_000_000);
        assert_eq!(sessions.token(two.text(), Micros(end.0 - 1)), Some(token));
        assert_eq!(sessions.token(two.text(), end), None);
    }

    #[test]
    fn the_oldest_session_makes_room_for_a_new_one() {
        let (sessions, token) = (Sessions::default(), Token::hash("nrv_a"));
        let first = sessions.open(token, Micros(0)).unwrap();
        for at in 1..=1000 {
            sessions.open(token, Micros(at)).unwrap();
        }
        assert_eq!(sessions.token(first.text(), Micros(1000)), None);
        assert_eq!(sessions.0.lock().len(), 1000);
    }
}
