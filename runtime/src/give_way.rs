//! Work beside the way gives way to it.

/// Let whoever wakes up have the processor. What is asked of a host beside deliveries, as loading a version is, takes the better part
/// of a millisecond, and the system lets nobody have its processor before a slice of that order is over: it is done in pieces of a
/// tenth or two of that, with this between them. No lock that lanes need is held meanwhile.
pub(crate) fn give_way() {
    std::thread::yield_now();
}
