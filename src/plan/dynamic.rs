//! The steps of a dynamic activation: context, hyperfunction, max-affine.

use rayon::prelude::*;

use super::Kernel;
use crate::error::{Error, Result};
use crate::graph::{HiddenActivation, Hyperfunction, MaxAffine, Squash};
use crate::kernels::matmul::{Matrix, add_product};
use crate::kernels::{max_affine, pool};
use crate::tensor::Tensor;

/// The mean over all positions of every channel.
pub struct GlobalAverageStep;

impl Kernel for GlobalAverageStep {
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let Some(x) = inputs[0].filter(|x| x.shape().len() > 2) else {
            return Err(Error::shape("expected a feature map with at least three axes"));
        };
        let (outer, spatial) = x.shape().split_at(2);
        let plane: usize = spatial.iter().product();
        let mut shape = outer.to_vec();
        shape.resize(x.shape().len(), 1);
        let x = x.as_f32()?;
        let y = match plane {
            0 => vec![f32::NAN; outer.iter().product()],
            _ => x.par_chunks_exact(plane).map(pool::mean).collect(),
        };
        Ok(vec![Tensor::new(&shape, y)?])
    }
}

/// From the context to the coefficients `[N,2K,C]`.
pub struct HyperfunctionStep {
    attributes: Hyperfunction,
}

impl HyperfunctionStep {
    /// A hyperfunction with these attributes.
    pub fn new(attributes: Hyperfunction) -> Self {
        HyperfunctionStep { attributes }
    }
}

impl Kernel for HyperfunctionStep {
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (Some(context), Some(fc2)) = (inputs[0], inputs[3]) else {
            return Err(Error::shape("a hyperfunction needs a context and a second layer"));
        };
        let &[images, width, ref ones @ ..] = context.shape() else {
            return Err(Error::shape("the context of a hyperfunction has at least two axes"));
        };
        if ones.iter().any(|&d| d != 1) {
            return Err(Error::shape(format!("the context {:?} is not pooled", context.shape())));
        }
        let op = &self.attributes;
        let context = context.as_f32()?;
        let fc1 = inputs[1].map(|w| Layer::new(w, inputs[2])).transpose()?;
        let fc2 = Layer::new(fc2, inputs.get(4).copied().flatten())?;
        let hidden_width = fc1.as_ref().map_or(width, |l| l.units);
        let fits = fc1.as_ref().is_none_or(|l| l.depth == width);
        if !fits || fc2.depth != hidden_width || !fc2.units.is_multiple_of(2 * op.k) {
            return Err(Error::shape(format!(
                "the layers of the hyperfunction do not fit a context of {width}"
            )));
        }
        let channels = fc2.units / (2 * op.k);
        let mut theta = vec![0f32; images * fc2.units];
        let mut hidden = vec![0f32; fc1.as_ref().map_or(0, |l| l.units)];
        for (i, theta) in theta.chunks_exact_mut(fc2.units.max(1)).enumerate() {
            let context = &context[i * width..][..width];
            let hidden = match &fc1 {
                Some(fc1) => {
                    fc1.apply(context, &mut hidden);
                    activate(op.hidden, &mut hidden);
                    hidden.as_slice()
                }
                None => context,
            };
            fc2.apply(hidden, theta);
            for (j, row) in theta.chunks_exact_mut(channels.max(1)).enumerate() {
                let (init, lambda) = (op.init[j], op.lambda[j]);
                row.iter_mut().for_each(|z| *z = init + lambda * squash(op.squash, *z));
            }
        }
        Ok(vec![Tensor::new(&[images, 2 * op.k, channels], theta)?])
    }
}

/// A fully connected layer with the weight stored an output at a time.
struct Layer<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    units: usize,
    depth: usize,
}

impl<'a> Layer<'a> {
    fn new(weight: &'a Tensor, bias: Option<&'a Tensor>) -> Result<Self> {
        let &[units, depth] = weight.shape() else {
            return Err(Error::shape(format!(
                "the weight of a fully connected layer has two axes, found {:?}",
                weight.shape()
            )));
        };
        let bias = bias.map(Tensor::as_f32).transpose()?;
        if bias.is_some_and(|b| b.len() != units) {
            return Err(Error::shape(format!("expected a bias of {units} elements")));
        }
        Ok(Layer { weight: weight.as_f32()?, bias, units, depth })
    }

