//! Changes valid inputs into others, most of them almost valid.

use super::Dice;
use crate::{frame, segment};

/// Values that lie at the edges of lengths, counts and offsets.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// Bytes of the longest input.
const LONGEST: usize = 1 << 16;

/// Changes inputs; `words` are put in where they may mean something.
#[derive(Debug, Clone, Default)]
pub struct Mutator {
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// A mutator that knows `words`.
    pub fn new(words: &[&[u8]]) -> Self {
        Self {
            words: words.iter().map(|word| word.to_vec()).collect(),
        }
    }

    /// One of `corpus` after a few changes.
    pub fn change(&self, corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
        let mut input = corpus[dice.place(corpus.len())].clone();
        for _ in 0..=dice.below(5) {
            self.step(&mut input, corpus, dice);
        }
        input.truncate(LONGEST);
        input
    }

    fn step(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
        let at = dice.place(input.len() + 1);
        let length = dice.place((input.len() - at).min(64) + 1);
        match dice.below(12) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = dice.byte();
                }
            }
            3 => {
                let edge = EDGES[dice.place(EDGES.len())].to_le_bytes();
                let width = 1 << dice.below(4);
                overwrite(input, at, &edge[..width]);
            }
            4 => {
                let edge = EDGES[dice.place(EDGES.len())].to_be_bytes();
                let width = 1 << dice.below(4);
                overwrite(input, at, &edge[8 - width..]);
            }
            5 => drop(input.drain(at..at + length)),
            6 => {
                let again = input[at..at + length].repeat(1 + dice.place(8));
                input.splice(at..at, again);
            }
            7 => input.truncate(at),
            8 => {
                // The beginning of one and the end of another.
                let other = &corpus[dice.place(corpus.len())];
                let from = dice.place(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            9 => {
                let other = &corpus[dice.place(corpus.len())];
                let from = dice.place(other.len() + 1);
                let to = (from + 1 + dice.place(64)).min(other.len());
                input.splice(at..at + length, other[from..to].iter().copied());
            }
            10 if !self.words.is_empty() => {
                let word = &self.words[dice.place(self.words.len())];
                let replaced = if dice.one_in(2) { length } else { 0 };
                input.splice(at..at + replaced, word.iter().copied());
            }
            _ => {
                let new: Vec<u8> = (0..=dice.below(8)).map(|_| dice.byte()).collect();
                input.splice(at..at, new);
            }
        }
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input[at..].iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// Make the checksums of a segment right, so that what was changed gets behind them: those of its header and of
/// every frame that follows, and the chain between them.
pub fn reseal(bytes: &mut [u8]) {
    if bytes.len() < segment::HEADER {
        return;
    }
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let mut at = segment::HEADER;
    let mut previous = None;
    while let Some(frame) = bytes.get_mut(at..).filter(|rest| rest.len() >= frame::HEADER) {
        if let Some(previous) = previous {
            frame[44..48].copy_from_slice(&u32::to_le_bytes(previous));
        }
        let crc = crc32c::crc32c(&frame[..48]);
        frame[48..52].copy_from_slice(&crc.to_le_bytes());
        let Some(header) = frame::Header::read(frame) else {
            return;
        };
        let end = frame::HEADER.saturating_add(header.body as usize);
        if frame.len().saturating_sub(end) < frame::TRAILER {
            return;
        }
        let body_crc = crc32c::crc32c(&frame[frame::HEADER..end]);
        frame[end..end + frame::TRAILER].copy_from_slice(&body_crc.to_le_bytes());
        previous = Some(frame::chain(&header, body_crc));
        at += end + frame::TRAILER;
    }
}
