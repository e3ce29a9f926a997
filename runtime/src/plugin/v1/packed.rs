//! `packed`: events in one piece, for guests that take them so. Each text that is handed over by itself costs a call of the guest's
//! allocator; a piece costs one.

use super::nerve::plugin::types::Event;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package nerve:host;
            world packed {
                export nerve:plugin/packed@1.0.0;
            }
        ",
        world: "nerve:host/packed",
        with: { "nerve:plugin/types@1.0.0": super::super::nerve::plugin::types },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use self::bindings::{Packed, PackedIndices};

/// The interface that a guest exports which takes its events so.
pub(super) const NAME: &str = "nerve:plugin/packed@1.0.0";

/// The length of what an event does not have.
const NONE: u32 = u32::MAX;

/// Bytes of the numbers that come first.
const HEAD: usize = 64;

/// Flags of an event.
const REPLAY: u32 = 1;
const MORE: u32 = 2;

/// Append `event` to `out`, laid out as `wit/packed.wit` says; `more` may follow it.
pub(in crate::plugin) fn pack(event: &Event<'_>, more: bool, out: &mut Vec<u8>) {
    let flags = (u32::from(event.replay) * REPLAY) | (u32::from(more) * MORE);
    let parts = [
        Some(event.id.as_bytes()),
        Some(event.type_.as_bytes()),
        Some(event.source.as_bytes()),
        event.subject.map(str::as_bytes),
        event.key.map(str::as_bytes),
        Some(event.content_type.as_bytes()),
        Some(event.correlation.as_bytes()),
        event.cause.map(str::as_bytes),
        Some(event.data),
    ];
    let bytes = parts.into_iter().flatten().map(<[u8]>::len).sum::<usize>();
    out.reserve(HEAD + bytes);
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&event.offset.to_le_bytes());
    head[8..16].copy_from_slice(&event.time.to_le_bytes());
    let lengths = parts.map(|part| {
        part.map_or(NONE, |part| {
            u32::try_from(part.len()).expect("what a log takes is shorter")
        })
    });
    let numbers = [event.hops, event.attempt, flags].into_iter().chain(lengths);
    for (place, number) in head[16..].as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    out.extend_from_slice(&head);
    for part in parts.into_iter().flatten() {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_packed_as_the_interface_says() {
        let event = Event {
            id: "id",
            offset: 0x0102_0304_0506_0708,
            type_: "a.b",
            source: "",
            subject: None,
            key: Some("k"),
            time: 9,
            content_type: "c",
            data: &[7, 8],
            correlation: "cor",
            cause: None,
            hops: 1,
            attempt: 2,
            replay: true,
        };
        let mut out = Vec::new();
        pack(&event, true, &mut out);
        let numbers: [&[u8]; 5] = [
            &[8, 7, 6, 5, 4, 3, 2, 1],
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0],
            &[3, 0, 0, 0],
        ];
        let lengths: [u32; 9] = [2, 3, 0, NONE, 1, 1, 3, NONE, 2];
        let wanted = [
            &numbers.concat()[..],
            &lengths.map(u32::to_le_bytes).concat(),
            b"ida.bkccor\x07\x08",
        ];
        assert_eq!(out, wanted.concat());
    }
}
