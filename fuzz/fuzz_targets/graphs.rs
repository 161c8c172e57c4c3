//! Random networks: the engine against the reference.
#![no_main]

#[path = "../../tests/differential/compare/mod.rs"]
mod compare;
#[path = "../../tests/differential/graphs/mod.rs"]
mod graphs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let case = graphs::of_bytes(bytes);
    if let Some(difference) = compare::difference(&case) {
        let part = compare::shrink(&case);
        let of_part = compare::difference(&part).unwrap_or_default();
        panic!("{difference}\nits smallest part that differs {of_part}\n{part}");
    }
});
