//! The epilogue of a step: which of its inputs belong to it.

use super::io::{Io, MOST_INPUTS};
use crate::kernels::epilogue::{Activation, Epilogue, Join};
use crate::plan::extent::View;

/// What is fused into a step, by the positions of the step's inputs.
#[derive(Clone, Debug, Default)]
pub struct Fused {
    /// A map added before the activation.
    pub before: Option<usize>,
    /// The activation.
    pub activation: Option<Activation>,
    /// Coefficients of a max-affine activation, where the input gives them.
    pub coefficients: Option<usize>,
    /// Coefficients that are constant, `[2K][padded channels]`.
    pub constant: Vec<f32>,
    /// Attention that scales the activation.
    pub attention: Option<usize>,
    /// A map that joins after the activation.
    pub after: Option<usize>,
    /// How it joins.
    pub join: Join,
}

impl Fused {
    /// Whether nothing is fused.
    pub fn is_empty(&self) -> bool {
        self.before.is_none() && self.activation.is_none() && self.after.is_none()
    }

    /// Has all inputs come `by` positions later.
    pub fn shift(&mut self, by: usize) {
        let all = [&mut self.before, &mut self.coefficients, &mut self.attention, &mut self.after];
        for position in all.into_iter().flatten() {
            *position += by;
        }
    }

    /// The epilogue for one image.
    pub fn epilogue<'a>(
        &'a self,
        inputs: &[Option<View<'a>>; MOST_INPUTS],
        image: usize,
    ) -> Epilogue<'a> {
        let map = |i: Option<usize>| inputs[i?].map(|view| view.image(image));
        let channels = |i: Option<usize>| Some(inputs[i?]?.extent.channels);
        Epilogue {
            before: map(self.before),
            activation: self.activation.unwrap_or(Activation::Identity),
            coefficients: map(self.coefficients).unwrap_or(&self.constant),
            shared: channels(self.coefficients) == Some(1),
            attention: map(self.attention),
            after: map(self.after),
            join: self.join,
        }
    }

    /// As [`epilogue`](Self::epilogue), for a step in the middle of running.
    pub fn of<'a>(&'a self, io: &Io<'a>, image: usize) -> Epilogue<'a> {
        self.epilogue(&io.inputs, image)
    }
}
