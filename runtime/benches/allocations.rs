//! What each stage of an event's way allocates: `make allocations`. It counts, so that it repeats, however busy the machine is.
//!
//! With the name of a stage it writes that stage's allocations and where they are made into dhat-heap.json, for DHAT's viewer.

use std::path::Path;

use nerve::bench::stages;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    // Whoever only looks for tests, or runs them, finds none here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target-wasm/fixtures");
    let asked = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    println!("{:<28}{:>14}{:>14}", "STAGE", "ALLOCATIONS", "BYTES");
    for (name, make) in stages::ALL {
        if asked.as_ref().is_some_and(|asked| asked != name) {
            continue;
        }
        let mut stage = make(&fixtures).expect("the stage can be made");
        // What is allocated once is there after the first.
        for _ in 0..2 {
            stage.prepare().expect("it is prepared");
            stage.pass().expect("events go through");
        }
        stage.prepare().expect("it is prepared");
        let profiler = match asked {
            None => dhat::Profiler::builder().testing().build(),
            Some(_) => dhat::Profiler::new_heap(),
        };
        let before = asked.is_none().then(dhat::HeapStats::get);
        stage.pass().expect("events go through");
        if let Some(before) = before {
            let after = dhat::HeapStats::get();
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let each = |total: u64| total as f64 / stages::EVENTS as f64;
            println!(
                "{name:<28}{:>14.2}{:>14.0}",
                each(after.total_blocks - before.total_blocks),
                each(after.total_bytes - before.total_bytes)
            );
        }
        drop(profiler);
    }
}