    fn apply(&self, x: &[f32], y: &mut [f32]) {
        match self.bias {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        let weight = Matrix::by_rows(self.weight, self.units, self.depth).transposed();
        add_product(y, Matrix::by_rows(x, 1, self.depth), weight);
    }
}

fn activate(activation: HiddenActivation, hidden: &mut [f32]) {
    let f: fn(f32) -> f32 = match activation {
        HiddenActivation::Relu => |x| if x < 0.0 { 0.0 } else { x },
        HiddenActivation::Relu6 => |x| x.clamp(0.0, 6.0),
        HiddenActivation::HardSwish => |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        HiddenActivation::Swish => |x| x / (1.0 + (-x).exp()),
        HiddenActivation::Gelu => gelu,
        HiddenActivation::None => return,
    };
    hidden.iter_mut().for_each(|x| *x = f(*x));
}

/// `x * Phi(x)` with the error function of Abramowitz and Stegun, formula 7.1.26.
fn gelu(x: f32) -> f32 {
    let z = f64::from(x) / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z.abs());
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let poly = series.iter().fold(0.0, |sum, c| sum * t + c) * t;
    let erf = (1.0 - poly * (-z * z).exp()).copysign(z);
    (0.5 * f64::from(x) * (1.0 + erf)) as f32
}

fn squash(squash: Squash, z: f32) -> f32 {
    match squash {
        Squash::Sigmoid => (0.5 * z).tanh(),
        Squash::HardSigmoid => (z / 3.0).clamp(-1.0, 1.0),
        Squash::None => z,
    }
}

/// The max-affine function itself, with the attention of form C where there is one.
pub struct MaxAffineStep {
    k: usize,
}

impl MaxAffineStep {
    /// An activation of `op.k` pieces.
    pub fn new(op: MaxAffine) -> Self {
        MaxAffineStep { k: op.k }
    }
}

impl Kernel for MaxAffineStep {
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (Some(x), Some(coefficients)) = (inputs[0], inputs[1]) else {
            return Err(Error::shape("an activation needs an input and coefficients"));
        };
        let k = self.k;
        let (&[images, channels, ref spatial @ ..], &[sets, rows, width]) =
            (x.shape(), coefficients.shape())
        else {
            return Err(Error::shape("expected a feature map and coefficients [N,2K,C]"));
        };
        let plane: usize = spatial.iter().product();
        if rows != 2 * k || (sets != 1 && sets != images) || (width != 1 && width != channels) {
            return Err(Error::shape(format!(
                "coefficients {:?} do not fit K = {k} and a feature map {:?}",
                coefficients.shape(),
                x.shape()
            )));
        }
        let pi = match inputs.get(2).copied().flatten() {
            Some(pi) if pi.len() == images * plane => Some((pi.as_f32()?, plane)),
            Some(pi) if pi.len() == plane => Some((pi.as_f32()?, 0)),
            Some(pi) => {
                return Err(Error::shape(format!(
                    "the attention {:?} does not fit a feature map {:?}",
                    pi.shape(),
                    x.shape()
                )));
            }
            None => None,
        };
        let (shape, x, theta) = (x.shape(), x.as_f32()?, coefficients.as_f32()?);
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(plane.max(1)).enumerate().for_each(|(i, y)| {
            let (image, channel) = (i / channels, i % channels);
            let set = &theta[if sets == 1 { 0 } else { image } * rows * width..][..rows * width];
            let mut own = [0f32; 16];
            for (j, own) in own.iter_mut().enumerate().take(rows) {
                *own = set[j * width + if width == 1 { 0 } else { channel }];
            }
            let (a, b) = own[..rows].split_at(k);
            max_affine::max_affine(&x[i * plane..][..plane], y, a, b);
            if let Some((pi, stride)) = pi {
                max_affine::scale_by_position(y, &pi[image * stride..][..plane]);
            }
        });
        Ok(vec![Tensor::new(shape, y)?])
    }
}
