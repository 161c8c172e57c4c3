//! Reads .npy files with the code of the command line. An array that is written again must be read
//! back unchanged.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/cli/support/arrays.rs"]
mod arrays;
#[path = "../../src/cli/support/npy.rs"]
mod npy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = dyrelu_fuzz::file_with(bytes);
    if let Ok(array) = arrays::read(&path) {
        let header = npy::header(array.dtype(), array.shape()).expect("the type was read");
        let file = [&header, array.bytes()].concat();
        let copy = arrays::read(&dyrelu_fuzz::file_with(&file)).expect("the file is valid");
        assert_eq!((array.shape(), array.bytes()), (copy.shape(), copy.bytes()));
    }
});
