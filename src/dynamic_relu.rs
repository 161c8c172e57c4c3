//! A dynamic ReLU as a standalone operation, for programs that do not run a whole network with this
//! crate. In a network, the parts of a dynamic ReLU are fused with the convolutions around it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Squash;
use crate::kernels::Block;
use crate::kernels::attention::spatial_attention;
use crate::kernels::context::{hidden_layer, means_nchw, means_nhwc};
use crate::kernels::hyperfunction::{self, Coefficients, coefficients};
use crate::kernels::max_affine::{
    MOST_PIECES, max_affine_nchw, max_affine_nchw_into, max_affine_nhwc, max_affine_nhwc_into,
};
use crate::simd::{Isa, padded};
use crate::tensor::Layout;

/// The weights of a fully connected layer, in the layout of PyTorch's `nn.Linear`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// The weights, `[outputs][inputs]`.
    pub weight: &'a [f32],
    /// The biases, `[outputs]`.
    pub bias: &'a [f32],
}

/// The form of a dynamic ReLU, as named in the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// One set of coefficients for the whole map.
    A,
    /// One set of coefficients per channel.
    B,
    /// One set of coefficients per channel, and an attention over the positions as a factor.
    C,
}

/// A dynamic ReLU of form A, B or C with up to eight pieces, and its weights.
///
/// ```text
/// h = relu(W1 mean(x) + c1)
/// [a_1 .. a_K, b_1 .. b_K] = init + lambda * squash(W2 h + c2)
/// y = max over k of (a_k x + b_k)                                  forms A and B
/// y = pi * max over k of (a_k x + b_k)                             form C
/// pi = min(gamma * softmax(conv1x1(x) / tau), 1),  gamma = H W / 3
/// ```
///
/// The formulas are equations 1 to 6 of [arXiv 2003.10027](https://arxiv.org/abs/2003.10027). The
/// order of the outputs of the second layer is `a_1 .. a_K, b_1 .. b_K`, where each coefficient is one
/// number in form A and one number per channel in forms B and C.
///
/// The value contains scratch memory: calls with maps no larger than earlier ones do not allocate. A
/// program with several threads uses one clone per thread.
///
/// # Examples
///
/// Form B with the constants of the paper, on one image of 16 channels. With a second layer of zeros it
/// is a plain ReLU.
///
/// ```
/// use dyrelu::{DynamicRelu, Layout, Linear};
///
/// let fc1 = Linear { weight: &[0.1; 4 * 16], bias: &[0.0; 4] };
/// let fc2 = Linear { weight: &[0.0; 64 * 4], bias: &[0.0; 64] };
/// let mut relu = DynamicRelu::new(16, fc1, fc2)?;
///
/// let mut x = vec![-1.0; 16 * 7 * 7];
/// relu.apply(&mut x, 1, Layout::Nchw)?;
/// assert!(x.iter().all(|&y| y == 0.0));
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone)]
pub struct DynamicRelu {
    channels: usize,
    pieces: usize,
    is_shared: bool,
    fc1_weight: Vec<f32>,
    fc1_bias: Vec<f32>,
    fc2: Arc<Coefficients>,
    attention: Option<Attention>,
    isa: Isa,
    scratch: Vec<f32>,
    positions: Vec<f32>,
}

/// The attention of form C.
#[derive(Clone)]
struct Attention {
    weight: Vec<f32>,
    bias: f32,
    tau: f32,
    /// The factor of the softmax, divided by the number of positions.
    gamma: f32,
}

impl DynamicRelu {
    /// Returns a dynamic ReLU with the constants of the paper: K = 2, initial slopes 1 and 0, initial
    /// intercepts 0, `lambda` 1 for slopes and 0.5 for intercepts, and the squash `2 sigmoid(z) - 1`.
    ///
    /// `fc1` has `channels` inputs and any number of hidden units as outputs. `fc2` has the hidden units
    /// as inputs and 4 outputs (form A) or `4 * channels` outputs (form B).
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if `channels` or the number of hidden units is zero, or if a
    /// length does not match these sizes.
    pub fn new(channels: usize, fc1: Linear, fc2: Linear) -> Result<Self> {
        let (init, lambda) = ([1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.5, 0.5]);
        Self::with_pieces(channels, fc1, fc2, &init, &lambda, Squash::Sigmoid)
    }

