//! Opens and runs native files with packed weights after changes to their header: types, shapes,
//! offsets, the network, and the descriptions of its packed weights.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Unstructured;
use serde_json::Value;

/// The key of the network, whose JSON is text inside the header.
const NETWORK: &str = "dyrelu.graph";

struct Parts {
    header: Value,
    network: Value,
    data: Vec<u8>,
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let file = dyrelu_fuzz::packed_file();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let network = header["__metadata__"][NETWORK].as_str().unwrap();
    let network = serde_json::from_str(network).unwrap();
    Parts { header, network, data: file[8 + length..].to_vec() }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut choices = Unstructured::new(bytes);
    let (mut header, mut network) = (PARTS.header.clone(), PARTS.network.clone());
    let mut data = PARTS.data.clone();
    while !choices.is_empty() {
        match choices.int_in_range(0..=7).unwrap_or(0) {
            0..4 => change(&mut network, &mut choices),
            4..7 => change(&mut header, &mut choices),
            _ => {
                if let Ok(at) = choices.choose_index(data.len().max(1))
                    && let Some(byte) = data.get_mut(at)
                {
                    *byte = choices.arbitrary().unwrap_or(0);
                }
            }
        }
    }
    if let Some(metadata) = header.get_mut("__metadata__").and_then(Value::as_object_mut) {
        metadata.insert(NETWORK.into(), network.to_string().into());
    }
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.append(&mut data);
    dyrelu_fuzz::open_and_run(&file);
});

/// Changes a value at a random place in a tree.
fn change(value: &mut Value, choices: &mut Unstructured) {
    let inner: usize = match value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    if inner > 0 && choices.int_in_range(0..=9).unwrap_or(0) < 9 {
        let at = choices.choose_index(inner).unwrap_or(0);
        match value {
            Value::Array(list) if choices.int_in_range(0..=19).unwrap_or(0) == 19 => {
                // Remove or repeat an element.
                if choices.arbitrary().unwrap_or(false) {
                    list.remove(at);
                } else {
                    list.insert(at, list[at].clone());
                }
            }
            Value::Array(list) => change(&mut list[at], choices),
            Value::Object(map) => {
                if let Some(inner) = map.values_mut().nth(at) {
                    change(inner, choices);
                }
            }
            _ => {}
        }
        return;
    }
    *value = match &value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            let sum = |by: f64| serde_json::json!(number as i64 + by as i64);
            match choices.int_in_range(0..=7).unwrap_or(0) {
                0 => sum(1.0),
                1 => sum(-1.0),
                2 => serde_json::json!(0),
                3 => serde_json::json!(number as i64 * 2),
                4 => serde_json::json!(number as i64 / 2),
                5 => serde_json::json!(choices.arbitrary::<u64>().unwrap_or(0)),
                6 => serde_json::json!(choices.arbitrary::<i8>().unwrap_or(0)),
                _ => serde_json::json!(choices.arbitrary::<f32>().unwrap_or(0.0)),
            }
        }
        Value::String(_) => {
            const WORDS: &[&str] = &[
                "F32", "F16", "I64", "U8", "f32", "i64", "bool", "x", "conv", "dense", "depthwise",
                "winograd", "Conv", "Gemm", "relu", "N", "",
            ];
            choices.choose(WORDS).copied().unwrap_or("").into()
        }
        Value::Bool(truth) => (!truth).into(),
        _ => Value::Null,
    };
}
