//! The engine that compiles and runs guests, and the ticker that ends those that run too long.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, EngineWeak, OptLevel, RegallocAlgorithm};

use super::cache::{self, Cache, CacheError, Kept};
use super::compiler::{CompileError, Compiler};
use super::guest::Guest;
use super::settings::Limits;
use super::stack::Stack;
use super::v1::{Linked, Plugin};
use super::wasi;
use crate::allotment::Allotment;
use crate::give_way::give_way;

/// How often guests are looked at. A deadline is met within two of these.
pub const TICK: Duration = Duration::from_millis(2);

/// Ticks without a guest after which the ticker rests.
const REST_AFTER: u32 = 100;

/// Compiles and runs guests. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    below: wasmtime::Engine,
    compiler: Arc<Compiler>,
    linker: Arc<Linker<Guest>>,
    /// The same, and what components of other tool chains import.
    with_wasi: Arc<Linker<Guest>>,
    ticker: Arc<Ticker>,
    cache: Option<Arc<Cache>>,
    code: Code,
    /// What is left of its components.
    places: Arc<Semaphore>,
    allotment: Allotment,
}

/// A component's place among those that are loaded, until it is dropped.
#[derive(Clone)]
pub struct Place(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>);

/// As many components are loaded as the system has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {} files and map {} pieces of memory, which is enough for {} components, {} of them in place of others, and there is \
     none left; let it have more (`LimitNOFILE=` of a service or `ulimit -n`, and `vm.max_map_count`), start it again, and deploy the plugin \
     once more where it does not run then", .0.files, .0.pieces, .0.components, .0.kept
)]
pub struct NoPlace(Allotment);

/// What code is compiled to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Code {
    /// As fast as it gets.
    #[default]
    Optimized,
    /// Compiled sooner, and slower: for plugins that are saved, tried and saved again.
    Quick,
    /// Its guests count the instructions that they run, which makes them slower: for trials.
    Counting,
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refused its configuration.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The folder of compiled code can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Engine {
    /// An engine that keeps compiled code in the folder `cache`, and compiles in processes of the program `compiler`,
    /// which is a `nerve` of this very build. Without a folder nothing is kept; without a program this process
    /// compiles, and the limits of compiling don't hold.
    pub fn new(
        cache: Option<PathBuf>,
        compiler: Option<PathBuf>,
        stack: Stack,
        code: Code,
    ) -> Result<Self, EngineError> {
        let refused = |cause: wasmtime::Error| EngineError::Engine(format!("{cause:#}"));
        let engine = below(code, stack).map_err(refused)?;
        let mut linker = Linker::new(&engine);
        Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest).map_err(refused)?;
        let mut with_wasi = linker.clone();
        wasi::add_to_linker(&mut with_wasi).map_err(refused)?;
        let ticker = Ticker::start(engine.weak());
        let allotment = Allotment::now();
        let cache = cache
            .map(|folder| Cache::open(folder).map(Arc::new))
            .transpose()?;
        Ok(Self {
            below: engine,
            compiler: Arc::new(compiler.map_or(Compiler::Here, Compiler::Child)),
            linker: Arc::new(linker),
            with_wasi: Arc::new(with_wasi),
            ticker,
            cache,
            code,
            places: Arc::new(Semaphore::new(allotment.components)),
            allotment,
        })
    }

    /// Whether there is a place for the component of one more plugin, besides those that are kept for what takes the place of another.
    pub(super) fn has_place(&self) -> Result<(), NoPlace> {
        let is_left = self.places.available_permits() > self.allotment.kept;
        is_left.then_some(()).ok_or(NoPlace(self.allotment))
    }

    /// A place for a component, before it is compiled.
    pub(super) fn place(&self) -> Result<Place, NoPlace> {
        let place = self.places.clone().try_acquire_owned();
        place
            .map(|place| Place(Arc::new(place)))
            .map_err(|_| NoPlace(self.allotment))
    }

    /// The compiled form of `bytes`, a component or a core module, from the cache where it is there. Blocks.
    pub(super) fn compile(&self, bytes: &[u8], limits: &Limits) -> Result<Component, CompileError> {
        let name = cache::name(&self.below, bytes);
        give_way();
        if let Some(component) = self.cached(&name) {
            return Ok(component);
        }
        let code = self.compiler.compile(&self.below, self.code, bytes, limits)?;
        let component = self
            .load(&code)
            .map_err(|cause| CompileError::Fault(format!("its code is of no use to this host: {cause:#}")))?;
        let Some(cache) = &self.cache else {
            return Ok(component);
        };
        cache.keep(&name, &code);
        Ok(self.cached(&name).unwrap_or(component))
    }

    /// What the cache has under `name`.
    fn cached(&self, name: &str) -> Option<Component> {
        let kept = self.cache.as_ref()?.read(name)?;
        give_way();
        self.load_kept(&kept).ok()
    }

    /// Mapped, code takes memory for what of it is run, and the system may take that back; where a file system forbids to run
    /// anything of it, it is copied.
    fn load_kept(&self, kept: &Kept) -> wasmtime::Result<Component> {
        self.map(&kept.path).or_else(|_| self.load(&kept.code))
    }

    /// The code in a file that the cache vouches for.
    fn map(&self, file: &Path) -> wasmtime::Result<Component> {
        #[expect(
            unsafe_code,
            reason = "as below; what is in the cache's folder is trusted as much as the binary of this process, which is \
                      mapped as well"
        )]
        unsafe {
            Component::deserialize_file(&self.below, file)
        }
    }

    /// `code` that a compiler of ours made.
    fn load(&self, code: &[u8]) -> wasmtime::Result<Component> {
        #[expect(
            unsafe_code,
            reason = "the code comes from a compiler of this build, at first hand or under the cache's seal: it is \
                      trusted as much as this process would trust what it compiled itself"
        )]
        unsafe {
            Component::deserialize(&self.below, code)
        }
    }

    /// Whether its guests count what they do.
    pub(super) fn counts_fuel(&self) -> bool {
        self.code == Code::Counting
    }

    /// The engine below.
    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.below
    }

    /// Bytes of a guest's stack.
    pub(super) fn stack_bytes(&self) -> usize {
        self.below.get_max_wasm_stack()
    }

    /// `component`, linked with what it may call.
    pub(super) fn link(&self, component: &Component) -> wasmtime::Result<Linked> {
        let kind = component.component_type();
        let linked = if kind.imports(&self.below).any(|(name, _)| wasi::is_known(name)) {
            let mut linker = Linker::clone(&self.with_wasi);
            wasi::deny(self, component, &mut linker)?;
            linker.instantiate_pre(component)?
        } else {
            self.linker.instantiate_pre(component)?
        };
        Linked::new(linked)
    }

    /// Say that a guest runs, until the answer is dropped.
    pub(super) fn run_guest(&self) -> Running<'_> {
        self.ticker.running.fetch_add(1, Ordering::SeqCst);
        if !self.ticker.awake.load(Ordering::SeqCst) {
            self.ticker.wake();
        }
        Running(&self.ticker)
    }
}