    /// Returns a dynamic ReLU with `K = init.len() / 2` pieces and other constants than those of the
    /// paper. `init` and `lambda` have one number per coefficient: K slopes, then K intercepts.
    ///
    /// `fc1` has `channels` inputs and any number of hidden units as outputs. `fc2` has the hidden units
    /// as inputs and `2K` outputs (form A) or `2K * channels` outputs (form B).
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if `channels` or the number of hidden units is zero, if K is
    /// not from 1 to 8, or if a length does not match these sizes.
    pub fn with_pieces(
        channels: usize,
        fc1: Linear,
        fc2: Linear,
        init: &[f32],
        lambda: &[f32],
        squash: Squash,
    ) -> Result<Self> {
        let (hidden, pieces) = (fc1.bias.len(), init.len() / 2);
        let expect = |what: &str, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(Error::input(format!("{what}: expected {expected}, found {found}"))),
        };
        if channels == 0 || hidden == 0 {
            return Err(Error::input(format!(
                "a dynamic ReLU needs at least one channel and one hidden unit, found \
                 {channels} channels and {hidden} hidden units"
            )));
        }
        if !(1..=MOST_PIECES).contains(&pieces) || init.len() != 2 * pieces {
            let found = init.len();
            return Err(Error::input(format!(
                "init needs K slopes and K intercepts with K from 1 to {MOST_PIECES}, found {found} \
                 numbers"
            )));
        }
        expect("numbers in lambda", init.len(), lambda.len())?;
        expect("weights of fc1", hidden * channels, fc1.weight.len())?;
        let outputs = fc2.bias.len();
        let is_shared = outputs == 2 * pieces;
        if !is_shared && outputs != 2 * pieces * channels {
            return Err(Error::input(format!(
                "fc2 needs {} outputs (form A) or {} (form B), found {outputs}",
                2 * pieces,
                2 * pieces * channels
            )));
        }
        expect("weights of fc2", outputs * hidden, fc2.weight.len())?;
        let per_channel = |rows: &[f32], width: usize| -> Vec<f32> {
            let copies = if is_shared { channels } else { 1 };
            rows.chunks_exact(width).flat_map(|row| row.repeat(copies)).collect()
        };
        let (weight, bias) = (per_channel(fc2.weight, hidden), per_channel(fc2.bias, 1));
        let squash = match squash {
            Squash::Sigmoid => hyperfunction::Squash::Tanh,
            Squash::HardSigmoid => hyperfunction::Squash::Clamp,
            Squash::None => hyperfunction::Squash::None,
        };
        let fc2 = Coefficients::new(&weight, Some(&bias), init, lambda, squash, hidden, false);
        let scratch = channels + padded(hidden) + fc2.outputs() + fc2.workspace();
        Ok(DynamicRelu {
            channels,
            pieces,
            is_shared,
            fc1_weight: fc1.weight.to_vec(),
            fc1_bias: fc1.bias.to_vec(),
            fc2: Arc::new(fc2),
            attention: None,
            isa: Isa::get(),
            scratch: vec![0.0; scratch],
            positions: Vec::new(),
        })
    }

    /// Turns this into form C: the result is multiplied by a spatial attention. Its logits are a 1x1
    /// convolution with `weight [channels]` and `bias`; `tau` is the temperature of the softmax. `gamma`
    /// is a third of the number of positions, as in the paper.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if the length of `weight` is not the number of channels, or if
    /// `tau` is not positive and finite.
    pub fn with_attention(mut self, weight: &[f32], bias: f32, tau: f32) -> Result<Self> {
        if weight.len() != self.channels {
            let (expected, found) = (self.channels, weight.len());
            return Err(Error::input(format!(
                "weights of the attention: expected {expected}, found {found}"
            )));
        }
        if !(tau > 0.0 && tau.is_finite()) {
            return Err(Error::input(format!("tau must be positive and finite, found {tau}")));
        }
        let weight = weight.to_vec();
        self.attention = Some(Attention { weight, bias, tau, gamma: 1.0 / 3.0 });
        Ok(self)
    }

    /// Returns the form.
    pub fn form(&self) -> Form {
        match (&self.attention, self.is_shared) {
            (Some(_), _) => Form::C,
            (None, true) => Form::A,
            (None, false) => Form::B,
        }
    }

    /// Returns the number of channels of the maps that this applies to.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns the number of pieces, K.
    pub fn pieces(&self) -> usize {
        self.pieces
    }

    /// Applies the dynamic ReLU in place to `x`, which has the shape `[images, channels, height, width]`
    /// (NCHW) or `[images, height, width, channels]` (NHWC).
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if the length of `x` is not a multiple of
    /// `images * channels`.
    pub fn apply(&mut self, x: &mut [f32], images: usize, layout: Layout) -> Result<()> {
        let image = self.image_len(x.len(), images)?;
        for x in x.chunks_exact_mut(image) {
            self.prepare(x, layout);
            let (a, b) = coefficients_of(&self.scratch, self.channels, self.pieces);
            match layout {
                Layout::Nchw => max_affine_nchw(self.isa, x, image / self.channels, a, b),
                Layout::Nhwc => max_affine_nhwc(self.isa, x, self.channels, a, b),
            }
            self.attend(x, layout);
        }
        Ok(())
    }

    /// As [`apply`](Self::apply), but writes the result to `y`.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) in the cases of [`apply`](Self::apply), and if `x` and `y`
    /// differ in length.
    pub fn apply_into(
        &mut self,
        x: &[f32],
        y: &mut [f32],
        images: usize,
        layout: Layout,
    ) -> Result<()> {
        let image = self.image_len(x.len(), images)?;
        if x.len() != y.len() {
            let (expected, found) = (x.len(), y.len());
            return Err(Error::input(format!(
                "y must have as many elements as x: expected {expected}, found {found}"
            )));
        }
        for (x, y) in x.chunks_exact(image).zip(y.chunks_exact_mut(image)) {
            self.prepare(x, layout);
            let (a, b) = coefficients_of(&self.scratch, self.channels, self.pieces);
            match layout {
                Layout::Nchw => max_affine_nchw_into(self.isa, x, y, image / self.channels, a, b),
                Layout::Nhwc => max_affine_nhwc_into(self.isa, x, y, self.channels, a, b),
            }
            self.attend(y, layout);
        }
        Ok(())
    }

    /// Returns the number of elements per image if `images` images have `len` elements in total; 1 if
    /// `len` is zero.
    fn image_len(&self, len: usize, images: usize) -> Result<usize> {
        let image = len.checked_div(images).unwrap_or(0);
        if image * images != len || !image.is_multiple_of(self.channels) {
            return Err(Error::input(format!(
                "{len} elements cannot be split into {images} images of {} channels",
                self.channels
            )));
        }
        Ok(image.max(1))
    }

    /// Computes the inputs of the pass over an image: the coefficients `[2K][channels]`, which it writes to
    /// the start of the scratch memory, and for form C the attention at each position.
    fn prepare(&mut self, x: &[f32], layout: Layout) {
        let (isa, channels) = (self.isa, self.channels);
        let outputs = self.fc2.outputs();
        let (padded_rows, rest) = self.scratch.split_at_mut(outputs);
        let (means, rest) = rest.split_at_mut(channels);
        let (hidden, work) = rest.split_at_mut(padded(self.fc1_bias.len()));
        match layout {
            Layout::Nchw => means_nchw(isa, x, means),
            Layout::Nhwc => means_nhwc(isa, x, means),
        }
        hidden_layer(isa, &self.fc1_weight, &self.fc1_bias, means, hidden);
        coefficients(isa, &self.fc2, hidden, &mut Block::whole(padded_rows, outputs), work);
        let (rows, width) = (2 * self.pieces, outputs / (2 * self.pieces));
        // Removes the padding of the rows.
        for row in 1..rows {
            padded_rows.copy_within(row * width..row * width + channels, row * channels);
        }
        let Some(attention) = &self.attention else { return };
        let pixels = x.len() / channels;
        self.positions.resize(padded(pixels), 0.0);
        attention.logits(x, layout, &mut self.positions[..pixels]);
        let gamma = attention.gamma * pixels as f32;
        spatial_attention(isa, &mut self.positions, pixels, attention.tau, gamma);
    }

    /// Multiplies an image by the attention if this is form C.
    fn attend(&self, y: &mut [f32], layout: Layout) {
        if self.attention.is_none() {
            return;
        }
        let positions = &self.positions[..y.len() / self.channels];
        match layout {
            Layout::Nchw => {
                for plane in y.chunks_exact_mut(positions.len()) {
                    plane.iter_mut().zip(positions).for_each(|(y, pi)| *y *= pi);
                }
            }
            Layout::Nhwc => {
                for (pixel, pi) in y.chunks_exact_mut(self.channels).zip(positions) {
                    pixel.iter_mut().for_each(|y| *y *= pi);
                }
            }
        }
    }
}

/// Returns the slopes and the intercepts, each `[K][channels]`, from the start of the scratch memory.
fn coefficients_of(scratch: &[f32], channels: usize, pieces: usize) -> (&[f32], &[f32]) {
    scratch[..2 * pieces * channels].split_at(pieces * channels)
}

impl Attention {
    /// Computes the 1x1 convolution: the logits `z [positions]` of an image `x`.
    fn logits(&self, x: &[f32], layout: Layout, z: &mut [f32]) {
        z.fill(self.bias);
        match layout {
            Layout::Nchw => {
                for (plane, weight) in x.chunks_exact(z.len()).zip(&self.weight) {
                    z.iter_mut().zip(plane).for_each(|(z, x)| *z += weight * x);
                }
            }
            Layout::Nhwc => {
                for (z, pixel) in z.iter_mut().zip(x.chunks_exact(self.weight.len())) {
                    *z += pixel.iter().zip(&self.weight).map(|(x, w)| x * w).sum::<f32>();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
