//! Generates random networks and inputs for them.

mod blocks;
mod builder;
mod choices;
mod elements;
mod layers;
mod shapes;

use std::fmt;

use dyrelu::graph::{Graph, ValueId};
use dyrelu::{DType, Tensor};

use builder::Builder;

/// A network, and one tensor per input.
#[derive(Clone)]
pub struct Case {
    pub graph: Graph,
    pub inputs: Vec<Tensor>,
}

/// Generates a network. `bytes` determine all choices.
pub fn from_bytes(bytes: &[u8]) -> Case {
    let mut b = Builder::new(bytes);
    inputs(&mut b);
    let nodes = b.choices.size(1, 12);
    for _ in 0..nodes {
        // An attempt fails if no operands fit.
        for _ in 0..4 {
            if b.broken || b.choices.is_exhausted() || extend(&mut b).is_some() {
                break;
            }
        }
    }
    b.finish()
}

/// Adds the inputs of the network: images, vectors or tensors of any rank.
fn inputs(b: &mut Builder) {
    let images = b.choices.pick(&[1, 1, 2, 3]);
    let free = b.choices.once_in(2);
    b.set_batch(images, free);
    for _ in 0..b.choices.pick(&[1, 1, 1, 2, 3]) {
        let channels = b.choices.pick(&[3, 1, 2, 4, 7, 8, 9, 16, 17, 24]);
        let side = |b: &mut Builder| match b.choices.within(0, 15) {
            0 => 0,
            1 | 2 => 1,
            3 => b.choices.size(12, 20),
            _ => b.choices.size(2, 9),
        };
        let mut shape = vec![images, channels];
        match b.choices.within(0, 12) {
            // Enough channels and pixels for Winograd's algorithm.
            11 | 12 => {
                shape[1] = b.choices.pick(&[16, 17, 24]);
                shape.extend([b.choices.size(12, 17), b.choices.size(12, 17)]);
            }
            0..6 => shape.extend([side(b), side(b)]),
            6 | 7 => shape.extend([1, 1]),
            8 => {}
            9 => shape.push(side(b)),
            _ => {
                let rank = b.choices.size(0, 5);
                shape = (0..rank).map(|_| b.choices.pick(&[2, 1, 3, 4, 5, 0])).collect();
            }
        }
        let dtype = match b.choices.within(0, 19) {
            17 => b.choices.pick(&[DType::F16, DType::F64, DType::BF16]),
            18 => DType::I64,
            19 => b.choices.pick(&[DType::Bool, DType::I32, DType::U8, DType::I8]),
            _ => DType::F32,
        };
        let tensor = b.choices.tensor(dtype, &shape, (-3.0, 3.0));
        b.input(tensor, free);
    }
}

/// Adds a node or a block of nodes. Returns its output, or `None` if no operands fit.
fn extend(b: &mut Builder) -> Option<ValueId> {
    match b.choices.within(0, 19) {
        0..5 => layers::layer(b),
        5..10 => elements::elementwise(b),
        10..14 => shapes::movement(b),
        _ => blocks::block(b),
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |id: &ValueId| self.graph.value(*id).name.clone();
        let names = |ids: &[Option<ValueId>]| {
            let names = ids.iter().map(|id| id.as_ref().map_or("-".into(), name));
            names.collect::<Vec<_>>().join(", ")
        };
        for (id, tensor) in self.graph.inputs().iter().zip(&self.inputs) {
            let ty = self.graph.value(*id).input.as_ref();
            let ty = ty.map(ToString::to_string).unwrap_or_default();
            writeln!(f, "  input {}: {ty} = {}", name(id), elements(tensor))?;
        }
        for value in self.graph.values() {
            if let Some(tensor) = &value.constant {
                writeln!(f, "  constant {} = {}", value.name, elements(tensor))?;
            }
        }
        for node in self.graph.nodes() {
            let (outputs, inputs) = (names(&node.outputs), names(&node.inputs));
            writeln!(f, "  {outputs} = {:?} ({inputs})", node.op)?;
        }
        let outputs: Vec<_> = self.graph.outputs().iter().copied().map(Some).collect();
        writeln!(f, "  outputs {}", names(&outputs))
    }
}

/// The type, shape and first elements of a tensor.
fn elements(tensor: &Tensor) -> String {
    let limit = 8;
    let values = tensor.cast(DType::F64).ok();
    let values = values.as_ref().and_then(|t| t.as_slice::<f64>().ok()).unwrap_or(&[]);
    let ellipsis = if values.len() > limit { ".." } else { "" };
    let first = &values[..values.len().min(limit)];
    format!("{} {:?} {first:?}{ellipsis}", tensor.dtype(), tensor.shape())
}
