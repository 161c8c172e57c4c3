//! Files written and read again, and hostile files.

use super::super::Opened;
use super::writer::encode;
use super::*;
use crate::ErrorKind;
use crate::graph::{Binary, Op, Unary};
use crate::tensor::ALIGNMENT;

fn network() -> Graph {
    let mut g = Graph::new("net");
    g.metadata.insert("labels".into(), "cat\ndog".into());
    let dims = vec![Dim::symbol("N"), 3.into()];
    let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    let w = g.add_constant("w", Tensor::new(&[1, 3], vec![0.5f32, 1e-40, 3.0]).unwrap());
    let i = g.add_constant("i", Tensor::vector(vec![1i64, 3]));
    let sum = g.apply("sum", Op::Binary(Binary::Add), &[x, w]);
    let same = g.apply("same", Op::Expand, &[sum, i]);
    let y = g.apply("y", Op::Unary(Unary::LeakyRelu { alpha: 0.1 }), &[same]);
    g.set_outputs(vec![y]);
    g
}

fn read_bytes(bytes: &[u8]) -> Result<Graph> {
    read_storage(&Storage::from_vec(bytes.to_vec()), |_| {}).map(|(graph, _)| graph)
}

#[test]
fn what_is_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.safetensors");
    for (weights, dtype_loss) in [(WeightStorage::F32, 0.0), (WeightStorage::F16, 1e-3)] {
        let written = write(&network(), None, &path, weights).unwrap();
        assert_eq!(written.flushed, 1);
        let bytes = std::fs::read(&path).unwrap();
        let Opened { graph: g, prepared, .. } = crate::format::from_bytes(&bytes).unwrap();
        assert!(prepared.is_none());
        assert_eq!(g.metadata["labels"], "cat\ndog");
        assert_eq!(g.nodes().len(), 3);
        assert_eq!(g.nodes()[2].op, Op::Unary(Unary::LeakyRelu { alpha: 0.1 }));
        let dims = &g.value(g.inputs()[0]).input.as_ref().unwrap().dims;
        assert_eq!(dims[0].as_symbol(), Some("N"));
        let w = g.constant(g.nodes()[0].input(1).unwrap()).unwrap();
        for (a, b) in w.as_f32().unwrap().iter().zip([0.5, 0.0, 3.0]) {
            assert!((a - b).abs() <= dtype_loss, "{a} and {b}");
        }
    }
}

#[test]
fn tensors_lie_on_boundaries_and_leave_no_holes() {
    let (bytes, _) = encode(&network(), None, WeightStorage::F32).unwrap();
    let (header_len, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((8 + header_len) % ALIGNMENT, 0);
    for (name, info) in header.tensors() {
        let boundary = info.data_offsets.0 % ALIGNMENT == 0;
        assert!(boundary || name.starts_with(PADDING), "{name} at {:?}", info.data_offsets);
    }
}

#[test]
fn hostile_files_are_refused_with_a_sentence() {
    let (good, _) = encode(&network(), None, WeightStorage::F32).unwrap();
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = good.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, ErrorKind, &str)> = vec![
        ("empty", vec![], ErrorKind::Format, "damaged"),
        ("truncated", good[..good.len() - 1].to_vec(), ErrorKind::Format, "damaged"),
        ("huge header", u64::MAX.to_le_bytes().to_vec(), ErrorKind::Format, "damaged"),
        (
            "later version",
            replaced("\"dyrelu.version\":\"1\"", "\"dyrelu.version\":\"9\""),
            ErrorKind::Unsupported,
            "version 9",
        ),
        (
            "offsets",
            replaced("\"data_offsets\":[64,", "\"data_offsets\":[99,"),
            ErrorKind::Format,
            "damaged",
        ),
        ("unknown op", replaced("Expand", "Explod"), ErrorKind::Format, "Explod"),
    ];
    for (case, bytes, kind, words) in cases {
        match read_bytes(&bytes) {
            Ok(_) => panic!("{case}: accepted"),
            Err(e) => {
                assert_eq!(e.kind(), kind, "{case}: {e}");
                assert!(e.to_string().contains(words), "{case}: {e}");
            }
        }
    }
    let plain = safetensors::serialize::<String, safetensors::tensor::TensorView, _>([], None);
    let e = read_bytes(&plain.unwrap()).unwrap_err();
    assert!(e.to_string().contains("without a network"), "{e}");
}

