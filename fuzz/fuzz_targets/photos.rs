//! Photos of any kind: decoded within the limits, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = dyrelu::vision::decode(bytes);
});
