//! What is durable, and who waits for it: when a sync ends, those alone are woken whose offset it reached. There may be
//! thousands of syncs in a second, and a task that is woken by each only to look takes the processors from those who deliver.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use nerve_eventlog::Offset;
use parking_lot::Mutex;

use crate::host::Stopped;

/// How far the log is durable.
pub struct Durable(Mutex<Waiting>);

struct Waiting {
    /// The last durable offset, or why there will be no more.
    reached: Result<Offset, Stopped>,
    /// By the offset that each waits for, and who it is.
    wakers: BTreeMap<(Offset, u64), Waker>,
    /// Who waits next.
    next: u64,
}

impl Durable {
    /// Everything up to `through` is.
    pub(super) fn new(through: Offset) -> Self {
        Self(Mutex::new(Waiting {
            reached: Ok(through),
            wakers: BTreeMap::new(),
            next: 0,
        }))
    }

    /// The last durable offset; an error once the log is poisoned.
    pub fn now(&self) -> Result<Offset, Stopped> {
        self.0.lock().reached.clone()
    }

    /// Wait until `through` is durable. Answers the last durable offset.
    ///
    /// # Cancel safety
    /// May be cancelled at any time.
    pub fn reached(&self, through: Offset) -> Reached<'_> {
        Reached {
            durable: self,
            through,
            waits: None,
        }
    }

    /// A sync ended, or no other will.
    pub(super) fn tell(&self, reached: Result<Offset, Stopped>) {
        let woken = {
            let mut waiting = self.0.lock();
            let rest = match &reached {
                Ok(through) => waiting.wakers.split_off(&(through.next(), 0)),
                Err(_) => BTreeMap::new(),
            };
            waiting.reached = reached;
            std::mem::replace(&mut waiting.wakers, rest)
        };
        woken.into_values().for_each(Waker::wake);
    }
}

/// A wait for one offset.
#[must_use = "it waits when it is awaited"]
pub struct Reached<'a> {
    durable: &'a Durable,
    through: Offset,
    /// Its place among those who wait.
    waits: Option<u64>,
}

impl Future for Reached<'_> {
    type Output = Result<Offset, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let durable = self.durable;
        let mut waiting = durable.0.lock();
        match &waiting.reached {
            Ok(reached) if *reached < self.through => {}
            reached => return Poll::Ready(reached.clone()),
        }
        let number = self.waits.unwrap_or(waiting.next);
        waiting.next = waiting.next.max(number + 1);
        waiting
            .wakers
            .insert((self.through, number), context.waker().clone());
        self.waits = Some(number);
        Poll::Pending
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.waits {
            self.durable.0.lock().wakers.remove(&(self.through, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A wait, and how often it was woken.
    struct Waits<'a>(Pin<Box<Reached<'a>>>, Arc<Count>);

    impl<'a> Waits<'a> {
        fn begin(durable: &'a Durable, through: u64) -> Self {
            let mut waits = Self(Box::pin(durable.reached(Offset(through))), Arc::default());
            assert_eq!(waits.poll(), Poll::Pending);
            waits
        }

        fn poll(&mut self) -> Poll<Result<Offset, Stopped>> {
            self.0
                .as_mut()
                .poll(&mut Context::from_waker(&self.1.clone().into()))
        }

        fn woken(&self) -> u32 {
            self.1.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn those_alone_are_woken_whose_offset_is_reached() {
        let durable = Durable::new(Offset(3));
        let [mut four, mut seven, mut eight] = [4, 7, 8].map(|through| Waits::begin(&durable, through));
        durable.tell(Ok(Offset(7)));
        assert_eq!([four.woken(), seven.woken(), eight.woken()], [1, 1, 0]);
        assert_eq!(four.poll(), Poll::Ready(Ok(Offset(7))));
        assert_eq!(seven.poll(), Poll::Ready(Ok(Offset(7))));
        assert_eq!(eight.poll(), Poll::Pending, "asked again without being woken");
        durable.tell(Ok(Offset(8)));
        assert_eq!(eight.woken(), 1, "once, however often it was asked");
        assert_eq!(eight.poll(), Poll::Ready(Ok(Offset(8))));
        assert_eq!(durable.now(), Ok(Offset(8)));
    }

    #[test]
    fn everybody_is_told_that_nothing_more_becomes_durable() {
        let durable = Durable::new(Offset(3));
        let mut far = Waits::begin(&durable, u64::MAX);
        let poisoned = Stopped::Poisoned("the sync failed".into());
        durable.tell(Err(poisoned.clone()));
        assert_eq!(far.woken(), 1);
        assert_eq!(far.poll(), Poll::Ready(Err(poisoned.clone())));
        assert_eq!(durable.now(), Err(poisoned));
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let durable = Durable::new(Offset(0));
        let waits = [5, 5, 9].map(|through| Waits::begin(&durable, through));
        assert_eq!(durable.0.lock().wakers.len(), 3);
        drop(waits);
        assert!(durable.0.lock().wakers.is_empty());
    }
}