/// Every prefix, and every byte changed, is either refused or read; none panics.
#[test]
fn damaged_files_never_panic() {
    let (whole, _) = encode(&network(), None, WeightStorage::F32).unwrap();
    for at in 0..whole.len() {
        let _ = read_bytes(&whole[..at]);
        for flip in [0x01, 0x10, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            if let Ok(mut graph) = read_bytes(&damaged) {
                let _ = crate::compile::optimise(&mut graph);
            }
        }
    }
}

/// Neither plain nor packed weights are copied.
#[test]
fn tensors_borrow_from_the_contents() {
    let mut packed = PackedTensors::default();
    packed.insert(ValueId(2), "dense", vec![Tensor::vector(vec![1f32; 400])]);
    let prepared = Prepared { packed, ..Prepared::default() };
    let (bytes, _) = encode(&network(), Some(prepared), WeightStorage::F32).unwrap();
    let contents = Contents::copy_of(&bytes).unwrap();
    let memory = contents.as_ref().as_ptr_range();
    let (graph, prepared) = read(contents).unwrap();
    let packed = prepared.unwrap().packed;
    let constants = graph.values().iter().filter_map(|value| value.constant.as_ref());
    let tensors: Vec<_> = constants.chain(packed.iter().flat_map(|(.., parts)| parts)).collect();
    assert_eq!(tensors.len(), 3);
    for tensor in tensors {
        assert!(memory.contains(&tensor.bytes().as_ptr()), "{tensor:?} was copied");
        // What a kernel reads by aligned loads.
        let numbers = tensor.to_numbers::<f32>();
        assert!(numbers.is_none_or(|numbers| memory.contains(&numbers.as_ptr().cast())));
    }
}

/// Reads a network of one layer whose packs were changed by `change`.
fn with_pack(change: impl FnOnce(&mut Vec<StoredPack>)) -> Result<(Graph, Option<Prepared>)> {
    let mut packed = PackedTensors::default();
    packed.insert(ValueId(2), "dense", vec![Tensor::vector(vec![1f32; 4])]);
    let prepared = Prepared { packed, ..Prepared::default() };
    let (bytes, _) = encode(&network(), Some(prepared), WeightStorage::F32)?;
    // The header is written anew, with spaces up to the same boundary or a later one.
    let (length, _) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let text = header["__metadata__"][GRAPH_KEY].as_str().unwrap();
    let mut stored: StoredGraph = serde_json::from_str(text).unwrap();
    change(&mut stored.prepared.as_mut().unwrap().packs);
    header["__metadata__"][GRAPH_KEY] = serde_json::to_string(&stored).unwrap().into();
    let text = header.to_string();
    let padded = (8 + text.len()).next_multiple_of(ALIGNMENT) - 8;
    let mut changed = (padded as u64).to_le_bytes().to_vec();
    changed.extend(format!("{text:padded$}").bytes());
    changed.extend(&bytes[8 + length..]);
    read_storage(&Storage::from_vec(changed), |_| {})
}

#[test]
fn packs_belong_to_values_and_have_their_tensors() {
    let (_, prepared) = with_pack(|_| {}).unwrap();
    assert_eq!(prepared.unwrap().packed.iter().count(), 1);
    let refused = |change: fn(&mut Vec<StoredPack>), words: &str| {
        let error = with_pack(change).expect_err(words).to_string();
        assert!(error.contains("the packed weights of ") && error.contains(words), "{error}");
    };
    refused(|packs| packs[0].value = "nobody".into(), "belong to no value");
    refused(|packs| packs[0].parts.push("__packed.none".into()), "which is not there");
    refused(|packs| packs[0].parts[0] = "__padding.0".into(), "which is not there");
    let twice = |packs: &mut Vec<StoredPack>| {
        let (value, kind) = (packs[0].value.clone(), packs[0].kind.clone());
        packs.push(StoredPack { value, kind, parts: vec![] });
    };
    refused(twice, "are there twice");
    // A tensor of the network cannot be a part as well.
    let stolen = with_pack(|packs| packs[0].parts[0] = "w".into());
    assert!(stolen.unwrap_err().to_string().contains("nothing produces"));
}
