//! Decodes photos within small limits of pixels and memory, or refuses them.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // A panic that the decoder catches is no failure. One that reaches the fuzzer still is.
        let _ = std::panic::take_hook();
    },
    |bytes: &[u8]| {
        let options = dyrelu::vision::DecodeOptions::default();
        let options = options.max_pixels(1 << 20).max_memory(64 << 20);
        let _ = options.decode(bytes);
        let _ = options.allow_truncated(true).decode(bytes);
    }
);
