//! Weights that borrow from the contents of the file.

use super::*;

/// Reads the network in `file`, and returns it with the address of its weight.
fn weight_in(file: &Bytes) -> (Graph, usize) {
    let graph = read_bytes(file.clone(), None).unwrap();
    let weight = graph.values().iter().find(|v| v.name == "w").unwrap();
    let address = weight.constant.as_ref().unwrap().bytes().as_ptr() as usize;
    (graph, address)
}

#[test]
fn aligned_weights_are_borrowed_from_the_file() {
    // Each letter in the name of the producer moves the weight by a byte.
    let mut borrowed = 0;
    for length in 1..=4 {
        let mut model = conv_model();
        model.producer_name = "p".repeat(length);
        let file = Bytes::from(model.encode_to_vec());
        let (_graph, address) = weight_in(&file);
        assert_eq!(address % 4, 0);
        borrowed += usize::from(file.as_ptr_range().contains(&(address as *const u8)));
    }
    assert_eq!(borrowed, 1);
}

/// A cache has files named by checksums, and links to them with the names of the model.
#[cfg(unix)]
#[test]
fn data_is_read_through_links_to_the_folder_of_the_model() {
    use std::os::unix::fs::symlink;
    let top = tempfile::tempdir().unwrap();
    let path = |name: &str| top.path().join(name);
    for folder in ["blobs", "elsewhere", "snapshot"] {
        std::fs::create_dir(path(folder)).unwrap();
    }
    let mut external = conv_model();
    let weight = &mut external.graph.as_mut().unwrap().initializer[0];
    let data = std::mem::take(&mut weight.raw_data);
    weight.data_location = 1;
    let (key, value) = ("location".to_string(), "model.onnx_data".to_string());
    weight.external_data = vec![proto::StringEntry { key, value }];
    std::fs::write(path("blobs/1"), external.encode_to_vec()).unwrap();
    std::fs::write(path("blobs/2"), &data).unwrap();
    std::fs::write(path("elsewhere/2"), &data).unwrap();
    let (model, link) = (path("snapshot/model.onnx"), path("snapshot/model.onnx_data"));
    symlink("../blobs/1", &model).unwrap();
    symlink("../blobs/2", &link).unwrap();
    assert!(crate::Model::open(&model).is_ok());

    std::fs::remove_file(&link).unwrap();
    symlink("../elsewhere/2", &link).unwrap();
    let error = crate::Model::open(&model).err().unwrap().to_string();
    assert!(error.contains("elsewhere/2, outside the folder of the model"), "{error}");
    let options = crate::Options::default().external_data_root(path("elsewhere"));
    assert!(crate::Model::open_with(&model, options).is_ok());
}