/// The engine below: whoever compiles for it must have the same one, but for the stack.
pub(super) fn below(code: Code, stack: Stack) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(code == Code::Counting)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .max_wasm_stack(stack.bytes());
    if code == Code::Quick {
        config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    wasmtime::Engine::new(&config)
}

/// A guest runs.
pub(super) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Advances the engine's epoch while guests run; an idle host ticks nothing.
struct Ticker {
    running: AtomicUsize,
    awake: AtomicBool,
    lock: Mutex<()>,
    ring: Condvar,
}

impl Ticker {
    fn start(engine: EngineWeak) -> Arc<Self> {
        let ticker = Arc::new(Self {
            running: AtomicUsize::new(0),
            awake: AtomicBool::new(false),
            lock: Mutex::new(()),
            ring: Condvar::new(),
        });
        let weak = Arc::downgrade(&ticker);
        let run = move || {
            while let Some(ticker) = weak.upgrade() {
                ticker.rest();
                let mut idle = 0;
                while idle < REST_AFTER {
                    let mut held = ticker.lock.lock();
                    // The lock is only there for the wait; nobody rings during a tick.
                    ticker.ring.wait_for(&mut held, TICK);
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                    idle = if ticker.running.load(Ordering::SeqCst) == 0 {
                        idle + 1
                    } else {
                        0
                    };
                }
                drop(ticker);
            }
        };
        if let Err(cause) = std::thread::Builder::new()
            .name("plugin-ticker".into())
            .spawn(run)
        {
            tracing::error!("no thread for the deadlines of plugins: {cause}");
        }
        ticker
    }

    fn wake(&self) {
        let _held = self.lock.lock();
        self.awake.store(true, Ordering::SeqCst);
        self.ring.notify_one();
    }

    /// Wait until a guest runs; looks now and then whether the engine is still there.
    fn rest(&self) {
        let mut held = self.lock.lock();
        self.awake.store(false, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) == 0 {
            self.ring.wait_for(&mut held, Duration::from_secs(10));
        }
        self.awake.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(cache: &Path) -> Engine {
        Engine::new(Some(cache.to_owned()), None, Stack::default(), Code::default()).unwrap()
    }

    fn component() -> Vec<u8> {
        wat::parse_str("(component (core module $m (func (export \"f\"))) (core instance (instantiate $m)))")
            .unwrap()
    }

    #[test]
    fn code_is_mapped_from_the_cache_once_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().canonicalize().unwrap().join("cache");
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let runs = |line: &&str| line.contains(cache.to_str().unwrap()) && line.contains("r-xp");
            maps.lines().filter(runs).count()
        };
        for when in ["compiled", "kept"] {
            let component = engine(&cache).compile(&component(), &Limits::default()).unwrap();
            assert_eq!(mapped(), 1, "{when}");
            drop(component);
            assert_eq!(mapped(), 0, "{when}");
        }
        let name = cache::name(engine(&cache).wasmtime(), &component());
        // A file that was damaged is not mapped, but made anew.
        let whole = std::fs::read(cache.join(&name)).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(cache.join(&name), damaged).unwrap();
        let component = engine(&cache).compile(&component(), &Limits::default()).unwrap();
        assert_eq!(
            (mapped(), std::fs::read(cache.join(&name)).unwrap() == whole),
            (1, true)
        );
        drop(component);
    }

    #[test]
    fn code_that_can_not_be_mapped_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path());
        let compiled = engine.compile(&component(), &Limits::default()).unwrap();
        let kept = Kept {
            path: "/not/there".into(),
            code: compiled.serialize().unwrap(),
        };
        engine.load_kept(&kept).unwrap();
    }
}
