//! Native weight files: opened and compiled, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dyrelu_fuzz::open_and_run(bytes);
});
