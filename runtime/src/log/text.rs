//! Bytes as text.

use ascii::AsAsciiStr as _;

/// `bytes` as text; `None` where they are no UTF-8. Most are ASCII, which is known several times as soon.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    match bytes.as_ascii_str() {
        Ok(ascii) => Some(ascii.as_str()),
        Err(_) => str::from_utf8(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_text_is_what_the_library_says() {
        for letter in ["a", "ü", "\u{1f600}", "\u{7f}", "\0"] {
            for count in 0..40 {
                let whole = [&"x".repeat(count), letter, "yz"].concat();
                for end in 0..=whole.len() {
                    let bytes = &whole.as_bytes()[..end];
                    assert_eq!(text(bytes), str::from_utf8(bytes).ok(), "{bytes:x?}");
                }
            }
        }
    }
}
