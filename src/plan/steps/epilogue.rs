//! The epilogue of a step, by the positions of the inputs that it reads.

use super::arguments::Inputs;
use crate::kernels::Block;
use crate::kernels::activation::Activation;
use crate::kernels::epilogue::{Epilogue, Join};
use crate::kernels::transform::transform_in_place;
use crate::simd::Isa;

/// What is fused into a step. A map that it reads is given by its position among the inputs of the
/// step; [`for_image`](Self::for_image) looks the maps up.
#[derive(Clone, Debug, Default)]
pub struct StepEpilogue {
    /// A map that is added before the activation.
    pub before: Option<usize>,
    /// The activation.
    pub activation: Option<Activation>,
    /// The coefficients of a max-affine activation, if the network computes them.
    pub coefficients: Option<usize>,
    /// The coefficients of a max-affine activation, if they are constants:
    /// `[2K][padded channels]`.
    pub constant_coefficients: Vec<f32>,
    /// The attention, a plane that scales the activation.
    pub attention: Option<usize>,
    /// The bounds of the activation's value.
    pub clamp: Option<[f32; 2]>,
    /// A map that joins the result after the activation.
    pub after: Option<usize>,
    /// How that map joins.
    pub join: Join,
}

impl StepEpilogue {
    /// Adds `by` to the positions of all inputs.
    pub fn shift(&mut self, by: usize) {
        let Self { before, coefficients, attention, after, .. } = self;
        for position in [before, coefficients, attention, after].into_iter().flatten() {
            *position += by;
        }
    }

    /// Returns whether nothing is fused.
    pub fn is_empty(&self) -> bool {
        let Self { before, activation, attention, clamp, after, .. } = self;
        let reads = [before, attention, after].into_iter().any(Option::is_some);
        !reads && activation.is_none() && clamp.is_none()
    }

    /// Applies the epilogue to one row of `block`, a line of pixels of `width` elements that has just
    /// been written, and adds the line to the sums.
    pub fn finish_line(
        &self,
        isa: Isa,
        inputs: &Inputs,
        block: &mut Block,
        line: usize,
        width: usize,
    ) {
        if self.is_empty() && block.sums().is_none() {
            return;
        }
        let epilogue = self.for_image(inputs, block.image());
        let pixels = block.width() / width;
        let epilogue = epilogue.rows(line * pixels..(line + 1) * pixels, width);
        transform_in_place(isa, &epilogue, &mut block.pixels(line, width));
    }

    /// Returns the epilogue for image number `image` of a step with these inputs.
    pub fn for_image<'a>(&'a self, inputs: &Inputs<'a>, image: usize) -> Epilogue<'a> {
        let map = |i: Option<usize>| inputs[i?].map(|view| view.image(image));
        let channels = |i: Option<usize>| Some(inputs[i?]?.extent.channels);
        Epilogue {
            before: map(self.before),
            activation: self.activation.unwrap_or(Activation::Identity),
            coefficients: map(self.coefficients).unwrap_or(&self.constant_coefficients),
            shared: channels(self.coefficients) == Some(1),
            attention: map(self.attention),
            clamp: self.clamp,
            after: map(self.after),
            join: self.join,
        }
    }
}
