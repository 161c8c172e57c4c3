//! Opens, compiles and runs ONNX files, or refuses them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The target `native` has the files that begin like native ones.
    if bytes.get(8) != Some(&b'{') {
        dyrelu_fuzz::open_and_run(bytes);
    }
});
