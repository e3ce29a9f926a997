//! Signatures as Standard Webhooks says: `v1,` and HMAC-SHA256 over `ID.TIMESTAMP.BODY`, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// Bytes of a key at least, as the specification has it.
const SHORTEST: usize = 24;

/// A key that signs.
#[derive(Clone)]
pub struct Key(hmac::Key);

/// A text is no secret. Says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no secret of Standard Webhooks: write whsec_ and at least {SHORTEST} random bytes in base64, such as `nerve \
     webhook new` makes"
)]
pub struct BadSecret;

impl Key {
    /// The key in the secret `text`.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let bytes = text
            .strip_prefix(PREFIX)
            .and_then(|text| BASE64.decode(text).ok());
        let bytes = bytes.filter(|bytes| bytes.len() >= SHORTEST).ok_or(BadSecret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The secret with these bytes.
    pub fn secret(bytes: &[u8]) -> String {
        format!("{PREFIX}{}", BASE64.encode(bytes))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.0);
        signing.update(format!("{id}.{timestamp}.").as_bytes());
        signing.update(body);
        format!("v1,{}", BASE64.encode(signing.sign()))
    }
}

/// The header `webhook-signature`: one signature of each key, so that a receiver may know any of them. `timestamp` is in
/// seconds since 1970.
pub(super) fn signatures(keys: &[Key], id: &str, timestamp: u64, body: &[u8]) -> String {
    let all: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        assert_eq!(
            signatures(std::slice::from_ref(&key), id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let other = Key::parse(&Key::secret(&[7; 24])).unwrap();
        let two = signatures(&[key, other], id, 1_614_265_330, body);
        let (first, second) = two.split_once(' ').unwrap();
        assert!(first.starts_with("v1,") && second.starts_with("v1,") && first != second);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        for text in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_not base64 at all, but long enough",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let refused = Key::parse(text).map(drop).unwrap_err().to_string();
            assert!(refused.contains("nerve webhook new"), "{refused}");
            assert!(text.len() <= PREFIX.len() || !refused.contains(text), "{refused}");
        }
    }
}
