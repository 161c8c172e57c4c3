//! Chooses a kernel for every node of an optimised graph.

use std::collections::HashMap;

use crate::error::Result;
use crate::graph::infer::{Types, infer};
use crate::graph::{Graph, Node, Op, PoolKind};
use crate::plan::{
    ConvStep, DenseStep, GlobalAverageStep, HyperfunctionStep, Kernel, MaxAffineStep, Plan, Step,
};
use crate::reference;
use crate::tensor::{DType, Tensor};

/// Lowers a graph to a plan.
///
/// # Errors
/// `Shape` where the graph contradicts itself.
pub fn lower(graph: &Graph) -> Result<Plan> {
    let types = infer(graph)?;
    let steps = graph
        .nodes()
        .iter()
        .map(|node| Step {
            name: node.name.clone(),
            op: node.op.name(),
            kernel: kernel(&types, node),
            inputs: node.inputs.iter().map(|id| id.map(|id| id.index())).collect(),
            outputs: node.outputs.iter().map(|id| id.map(|id| id.index())).collect(),
        })
        .collect();
    let constants: HashMap<usize, Tensor> = graph
        .values()
        .iter()
        .enumerate()
        .filter_map(|(i, value)| Some((i, value.constant.clone()?)))
        .collect();
    let slots = |ids: &[crate::graph::ValueId]| ids.iter().map(|id| id.index()).collect();
    Ok(Plan::new(steps, constants, slots(graph.inputs()), slots(graph.outputs())))
}

fn kernel(types: &Types, node: &Node) -> Box<dyn Kernel> {
    let input = node.input(0).and_then(|id| types.get(id));
    let is_f32 = input.is_some_and(|ty| ty.dtype == DType::F32);
    let rank = input.map_or(0, |ty| ty.dims.len());
    match &node.op {
        Op::Conv(conv) if is_f32 && rank == 4 => Box::new(ConvStep::new(conv.clone())),
        Op::GlobalPool(PoolKind::Average) if is_f32 && rank > 2 => Box::new(GlobalAverageStep),
        Op::Hyperfunction(op) if is_f32 => Box::new(HyperfunctionStep::new(op.clone())),
        Op::MaxAffine(op) if is_f32 => Box::new(MaxAffineStep::new(*op)),
        Op::Gemm(gemm) if is_f32 && rank == 2 => match DenseStep::new(*gemm) {
            Some(step) => Box::new(step),
            None => Box::new(General::new(node)),
        },
        _ => Box::new(General::new(node)),
    }
}

/// What is not worth a kernel of its own: run as the reference runs it.
struct General {
    op: Op,
    outputs: usize,
}

impl General {
    fn new(node: &Node) -> Self {
        General { op: node.op.clone(), outputs: node.outputs.len() }
    }
}

impl Kernel for General {
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        reference::evaluate(&self.op, inputs, self.outputs)
    }
}
