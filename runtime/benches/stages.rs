//! What each stage of an event's way costs: `cargo bench -p nerve --bench stages`, behind `scripts/build-plugins`.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use nerve::bench::stages;

/// As the `nerve` command has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn each_stage(criterion: &mut Criterion) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target-wasm/fixtures");
    let mut group = criterion.benchmark_group("the way");
    group.throughput(Throughput::Elements(stages::EVENTS as u64));
    for (name, make) in stages::ALL {
        let mut made = None;
        group.bench_function(name, |bencher| {
            let stage = made.get_or_insert_with(|| make(&fixtures).expect("the stage can be made"));
            let mut pass = || {
                stage.prepare().expect("it is prepared");
                let begun = Instant::now();
                stage.pass().expect("events go through");
                begun.elapsed()
            };
            bencher.iter_custom(|passes| (0..passes).map(|_| pass()).sum::<Duration>());
        });
    }
}

criterion_group!(way, each_stage);
criterion_main!(way);
