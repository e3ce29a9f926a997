//! Stub until the real one lands.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "stub")]
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Offset(pub u64);
impl Offset {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);
#[derive(Clone, Copy, Debug)]
pub struct LogId(pub [u8; 16]);
impl LogId {
    pub fn short(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}
#[derive(Debug, Clone)]
pub struct Entry {
    pub offset: Offset,
    pub time: Micros,
    pub payload: Bytes,
}
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub first: Offset,
    pub durable: Offset,
    pub last: Offset,
    pub hot_first: Offset,
}
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    Durable,
    Appended,
}
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {asked} is gone; the first offset left is {first}")]
    Gone { asked: Offset, first: Offset },
}
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Poisoned(pub String);
#[derive(Debug, Default)]
pub struct Batch(Vec<Vec<u8>>, Option<String>);
impl Batch {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn with_capacity(_: usize) -> Self {
        Self::default()
    }
    pub fn push(&mut self, r: &[u8]) {
        self.0.push(r.to_vec());
    }
    pub fn push_with(&mut self, f: impl FnOnce(&mut Vec<u8>)) {
        let mut v = vec![];
        f(&mut v);
        self.0.push(v);
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn writer(mut self, n: &str) -> Self {
        self.1 = Some(n.into());
        self
    }
}
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    pub writer: &'a str,
    pub last: Option<Offset>,
}
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub first: Offset,
    pub last: Offset,
    pub time: Micros,
}
#[derive(Debug, thiserror::Error)]
pub enum AppendError<B> {
    #[error("full")]
    Full { batch: B, undurable_bytes: usize },
    #[error("conflict")]
    Conflict { batch: B },
    #[error("closed")]
    Closed { batch: B },
    #[error("poisoned {reason}")]
    Poisoned { batch: B, reason: String },
}
pub trait Log: Send + Sync {
    fn id(&self) -> LogId;
    fn bounds(&self) -> Bounds;
    fn append(&self, batch: Batch, c: Option<Condition<'_>>) -> Result<Appended, AppendError<Batch>>;
    fn read(&self, from: Offset, max_bytes: usize, reach: Reach) -> Result<Vec<Entry>, ReadError>;
    fn read_at(&self, o: &[Offset], out: &mut Vec<Entry>) -> Result<(), ReadError>;
    fn wait_durable(&self, through: Offset) -> Result<(), Poisoned>;
    fn on_durable(&self, w: Box<dyn Fn(Result<Offset, Poisoned>) + Send + Sync>);
    fn close(&self) -> Result<(), Poisoned>;
}
pub trait Clock: Send + Sync {
    fn now(&self) -> Micros;
}
pub struct SystemClock;
impl Clock for SystemClock {
    fn now(&self) -> Micros {
        #[allow(clippy::disallowed_methods)]
        Micros(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64)
    }
}
pub struct ManualClock(Mutex<Micros>);
impl ManualClock {
    pub fn new(m: Micros) -> Self {
        Self(Mutex::new(m))
    }
    pub fn set(&self, m: Micros) {
        *self.0.lock() = m;
    }
}
impl Clock for ManualClock {
    fn now(&self) -> Micros {
        *self.0.lock()
    }
}
#[derive(Clone, Copy, Debug, Default)]
pub enum Durability {
    #[default]
    Fsync,
    Os,
    Memory,
}
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub durability: Durability,
}
pub mod storage {
    pub trait Storage: Send + Sync {}
    #[derive(Default)]
    pub struct MemoryStorage;
    pub struct FsStorage;
    impl FsStorage {
        pub fn new(_: std::path::PathBuf) -> Self {
            Self
        }
    }
    impl Storage for MemoryStorage {}
    impl Storage for FsStorage {}
}
pub struct FileLog {
    e: Mutex<(Vec<Entry>, std::collections::HashMap<String, Offset>)>,
    clock: Arc<dyn Clock>,
    w: Mutex<Vec<Box<dyn Fn(Result<Offset, Poisoned>) + Send + Sync>>>,
}
pub struct Torn {
    pub may_hold_acknowledged: bool,
    pub bytes: u64,
    pub copied_to: String,
}
pub struct Recovered {
    pub torn: Option<Torn>,
}
#[derive(Debug, thiserror::Error)]
#[error("open")]
pub struct OpenError;
impl FileLog {
    pub fn open(
        _: Arc<dyn storage::Storage>,
        _: Options,
        clock: Arc<dyn Clock>,
        _: &mut dyn FnMut(&Entry),
    ) -> Result<(Self, Recovered), OpenError> {
        Ok((Self { e: Mutex::default(), clock, w: Mutex::default() }, Recovered { torn: None }))
    }
    pub fn size(&self) -> (usize, u64) {
        (0, 0)
    }
}
impl Log for FileLog {
    fn id(&self) -> LogId {
        LogId([0; 16])
    }
    fn bounds(&self) -> Bounds {
        let n = Offset(self.e.lock().0.len() as u64);
        Bounds { first: Offset(1), durable: n, last: n, hot_first: Offset(1) }
    }
    fn append(&self, batch: Batch, c: Option<Condition<'_>>) -> Result<Appended, AppendError<Batch>> {
        let mut e = self.e.lock();
        if let Some(c) = c {
            if e.1.get(c.writer).copied() != c.last {
                return Err(AppendError::Conflict { batch });
            }
        }
        let time = self.clock.now();
        let first = Offset(e.0.len() as u64 + 1);
        for r in &batch.0 {
            let offset = Offset(e.0.len() as u64 + 1);
            e.0.push(Entry { offset, time, payload: Bytes::copy_from_slice(r) });
        }
        let last = Offset(e.0.len() as u64);
        if let Some(w) = batch.1 {
            e.1.insert(w, last);
        }
        drop(e);
        for w in self.w.lock().iter() {
            w(Ok(last));
        }
        Ok(Appended { first, last, time })
    }
    fn read(&self, from: Offset, _: usize, _: Reach) -> Result<Vec<Entry>, ReadError> {
        Ok(self.e.lock().0.iter().skip(from.0 as usize - 1).take(100).cloned().collect())
    }
    fn read_at(&self, o: &[Offset], out: &mut Vec<Entry>) -> Result<(), ReadError> {
        let e = self.e.lock();
        out.extend(o.iter().map(|o| e.0[o.0 as usize - 1].clone()));
        Ok(())
    }
    fn wait_durable(&self, _: Offset) -> Result<(), Poisoned> {
        Ok(())
    }
    fn on_durable(&self, w: Box<dyn Fn(Result<Offset, Poisoned>) + Send + Sync>) {
        self.w.lock().push(w);
    }
    fn close(&self) -> Result<(), Poisoned> {
        Ok(())
    }
}
