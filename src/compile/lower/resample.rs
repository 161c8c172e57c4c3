//! Nodes that put pixels of maps elsewhere: interleaving, resizing, padding and sampling.

use super::choose;
use super::network::Network;
use crate::graph::{
    AspectRatioPolicy, CoordinateTransform, DeformedWindows, DepthOrder, Dim, GridSample,
    Interleave, Node, Op, PadMode, Resize, ValueId, geometry,
};
use crate::plan::{
    InterleavePrimitive, InterpolatePrimitive, MOST_INPUTS, Positions, Primitive, SamplePrimitive,
    Sampling, StepEpilogue,
};

/// An operation that computes lines of pixels. Its step applies an epilogue.
pub(super) struct Resample {
    /// The maps that it reads.
    pub inputs: Vec<ValueId>,
    kind: Kind,
}

enum Kind {
    Interleave { steps: [usize; 2], phases: Vec<[usize; 3]> },
    Resize { op: Resize, scales: Option<[f32; 2]> },
    Pad { mode: PadMode, before: [i64; 2], value: f32 },
    Windows(DeformedWindows),
    Grid(GridSample),
}

/// The inputs of a step that are left for its epilogue.
const INPUTS_OF_EPILOGUE: usize = 4;

impl Resample {
    /// Returns the operation that `node` is, if there is a kernel for it.
    pub fn of(net: &Network, node: &Node) -> Option<Self> {
        let kind = match &node.op {
            Op::Interleave(op) => interleave(op),
            &Op::DepthToSpace { block, order } => depth_to_space(net, node, block, order)?,
            Op::Resize(op) => resize(net, node, op)?,
            &Op::Pad { mode } => pad(net, node, mode)?,
            Op::DeformedWindows(op) => Kind::Windows(op.clone()),
            &Op::GridSample(op) => Kind::Grid(op),
            _ => return None,
        };
        let inputs = match kind {
            Kind::Interleave { .. } | Kind::Windows(_) | Kind::Grid(_) => {
                node.inputs.iter().copied().collect::<Option<Vec<_>>>()?
            }
            _ => vec![node.input(0)?],
        };
        let is_grid = |i: usize| i == 1 && matches!(kind, Kind::Grid(_));
        let is_map = |(i, &value): (usize, &ValueId)| match is_grid(i) {
            true => net.maps.is_nhwc(value),
            false => net.maps.is_nchw(value),
        };
        let are_maps = inputs.iter().enumerate().all(is_map) && net.maps.is_nchw(node.output());
        // Positions may be constants.
        let maps = if matches!(kind, Kind::Windows(_) | Kind::Grid(_)) { 1 } else { inputs.len() };
        let are_computed = inputs[..maps].iter().all(|&value| net.graph.constant(value).is_none());
        let fits = inputs.len() + INPUTS_OF_EPILOGUE <= MOST_INPUTS;
        (are_maps && are_computed && fits).then_some(Resample { inputs, kind })
    }

    /// Returns the primitive, with what is fused into it.
    pub fn primitive(&self, epilogue: StepEpilogue) -> Box<dyn Primitive> {
        match &self.kind {
            Kind::Interleave { steps, phases } => {
                Box::new(InterleavePrimitive { steps: *steps, phases: phases.clone(), epilogue })
            }
            Kind::Resize { op, scales } => {
                let sampling = Sampling::Resize { op: op.clone(), scales: *scales };
                Box::new(SamplePrimitive::new(sampling, op.extrapolation_value, epilogue))
            }
            &Kind::Pad { mode, before, value } => {
                Box::new(SamplePrimitive::new(Sampling::Pad { mode, before }, value, epilogue))
            }
            Kind::Windows(DeformedWindows { kernel, deform }) => {
                let window = choose::window(&deform.conv, *kernel);
                let (groups, masked) = (deform.offset_groups, self.inputs.len() == 3);
                let positions = Positions::Windows { window, groups, masked };
                Box::new(InterpolatePrimitive { positions, epilogue })
            }
            &Kind::Grid(op) => {
                Box::new(InterpolatePrimitive { positions: Positions::Grid(op), epilogue })
            }
        }
    }
}

fn interleave(op: &Interleave) -> Kind {
    let phases = op.phases.iter().map(|&[input, first]| [input, first, 1]).collect();
    Kind::Interleave { steps: op.steps, phases }
}

fn depth_to_space(net: &Network, node: &Node, block: usize, order: DepthOrder) -> Option<Kind> {
    let phases = block.checked_mul(block)?;
    let depth =
        net.maps.channels(node.input(0)?)?.checked_div(phases).filter(|&depth| depth > 0)?;
    let phase = |at: usize| match order {
        DepthOrder::Dcr => [0, at * depth, 1],
        DepthOrder::Crd => [0, at, phases],
    };
    Some(Kind::Interleave { steps: [block; 2], phases: (0..phases).map(phase).collect() })
}

/// Whether images and channels stay as they are from `x` to `y`.
fn keeps_channels(net: &Network, x: ValueId, y: ValueId) -> Option<bool> {
    Some(net.maps.dims(x)?.get(..2)? == net.maps.dims(y)?.get(..2)?)
}

fn resize(net: &Network, node: &Node, op: &Resize) -> Option<Kind> {
    let x = node.input(0)?;
    let crops = op.coordinates == CoordinateTransform::TfCropAndResize;
    let stretches = op.keep_aspect_ratio == AspectRatioPolicy::Stretch;
    if crops || !stretches || !keeps_channels(net, x, node.output())? {
        return None;
    }
    let axes = geometry::resized_axes(op, 4).ok()?;
    let scales = node.input(2).and_then(|scales| net.graph.constant(scales));
    let Some(scales) = scales.filter(|scales| !scales.is_empty()) else {
        node.input(3)?;
        return Some(Kind::Resize { op: op.clone(), scales: None });
    };
    let scales = scales.as_f32().ok().filter(|scales| scales.len() == axes.len())?;
    let mut of_axes = [1.0; 4];
    axes.iter().zip(scales).for_each(|(&axis, &scale)| of_axes[axis] = scale);
    let [1.0, 1.0, down, across] = of_axes else { return None };
    Some(Kind::Resize { op: op.clone(), scales: Some([down, across]) })
}

fn pad(net: &Network, node: &Node, mode: PadMode) -> Option<Kind> {
    if !keeps_channels(net, node.input(0)?, node.output())? {
        return None;
    }
    let numbers = |input: usize| -> Option<Vec<i64>> {
        net.types.contents(node.input(input)?)?.iter().map(Dim::as_const).collect()
    };
    let names = match node.input(3) {
        Some(_) => Some(numbers(3)?),
        None => None,
    };
    let pads = geometry::pads_of_axes(4, &numbers(1)?, names.as_deref()).ok()?;
    let value = match node.input(2) {
        Some(value) => *net.graph.constant(value)?.as_f32().ok()?.first()?,
        None => 0.0,
    };
    let on_space = pads[..2].iter().all(|&pad| pad == (0, 0));
    // A crop changes what the border element is.
    let grows = pads.iter().all(|&(before, after)| before >= 0 && after >= 0);
    let fits = on_space && (grows || mode == PadMode::Constant);
    fits.then(|| Kind::Pad { mode, before: [pads[2].0, pads[3].0], value })
}
