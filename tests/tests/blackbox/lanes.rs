//! A real plugin in several lanes.

use std::fs;

use nerve_tests::Host;
use serde_json::json;

#[test]
fn invariant_03_lanes_count_what_they_share_as_one_lane_does() {
    let mut host = Host::start(&[]);
    fs::write(host.path("plugins/counter.toml"), "lanes = 4\n").unwrap();
    host.drop_built("fixtures/counter");
    host.until("it is live", |host| host.plugin("counter")["status"] == "live");
    let mut last = 0;
    for n in 0..400 {
        let key = format!("k{}", n % 7);
        last = host.publish("test.x", &format!("x{n}"), Some(&key), &json!({ "n": n }));
    }
    assert_eq!(
        host.state("counter", "count/type/test.x", last),
        400,
        "no lane's count is lost to another's"
    );
    let keys: u64 = (0..7)
        .filter_map(|n| host.state("counter", &format!("count/key/k{n}"), last).as_u64())
        .sum();
    assert_eq!(keys, 400);
    let shown = host.plugin("counter");
    assert_eq!(
        (&shown["lanes"], &shown["counters"]["done"]),
        (&json!(4), &json!(400))
    );
    assert_eq!(host.stop(), Some(0));
}
