//! Compares the engine with the reference executor on random networks.
#![no_main]

#[path = "../../tests/differential/compare/mod.rs"]
mod compare;
#[path = "../../tests/differential/graphs/mod.rs"]
mod graphs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let case = graphs::from_bytes(bytes);
    if let Some(difference) = compare::difference(&case) {
        let part = compare::shrink(&case);
        let part_difference = compare::difference(&part).unwrap_or_default();
        panic!("{difference}\nthe smallest part of it that differs {part_difference}\n{part}");
    }
});
