//! Opens, compiles and runs native weight files, or refuses them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dyrelu_fuzz::open_and_run(bytes);
});
