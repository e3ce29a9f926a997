//! What is plainly as its schema says: most data is, and it takes a fraction of a whole check to see it.
//!
//! A node is plain where it says no more than a kind and whole bounds of values that have nothing inside; those are known by their first
//! bytes. A record is an object whose properties have names that its node knows.

use std::ops::RangeInclusive;

use super::schema::{Bound, Id, Kinds, Node, Schema};
use super::value::{Number, name, take, unsigned};
use crate::log::text::text;

/// Records within each other that are looked into at most.
const DEEPEST: usize = 16;

/// What a plain node admits.
#[derive(Debug)]
pub(super) struct Plain {
    kinds: Kinds,
    /// Of integers that are not negative.
    whole: RangeInclusive<u64>,
}

impl Plain {
    /// What `node` admits, where it is one.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let bound = |bound: Option<Bound>, open| match bound {
            None => Some(open),
            Some(Bound {
                value: Number::Integer(value),
                exclusive: false,
            }) => Some(value),
            Some(_) => None,
        };
        let (least, most) = (bound(node.least, 0)?, bound(node.most, u64::MAX.into())?);
        let least = u64::try_from(least.max(0)).ok()?;
        let most = u64::try_from(most.min(u64::MAX.into())).ok()?;
        node.says_only_kinds_and_bounds().then_some(Self {
            kinds: node.kinds,
            whole: least..=most,
        })
    }

    /// What lies behind the value that `data` begins with. `None` where that may not be here, or is none that is known by its first bytes.
    pub(super) fn behind<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        let (marker, mut behind) = data.split_first()?;
        let kind = match *marker {
            0xc0 => Kinds::NULL,
            0xc2 | 0xc3 => Kinds::BOOLEAN,
            small @ 0x00..=0x7f => self.whole(small.into())?,
            head @ 0xcc..=0xcf => self.whole(unsigned(&mut behind, 1 << (head - 0xcc))?)?,
            head @ 0xa0..=0xbf => {
                take(&mut behind, usize::from(head & 0x1f))?;
                Kinds::STRING
            }
            0xd9 => {
                let length = unsigned(&mut behind, 1)?;
                take(&mut behind, usize::try_from(length).ok()?)?;
                Kinds::STRING
            }
            _ => return None,
        };
        self.kinds.has(kind).then_some(behind)
    }

    fn whole(&self, number: u64) -> Option<Kinds> {
        self.whole.contains(&number).then_some(Kinds::INTEGER)
    }
}

impl Schema {
    /// Whether `data` is plainly what the schema says, and plainly MessagePack that JSON could be: nobody need check either then. Where
    /// it is not, that says nothing.
    pub fn plainly_takes(&self, data: &[u8]) -> bool {
        let rest = self.behind_plain(self.root, data, DEEPEST);
        self.unread().is_none() && rest.is_some_and(<[u8]>::is_empty)
    }

    fn behind_plain<'a>(&self, id: Id, data: &'a [u8], deepest: usize) -> Option<&'a [u8]> {
        let node = self.node(id);
        if let Some(plain) = &node.plain {
            let behind = plain.behind(data)?;
            let head = match data[0] {
                0xa0..=0xbf => 1,
                0xd9 => 2,
                _ => return Some(behind),
            };
            return text(&data[head..data.len() - behind.len()]).map(|_| behind);
        }
        let (head @ 0x80..=0x8f, mut rest) = data.split_first()? else {
            return None;
        };
        if !node.is_record || deepest == 0 {
            return None;
        }
        let (mut seen, mut required) = (0_u64, 0);
        for _ in 0..head & 0x0f {
            let (at, named) = node.names.find(name(&mut rest)?)?;
            let bit = 1_u64.checked_shl(u32::try_from(at).ok()?)?;
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            required += usize::from(named.required);
            rest = self.behind_plain(named.id?, rest, deepest - 1)?;
        }
        (required == node.names.required).then_some(rest)
    }
}
