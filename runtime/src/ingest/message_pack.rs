//! JSON and MessagePack, one into the other without a tree in between.

use hashbrown::HashSet;

use crate::log::record::pack::Pack;

/// The marker of a float of 64 bits.
const FLOAT: u8 = 0xcb;

/// Levels of nesting that data may have.
pub(crate) const DEEPEST: usize = 100;

/// Why data was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BadData {
    /// It is no JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is no MessagePack.
    #[error("{0}")]
    MessagePack(String),
    /// It has an integer that would lose digits.
    #[error("the integer {0} does not fit 64 bits")]
    Number(String),
}

/// Whether `content_type` is JSON: `application/json`, or ends in `+json`; parameters do not count.
pub fn is_json(content_type: &str) -> bool {
    if content_type == "application/json" {
        return true;
    }
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// JSON text as MessagePack.
pub fn from_json(json: &[u8]) -> Result<Vec<u8>, BadData> {
    let mut out = Vec::with_capacity(json.len());
    let mut input = serde_json::Deserializer::from_slice(json);
    serde_transcode::transcode(&mut input, Pack(&mut out)).map_err(|cause| {
        use serde::de::Error as _;
        serde_json::Error::custom(cause)
    })?;
    input.end()?;
    // An integer that does not fit has become a float.
    if out.contains(&FLOAT) {
        whole_integers(json)?;
    }
    // What is taken can be checked and shown again: no deeper than what comes as MessagePack.
    walk(&out, Texts::Utf8)?;
    Ok(out)
}

/// Check that no integer of `json`, which is valid, would be turned into a rounded float.
fn whole_integers(json: &[u8]) -> Result<(), BadData> {
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at = behind_text(json, at),
            b'-' | b'0'..=b'9' => {
                let length = json[at..]
                    .iter()
                    .position(|b| !matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                let number = &json[at..at + length.unwrap_or(json.len() - at)];
                let text = std::str::from_utf8(number).unwrap_or_default();
                if !text.contains(['.', 'e', 'E'])
                    && text.parse::<i64>().is_err()
                    && text.parse::<u64>().is_err()
                {
                    return Err(BadData::Number(text.chars().take(60).collect()));
                }
                at += number.len();
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// The place behind the text whose opening quote is at `at`.
fn behind_text(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// MessagePack as JSON text. Binary data becomes an array of numbers.
pub fn to_json(message_pack: &[u8]) -> Result<Vec<u8>, BadData> {
    let mut out = Vec::with_capacity(message_pack.len() + message_pack.len() / 2);
    let mut input = rmp_serde::Deserializer::from_read_ref(message_pack);
    input.set_max_depth(DEEPEST + 28);
    serde_transcode::transcode(&mut input, &mut serde_json::Serializer::new(&mut out))?;
    Ok(out)
}

/// Check that `bytes` is one MessagePack value that JSON could have: texts are UTF-8, keys of maps are texts, each there
/// once, and there are no extensions. Binary data is let through. Walks the bytes once and keeps nothing.
pub fn check(bytes: &[u8]) -> Result<(), BadData> {
    walk(bytes, Texts::Any)
}

fn walk(bytes: &[u8], texts: Texts) -> Result<(), BadData> {
    let mut walk = Walk { bytes, at: 0, texts };
    let whole = match walk.value(0) {
        Ok(()) if walk.at < bytes.len() => Err("bytes follow the value"),
        whole => whole,
    };
    whole.map_err(|what| BadData::MessagePack(format!("{what}, at byte {}", walk.at)))
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    texts: Texts,
}

const TOO_EARLY: &str = "it ends too early";

/// What is known of the bytes of texts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    Any,
    /// They were texts before.
    Utf8,
}

/// The keys of one map: the first few are compared, more are hashed.
#[derive(Default)]
struct Keys<'a> {
    few: [&'a [u8]; 8],
    count: usize,
    more: HashSet<&'a [u8]>,
}

impl<'a> Keys<'a> {
    /// Whether `key` is new.
    fn insert(&mut self, key: &'a [u8]) -> bool {
        let few = self.count.min(self.few.len());
        if self.few[..few].contains(&key) {
            return false;
        }
        self.count += 1;
        match self.few.get_mut(few) {
            Some(place) => {
                *place = key;
                true
            }
            None => self.more.insert(key),
        }
    }
}

/// What is wrong is at the byte where the walk stands then.
impl<'a> Walk<'a> {
    fn value(&mut self, depth: usize) -> Result<(), &'static str> {
        if depth > DEEPEST {
            return Err("the value is nested deeper than 100 levels");
        }
        let marker = self.marker()?;
        match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(()),
            0xcc | 0xd0 => self.skip(1).map(drop),
            0xcd | 0xd1 => self.skip(2).map(drop),
            0xca | 0xce | 0xd2 => self.skip(4).map(drop),
            0xcb | 0xcf | 0xd3 => self.skip(8).map(drop),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                self.skip(length).map(drop)
            }
            0xa0..=0xbf | 0xd9..=0xdb => self.text(marker).map(drop),
            0x90..=0x9f => self.values(usize::from(marker & 0x0f), depth),
            0xdc | 0xdd => {
                let count = self.length(2 << (marker - 0xdc))?;
                self.values(count, depth)
            }
            0x80..=0x8f => self.pairs(usize::from(marker & 0x0f), depth),
            0xde | 0xdf => {
                let count = self.length(2 << (marker - 0xde))?;
                self.pairs(count, depth)
            }
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Err("it is an extension or no MessagePack at all"),
        }
    }

    fn values(&mut self, count: usize, depth: usize) -> Result<(), &'static str> {
        (0..count).try_for_each(|_| self.value(depth + 1))
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<(), &'static str> {
        let mut keys = Keys::default();
        (0..count).try_for_each(|_| {
            let marker = self.marker()?;
            if !matches!(marker, 0xa0..=0xbf | 0xd9..=0xdb) {
                return Err("the key of a map is no text");
            }
            let key = self.text(marker)?;
            if !keys.insert(key) {
                return Err("an object has a key twice");
            }
            self.value(depth + 1)
        })
    }

    fn text(&mut self, marker: u8) -> Result<&'a [u8], &'static str> {
        let length = match marker {
            0xd9..=0xdb => self.length(1 << (marker - 0xd9))?,
            short => usize::from(short & 0x1f),
        };
        let text = self.skip(length)?;
        // Most names and short values are ASCII, and to check the UTF-8 of those costs several times as much.
        if self.texts == Texts::Any && !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return Err("a text is not UTF-8");
        }
        Ok(text)
    }

    /// A big-endian length of `width` bytes.
    fn length(&mut self, width: usize) -> Result<usize, &'static str> {
        Ok(self
            .skip(width)?
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn marker(&mut self) -> Result<u8, &'static str> {
        let marker = *self.bytes.get(self.at).ok_or(TOO_EARLY)?;
        self.at += 1;
        Ok(marker)
    }

    fn skip(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.saturating_add(count);
        let Some(skipped) = self.bytes.get(self.at..end) else {
            return Err(TOO_EARLY);
        };
        self.at = end;
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_there_and_back() {
        for json in [
            r#"{"a":[1,-2,3.5,null,true,"x"],"b":{"c":18446744073709551615}}"#,
            "7",
            "[]",
            r#""ü""#,
            "[18446744073709551615,-9223372036854775808,0.5]",
            r#"["123456789012345678901 \\\" 123456789012345678901"]"#,
        ] {
            let packed = from_json(json.as_bytes()).unwrap();
            check(&packed).unwrap();
            assert_eq!(String::from_utf8(to_json(&packed).unwrap()).unwrap(), json);
        }
    }

    #[test]
    fn what_is_taken_can_be_checked_and_shown_however_deep() {
        let deepest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let taken: Vec<usize> = (1..300)
            .filter(|depth| from_json(deepest(*depth).as_bytes()).is_ok())
            .collect();
        assert!(taken.len() >= 100, "{taken:?}");
        for depth in taken {
            let packed = from_json(deepest(depth).as_bytes()).unwrap();
            check(&packed).unwrap();
            assert_eq!(to_json(&packed).unwrap(), deepest(depth).as_bytes());
        }
    }

    #[test]
    fn what_is_no_value_is_refused_without_a_panic() {
        for bad in ["", "{", "[1,]", "nul", "1 2", "\"\u{0}\"", "{\"a\":1,}"] {
            assert!(from_json(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(from_json(b"\"\xff\"").is_err(), "invalid UTF-8");
        assert!(from_json("[".repeat(100_000).as_bytes()).is_err(), "too deep");
        for integer in [
            "18446744073709551616",
            "-9223372036854775809",
            "[1,{\"a\":123456789012345678901}]",
        ] {
            let refused = from_json(integer.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains("does not fit 64 bits"), "{integer}: {refused}");
        }
        for bad in [
            &b""[..],
            b"\xc1",
            b"\x92\x01",
            b"\x81\x01\x02",
            b"\x01\x02",
            b"\xdd\xff\xff\xff\xff",
            b"\xa1\xff",
            b"\xa9aaaaaaaa\xff",
            b"\xa9aaaaaaa\xffa",
            b"\xa5\xffaaaa",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&vec![0x91; 100_000]).is_err(), "too deep");
    }

    #[test]
    fn an_object_that_has_a_key_twice_is_refused_however_many_it_has() {
        for keys in [2, 8, 9, 30] {
            let mut texts: Vec<String> = (0..keys).map(|n| format!("\"k{n}\":{n}")).collect();
            from_json(format!("{{{}}}", texts.join(",")).as_bytes()).unwrap();
            for again in [0, keys - 1] {
                texts.push(format!("\"k{again}\":0"));
                let refused = from_json(format!("{{{}}}", texts.join(",")).as_bytes()).unwrap_err();
                assert!(refused.to_string().contains("key twice"), "{refused}");
                texts.pop();
            }
        }
    }

    #[test]
    fn numbers_are_taken_to_the_last_digit() {
        let taken = from_json(b"123456789.123456789").unwrap();
        assert_eq!(taken[1..], 123_456_789.123_456_79_f64.to_be_bytes());
    }
}
