//! The header is the one that cbindgen makes.

use std::path::Path;

/// With `DYRELU_WRITE_HEADER` set, writes the header instead.
#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["status", "dtype", "model", "cancel", "session"] {
        builder = builder.with_src(folder.join("src").join(file).with_extension("rs"));
    }
    builder.generate().unwrap().write(&mut made);
    // C has no sections of documentation.
    let made = String::from_utf8(made).unwrap().replace(" * # Safety\n *\n", " * Memory: ");
    let made = made.replace("Memory:  * ", "Memory: ");
    let header = folder.join("include/dyrelu.h");
    if std::env::var_os("DYRELU_WRITE_HEADER").is_some() {
        std::fs::write(&header, &made).unwrap();
    }
    let found = std::fs::read_to_string(&header).unwrap_or_default();
    assert!(found == made, "write include/dyrelu.h anew: src/lib.rs says how");
}
