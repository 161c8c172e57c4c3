//! Weights in the memory of the file.

use super::*;

/// The network in `file`, and where the bytes of its weight lie.
fn weight_in(file: &Bytes) -> (Graph, usize) {
    let graph = read_bytes(file.clone(), None).unwrap();
    let weight = graph.values().iter().find(|v| v.name == "w").unwrap();
    let address = weight.constant.as_ref().unwrap().bytes().as_ptr() as usize;
    (graph, address)
}

#[test]
fn aligned_weights_are_borrowed_from_the_file() {
    // A longer name of the producer moves the weight by a byte.
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
