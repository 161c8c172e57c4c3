//! ONNX files: opened and compiled, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // What begins like a native file is the business of another target.
    if bytes.get(8) != Some(&b'{') {
        dyrelu_fuzz::open_and_run(bytes);
    }
});
