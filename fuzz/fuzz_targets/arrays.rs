//! Arrays in .npy files, as the command reads them, and written again.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/cli/arrays.rs"]
mod arrays;
#[path = "../../src/cli/npy.rs"]
mod npy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = dyrelu_fuzz::file_of(bytes);
    if let Ok(array) = arrays::read(&path) {
        let header = npy::written(array.dtype(), array.shape()).expect("it was read from such");
        let file = [&header, array.bytes()].concat();
        let again = arrays::read(&dyrelu_fuzz::file_of(&file)).expect("it was written");
        assert_eq!((array.shape(), array.bytes()), (again.shape(), again.bytes()));
    }
});
