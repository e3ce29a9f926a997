//! An event to be emitted, in one piece as `wit/packed-events.wit` says.

use std::cell::Cell;

use crate::context::RawEmit;

/// Bytes of the lengths that it begins with: of type, subject, key and content type.
const HEAD: usize = 16;

/// The length of what an event does not have.
const NONE: u32 = u32::MAX;

/// Bytes that are kept for the next one at most.
const LARGEST_KEPT: usize = 64 << 10;

thread_local! {
    /// Reused from one event to the next.
    static PIECE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Let `then` have `event` in one piece, whose data is what it has and what `write` appends. An error is one of `write`.
pub(crate) fn with_piece<T>(
    event: &RawEmit<'_>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    then: impl FnOnce(&[u8]) -> T,
) -> Result<T, String> {
    let texts = [Some(event.type_), event.subject, event.key, event.content_type];
    let mut head = [0; HEAD];
    for (place, text) in head.chunks_exact_mut(4).zip(texts) {
        let length = text.map_or(NONE, |text| u32::try_from(text.len()).unwrap_or(NONE));
        place.copy_from_slice(&length.to_le_bytes());
    }
    let mut piece = PIECE.take();
    piece.extend_from_slice(&head);
    for text in texts.into_iter().flatten() {
        piece.extend_from_slice(text.as_bytes());
    }
    piece.extend_from_slice(event.data);
    let answer = write(&mut piece).map(|()| then(&piece));
    piece.clear();
    piece.shrink_to(LARGEST_KEPT);
    PIECE.set(piece);
    answer
}

/// The event in `piece`; `None` where it is none.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn unpack(piece: &[u8]) -> Option<RawEmit<'_>> {
    let (head, mut rest) = piece.split_at_checked(HEAD)?;
    let mut lengths = head.chunks_exact(4);
    let mut text = || {
        let length = u32::from_le_bytes(lengths.next()?.try_into().ok()?);
        if length == NONE {
            return Some(None);
        }
        let (text, behind) = rest.split_at_checked(length.try_into().ok()?)?;
        rest = behind;
        str::from_utf8(text).ok().map(Some)
    };
    let (type_, subject, key, content_type) = (text()??, text()?, text()?, text()?);
    Some(RawEmit {
        type_,
        subject,
        key,
        content_type,
        data: rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_packed_as_the_interface_says() {
        let event = RawEmit {
            type_: "a.b",
            subject: None,
            key: Some("ü"),
            content_type: Some(""),
            data: &[7],
        };
        let write = |out: &mut Vec<u8>| {
            out.push(8);
            Ok(())
        };
        let piece = with_piece(&event, write, <[u8]>::to_vec).unwrap();
        let lengths: [u32; 4] = [3, NONE, 2, 0];
        let wanted = [
            &lengths.map(u32::to_le_bytes).concat()[..],
            "a.bü".as_bytes(),
            &[7, 8],
        ];
        assert_eq!(piece, wanted.concat());
        let whole = RawEmit {
            data: &[7, 8],
            ..event
        };
        assert_eq!(unpack(&piece), Some(whole));
    }

    #[test]
    fn what_could_not_be_written_leaves_nothing_for_the_next_one() {
        let event = RawEmit {
            type_: "a",
            subject: None,
            key: None,
            content_type: None,
            data: &[],
        };
        let write = |out: &mut Vec<u8>| {
            out.extend(vec![1; 2 * LARGEST_KEPT]);
            Err("no".to_owned())
        };
        assert_eq!(with_piece(&event, write, |_| ()), Err("no".to_owned()));
        let piece = with_piece(&event, |_| Ok(()), <[u8]>::to_vec).unwrap();
        assert_eq!(piece.len(), HEAD + 1);
        assert!(PIECE.take().capacity() <= LARGEST_KEPT);
    }
}
