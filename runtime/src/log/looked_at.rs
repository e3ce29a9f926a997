//! A log in whose reads a test looks, and which it lets fail.

use nerve_eventlog::{
    AppendError, Appended, Batch, Bounds, Condition, DropError, Entry, Log, LogId, Offset, Poisoned, Reach,
    ReadError,
};

/// The log `of`, with `before` called before each read of it, with its first offset.
pub(crate) struct LookedAt<'a, L> {
    pub(crate) of: &'a L,
    /// Where the hot window begins, as far as who asks is told.
    pub(crate) hot_first: Option<Offset>,
    pub(crate) before: Box<dyn Fn(Offset) -> Result<(), ReadError> + Send + Sync + 'a>,
}

impl<L: Log> Log for LookedAt<'_, L> {
    fn id(&self) -> LogId {
        self.of.id()
    }

    fn bounds(&self) -> Bounds {
        let bounds = self.of.bounds();
        Bounds {
            hot_first: self.hot_first.unwrap_or(bounds.hot_first),
            ..bounds
        }
    }

    fn append(&self, batch: Batch, condition: Option<Condition<'_>>) -> Result<Appended, AppendError<Batch>> {
        self.of.append(batch, condition)
    }

    fn read(&self, from: Offset, max_bytes: usize, reach: Reach) -> Result<Vec<Entry>, ReadError> {
        (self.before)(from)?;
        self.of.read(from, max_bytes, reach)
    }

    fn read_at(&self, offsets: &[Offset], out: &mut Vec<Entry>) -> Result<(), ReadError> {
        (self.before)(offsets.first().copied().unwrap_or_default())?;
        self.of.read_at(offsets, out)
    }

    fn written_by(&self, writer: &str) -> Option<Offset> {
        self.of.written_by(writer)
    }

    fn largest_batch(&self) -> usize {
        self.of.largest_batch()
    }

    fn wait_durable(&self, through: Offset) -> Result<(), Poisoned> {
        self.of.wait_durable(through)
    }

    fn on_durable(&self, watcher: Box<dyn Fn(Result<Offset, Poisoned>) + Send + Sync>) {
        self.of.on_durable(watcher);
    }

    fn drop_before(&self, offset: Offset) -> Result<Offset, DropError> {
        self.of.drop_before(offset)
    }

    fn close(&self) -> Result<(), Poisoned> {
        self.of.close()
    }
}
