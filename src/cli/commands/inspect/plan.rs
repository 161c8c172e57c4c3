//! `dyrelu inspect --plan`: shows the steps of a run, the operators fused into each, and the place
//! of its outputs in memory.

use std::collections::HashMap;
use std::fmt::Write;

use serde::Serialize;

use crate::cli::support::table::{Narrow, sentences, table};
use dyrelu::plan::{Slot, SlotKind, Step};
use dyrelu::simd::Isa;
use dyrelu::{Model, Result};

/// A plan for given shapes of the inputs and a given number of threads.
#[derive(Serialize)]
pub struct Description {
    isa: &'static str,
    threads: usize,
    inputs: Vec<Vec<usize>>,
    arena_bytes: usize,
    workspace_bytes: usize,
    weight_bytes: usize,
    steps: Vec<StepDescription>,
}

#[derive(Serialize)]
struct StepDescription {
    name: String,
    /// The kernel, or "general" for operators without one.
    kernel: &'static str,
    /// The operators of the step, joined by `+`.
    computes: String,
    /// The values that the step reads, without weights.
    reads: Vec<String>,
    outputs: Vec<Buffer>,
    weight_bytes: usize,
}

/// A value that one step writes and later steps read.
#[derive(Serialize)]
struct Buffer {
    name: String,
    shape: Vec<usize>,
    /// The first byte in the arena and one past the last. Absent if the value is not in the arena.
    place: Option<[usize; 2]>,
}

pub fn describe(model: &Model, shapes: Vec<Vec<usize>>, threads: usize) -> Result<Description> {
    let placement = model.placement(shapes.clone(), threads)?;
    let plan = model.plan();
    let slots = plan.slots();
    let buffer = |slot: Slot| Buffer {
        name: slots[slot].name.clone(),
        shape: placement.shape(slot).to_vec(),
        place: placement.place(slot).map(|place| [4 * place.start, 4 * place.end]),
    };
    let is_read =
        |slot: &&Slot| !matches!(slots[**slot].kind, SlotKind::Constant(_) | SlotKind::Fused);
    let describe = |step: &Step| StepDescription {
        name: step.name.clone(),
        kernel: step.kind.name(),
        computes: step.op.clone(),
        reads: step
            .inputs
            .iter()
            .flatten()
            .filter(is_read)
            .map(|&s| slots[s].name.clone())
            .collect(),
        outputs: step.outputs.iter().flatten().map(|&slot| buffer(slot)).collect(),
        weight_bytes: step.kind.weight_bytes(),
    };
    Ok(Description {
        isa: Isa::get().name(),
        threads,
        inputs: shapes,
        arena_bytes: placement.arena_bytes(),
        workspace_bytes: 4 * placement.workspace().len(),
        weight_bytes: plan.weight_bytes(),
        steps: plan.steps().iter().map(describe).collect(),
    })
}

pub fn as_text(d: &Description) -> String {
    let mut text = String::new();
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} steps for inputs of shapes {:?}, threads: {}, {}\n\
         {:.2} MB of working memory, of which {:.2} MB are workspace; {:.1} MB of weights\n",
        d.steps.len(),
        d.inputs,
        d.threads,
        d.isa,
        megabytes(d.arena_bytes),
        megabytes(d.workspace_bytes),
        megabytes(d.weight_bytes)
    );
    let mut text = sentences(&text);
    // The table shows the number of the step that writes a value instead of the value's name.
    let mut writers: HashMap<&str, usize> = HashMap::new();
    let mut rows = Vec::new();
    for (i, step) in d.steps.iter().enumerate() {
        let writer =
            |name: &String| writers.get(name.as_str()).map_or(name.clone(), usize::to_string);
        let mut reads: Vec<_> = step.reads.iter().map(writer).collect();
        // A feature map and its partial sums come from the same step.
        reads.dedup();
        let first = step.outputs.first();
        let place = first.and_then(|output| output.place);
        let place =
            place.map_or("-".into(), |[start, end]| format!("{}..{}", start / 1000, end / 1000));
        rows.push([
            i.to_string(),
            step.kernel.to_string(),
            step.computes.clone(),
            reads.join(" "),
            first.map_or(String::new(), |output| format!("{:?}", output.shape)),
            place,
            step.weight_bytes.div_ceil(1000).to_string(),
            step.name.clone(),
        ]);
        for output in &step.outputs {
            writers.insert(&output.name, i);
        }
    }
    let header =
        ["step", "kernel", "computes", "reads", "output", "place, kB", "weights, kB", "layer"];
    text.push_str(&table(header.map(String::from), rows, &[0, 6], Narrow::Shorten(7)));
    text
}
