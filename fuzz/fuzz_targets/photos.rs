//! Decodes photos within small limits of pixels and memory, or refuses them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut options = dyrelu::vision::DecodeOptions::default();
    options.max_pixels = 1 << 20;
    options.max_memory = 64 << 20;
    let _ = options.decode(bytes);
    options.allow_truncated = true;
    let _ = options.decode(bytes);
});
