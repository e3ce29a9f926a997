//! Memory for the newest batches: slabs in which they lie one behind the other, as they were appended.
//!
//! A batch that got memory of its own would be freed long after it was made, and by another thread: what an allocator then
//! gives back to the system is fetched from it again, page by page, for the batches that come. A slab is used again as it is,
//! once nobody holds any batch in it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes of a slab.
const SLAB: usize = 512 << 10;

/// Bytes from which on a batch has memory of its own, so that little of a slab stays empty.
const LARGE: usize = SLAB / 4;

/// Slabs that are filled at a time: where a batch does not fit into one, smaller ones still do.
const OPEN: usize = 4;

/// Bytes in which nothing fits: a slab with no more left is full.
const LITTLE: usize = 4 << 10;

/// Slabs that are kept beside the one that is used again; what is free beyond them was needed for a peak.
const SPARE: usize = 8;

/// The slabs of one log.
#[derive(Debug, Default)]
pub(crate) struct Slabs {
    /// What is left of the slabs that are being filled, the oldest first.
    open: Vec<BytesMut>,
    /// The ends of the others, the oldest first: each keeps its slab.
    full: VecDeque<BytesMut>,
}

impl Slabs {
    /// `batch` in a slab.
    pub(crate) fn put(&mut self, batch: Vec<u8>) -> Bytes {
        if batch.len() >= LARGE {
            return batch.into();
        }
        let fits = self.open.iter().position(|slab| slab.capacity() >= batch.len());
        let at = fits.unwrap_or_else(|| self.begin());
        let slab = &mut self.open[at];
        slab.extend_from_slice(&batch);
        let put = slab.split().freeze();
        if slab.capacity() < LITTLE {
            self.full.push_back(self.open.remove(at));
        }
        put
    }

    /// Begin to fill a slab; answers its place among those that are open.
    fn begin(&mut self) -> usize {
        if self.open.len() == OPEN {
            self.full.push_back(self.open.remove(0));
        }
        let slab = self.free().unwrap_or_else(|| BytesMut::with_capacity(SLAB));
        self.open.push(slab);
        self.open.len() - 1
    }

    /// A slab that nobody holds any more: mostly the oldest, but a slow reader may hold some for long.
    fn free(&mut self) -> Option<BytesMut> {
        let at = self.full.iter_mut().position(|slab| slab.try_reclaim(SLAB))?;
        let spare = self.full.get_mut(at + SPARE);
        if spare.is_some_and(|slab| slab.try_reclaim(SLAB)) {
            self.full.remove(at + SPARE);
        }
        self.full.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_used_again_when_nobody_holds_a_batch_of_theirs() {
        let mut slabs = Slabs::default();
        let mut window = VecDeque::new();
        let mut places = std::collections::BTreeSet::new();
        for n in 0..10_000_usize {
            let batch = vec![u8::try_from(n % 251).unwrap(); 1000 + n % 3000];
            let put = slabs.put(batch.clone());
            assert_eq!(put, batch);
            places.insert(put.as_ptr() as usize / SLAB);
            window.push_back((n, put));
            if window.len() > 1000 {
                window.pop_front();
            }
            if n % 1000 == 0 {
                for (n, batch) in &window {
                    assert!(
                        batch.iter().all(|byte| usize::from(*byte) == n % 251),
                        "batch {n} was written over"
                    );
                }
            }
        }
        // The window holds 2.5 MB at a time, of 25 that went through: each slab lies over two places at most.
        assert!(
            slabs.full.len() < 8 && places.len() < 16,
            "{} slabs",
            slabs.full.len()
        );
    }

    #[test]
    fn a_batch_that_somebody_holds_on_to_keeps_its_slab_alone() {
        let mut slabs = Slabs::default();
        let held = slabs.put(vec![7; 1000]);
        for n in 0..10_000_usize {
            drop(slabs.put(vec![u8::try_from(n % 251).unwrap(); 1000]));
        }
        assert!(held.iter().all(|byte| *byte == 7));
        assert!(slabs.full.len() <= 2, "{} slabs", slabs.full.len());
    }

    #[test]
    fn what_a_peak_needed_is_given_back() {
        let mut slabs = Slabs::default();
        let peak: Vec<Bytes> = (0..10_000).map(|_| slabs.put(vec![7; 1000])).collect();
        assert!(slabs.full.len() > 15, "{} slabs", slabs.full.len());
        drop(peak);
        for _ in 0..20_000 {
            drop(slabs.put(vec![7; 1000]));
        }
        assert!(slabs.full.len() <= SPARE + 1, "{} slabs", slabs.full.len());
    }

    #[test]
    fn what_a_large_batch_leaves_of_a_slab_is_filled_with_small_ones() {
        let mut slabs = Slabs::default();
        let mut window = VecDeque::new();
        let mut bytes = 0;
        // Four of these fit into a slab and leave a ninth of it: small ones come beside them.
        for n in 0..10_000_usize {
            let large = n.is_multiple_of(10);
            let put = slabs.put(vec![7; if large { SLAB * 2 / 9 } else { SLAB / 180 }]);
            bytes += put.len();
            window.push_back(put);
            if n >= 4000 {
                bytes -= window.pop_front().unwrap().len();
            }
        }
        let held = slabs.full.len() + slabs.open.len();
        let filled = bytes / SLAB;
        assert!(held <= filled + 1 + OPEN, "{held} slabs for what fills {filled}");
    }

    #[test]
    fn a_large_batch_has_memory_of_its_own() {
        let mut slabs = Slabs::default();
        let batch = vec![1; LARGE];
        let place = batch.as_ptr();
        assert_eq!(slabs.put(batch).as_ptr(), place);
    }
}
