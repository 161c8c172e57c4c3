//! Two-dimensional convolution, depthwise where every channel has a group of its own.

use rayon::prelude::*;

use super::Kernel;
use crate::error::{Error, Result};
use crate::graph::Conv;
use crate::graph::geometry::{self, WindowAxis, WindowSpec};
use crate::kernels::{Window, conv, depthwise};
use crate::tensor::{DType, Tensor};

/// A convolution whose weights are read as ONNX stores them.
pub struct ConvStep {
    attributes: Conv,
}

/// Output channels that one task computes. Fixed, so that results do not depend on the number of
/// threads; large enough that a task is worth its price.
const CHANNELS_PER_TASK: usize = 64;

impl ConvStep {
    /// A convolution with these attributes, over two spatial axes.
    pub fn new(attributes: Conv) -> Self {
        ConvStep { attributes }
    }

    fn window(&self, input: [usize; 2], kernel: [usize; 2]) -> Result<Window> {
        let Conv { padding, strides, dilations, .. } = &self.attributes;
        let spec = WindowSpec { kernel: &kernel, strides, dilations, padding };
        let axes = geometry::windows(&input, spec, false)?;
        let each = |f: &dyn Fn(&WindowAxis) -> usize| [f(&axes[0]), f(&axes[1])];
        Ok(Window {
            kernel,
            stride: each(&|a| a.stride),
            dilation: each(&|a| a.dilation),
            before: [axes[0].before as isize, axes[1].before as isize],
            input,
            output: each(&|a| a.output),
        })
    }
}

impl Kernel for ConvStep {
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (Some(x), Some(weight)) = (inputs[0], inputs[1]) else {
            return Err(Error::shape("a convolution needs an input and a weight"));
        };
        let bias = inputs.get(2).copied().flatten().map(Tensor::as_f32).transpose()?;
        let groups = self.attributes.groups;
        let (&[images, channels, height, width], &[filters, depth, kernel_h, kernel_w]) =
            (x.shape(), weight.shape())
        else {
            return Err(Error::shape(format!(
                "expected an image batch and a weight with four axes, found {:?} and {:?}",
                x.shape(),
                weight.shape()
            )));
        };
        if depth.checked_mul(groups) != Some(channels)
            || groups == 0
            || !filters.is_multiple_of(groups)
            || bias.is_some_and(|b| b.len() != filters)
        {
            return Err(Error::shape(format!(
                "the weight {:?} in {groups} groups does not fit the input {:?}",
                weight.shape(),
                x.shape()
            )));
        }
        let window = self.window([height, width], [kernel_h, kernel_w])?;
        let shape = [images, filters, window.output[0], window.output[1]];
        let elements = geometry::element_count(&shape, DType::F32)?;
        let plane = window.output[0] * window.output[1];
        let (x, weight) = (x.as_f32()?, weight.as_f32()?);
        let zeros = vec![0.0; if bias.is_some() { 0 } else { filters }];
        let bias = bias.unwrap_or(&zeros);
        let mut y = vec![0f32; elements];
        if y.is_empty() {
            return Ok(vec![Tensor::new(&shape, y)?]);
        }

        let per_group = filters / groups;
        let taps = depth * kernel_h * kernel_w;
        let source = height * width;
        if depth == 1 && per_group == 1 {
            y.par_chunks_mut(plane).enumerate().for_each(|(i, y)| {
                let c = i % filters;
                let x = &x[i * source..][..source];
                depthwise::depthwise(x, &weight[c * taps..][..taps], bias[c], y, &window);
            });
        } else {
            let rows = CHANNELS_PER_TASK.min(per_group);
            let group_size = per_group * plane;
            let tasks = y.par_chunks_mut(group_size).enumerate().flat_map(|(i, group)| {
                group.par_chunks_mut(rows * plane).enumerate().map(move |(j, y)| (i, j, y))
            });
            let work = conv::workspace(&window, depth);
            tasks.for_each_init(
                || vec![0f32; work],
                |work, (i, j, y)| {
                    let (image, group) = (i / groups, i % groups);
                    let first = group * per_group + j * rows;
                    let count = y.len() / plane;
                    let x = &x[(image * channels + group * depth) * source..][..depth * source];
                    let weight = &weight[first * taps..][..count * taps];
                    conv::conv(x, weight, &bias[first..][..count], y, &window, work);
                },
            );
        }
        Ok(vec![Tensor::new(&shape, y)?])
    }
}
