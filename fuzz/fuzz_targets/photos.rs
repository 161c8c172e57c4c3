//! Decodes photos within small limits of pixels and memory, or refuses them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let options = dyrelu::vision::DecodeOptions::default().max_pixels(1 << 20).max_memory(64 << 20);
    let _ = options.decode(bytes);
    let _ = options.allow_truncated(true).decode(bytes);
});
