//! Every mistake gives a compiler error that says what to write: `mistakes/*.rs` with its message beside it.
//! After changing a message: `TRYBUILD=overwrite cargo test -p nerve-sdk --test mistakes`.

#[test]
fn every_mistake_says_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}
