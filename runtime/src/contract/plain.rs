//! Values that have nothing inside, held to nodes that say no more of them than a kind and whole bounds: most of what is checked, and
//! known by the first bytes.

use std::ops::RangeInclusive;

use super::schema::{Bound, Kinds, Node};
use super::value::{Number, take, unsigned};

/// What such a node admits.
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
