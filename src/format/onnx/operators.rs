//! ONNX's operators, of any opset, to those of a graph.
//!
//! A graph has the form of the newest opset. Attributes of older opsets that are inputs in newer ones
//! become constants.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::names::{combination, reduction, unary};
use super::random_numbers::RandomNumbers;
use super::tensors::{TensorReader, dtype};
use super::{proto, schema};
use crate::error::{Error, Result};
use crate::graph::{
    AspectRatioPolicy, Conv, ConvTranspose, CoordinateTransform, CumSum, DepthOrder, Gemm, Graph,
    NearestRounding, Node, Op, PadMode, Padding, Pool, PoolKind, Reduce, Resize, ResizeMode,
    Scalar, Softmax, ValueId, element_types,
};
use crate::tensor::{DType, Tensor};

/// Reads one node and adds what it computes to the graph.
pub(super) struct NodeReader<'r> {
    pub graph: &'r mut Graph,
    pub tensors: &'r mut TensorReader,
    pub node: &'r proto::Node,
    /// The name of the node, which is never empty.
    pub name: String,
    /// The version of the operator set of the node's domain.
    pub opset: i64,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Option<ValueId>>,
    /// The values of random numbers read so far.
    pub random: &'r mut HashMap<ValueId, RandomNumbers>,
}

impl NodeReader<'_> {
    /// Adds the node's operators to the graph.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported), naming operator, domain and opset, if this version
    /// does not have the operator.
    pub(super) fn read(mut self) -> Result<()> {
        let node = self.node;
        if !schema::is_known(node) {
            return Err(self.unsupported());
        }
        schema::check_attributes(node)?;
        let a = Attributes::of(node);
        if self.reads_random_numbers(&a)? {
            return Ok(());
        }
        match node.domain.as_str() {
            "" | "ai.onnx" => self.standard(&a),
            "com.microsoft" => self.contributed(&a),
            "com.microsoft.nchwc" => Err(Error::unsupported(format!(
                "{} is in onnxruntime's blocked layout; optimise the file at most at level \
                 \"extended\"",
                node.op_type
            ))),
            _ => Err(self.unsupported()),
        }
    }

    pub(super) fn unsupported(&self) -> Error {
        let domain = match self.node.domain.as_str() {
            "" => "ai.onnx",
            other => other,
        };
        Error::unsupported(format!(
            "operator {} of {domain} opset {} is not supported; docs/operators.md lists those that \
             are",
            self.node.op_type, self.opset
        ))
    }

    fn standard(&mut self, a: &Attributes) -> Result<()> {
        if self.opset < 7 {
            self.align_operands(a)?;
        }
        let op = match self.node.op_type.as_str() {
            "Conv" => Op::Conv(self.conv(a)?),
            "ConvTranspose" => Op::ConvTranspose(ConvTranspose {
                padding: padding(a)?,
                strides: a.sizes("strides")?,
                dilations: a.sizes("dilations")?,
                groups: a.size("group", 1)?,
                output_padding: a.sizes("output_padding")?,
                output_shape: a.sizes("output_shape")?,
            }),
            "Gemm" => Op::Gemm(gemm(a)?),
            "MatMul" => Op::MatMul,
            "BatchNormalization" if a.flag("training_mode", false)? => {
                return self.batch_normalization_in_training(a);
            }
            "BatchNormalization" => self.batch_normalization(a)?,
            "InstanceNormalization" => {
                Op::InstanceNormalization { epsilon: a.float("epsilon", 1e-5)? }
            }
            "LayerNormalization" => {
                self.only_first_output()?;
                let epsilon = a.float("epsilon", 1e-5)?;
                Op::LayerNormalization { axis: a.int("axis", -1)?, epsilon }
            }
            "GroupNormalization" if self.opset >= 21 => Op::GroupNormalization {
                num_groups: a.size("num_groups", 0)?,
                epsilon: a.float("epsilon", 1e-5)?,
            },
            "LRN" => self.lrn(a)?,
            "PRelu" => Op::PRelu,
            "Clip" => return self.clip(a),
            "Where" => Op::Where,
            "Softmax" => Op::Softmax(self.softmax(a)?),
            "LogSoftmax" => Op::LogSoftmax(self.softmax(a)?),
            "MaxPool" => Op::Pool(self.pool(a, PoolKind::Max)?),
            "AveragePool" => Op::Pool(self.pool(a, PoolKind::Average)?),
            "GlobalAveragePool" => Op::GlobalPool(PoolKind::Average),
            "GlobalMaxPool" => Op::GlobalPool(PoolKind::Max),
            "ArgMax" => self.arg_max(a)?,
            "TopK" => self.top_k(a)?,
            "CumSum" => Op::CumSum(CumSum {
                exclusive: a.flag("exclusive", false)?,
                reverse: a.flag("reverse", false)?,
            }),
            "NonZero" => Op::NonZero,
            "NonMaxSuppression" => self.non_max_suppression(a)?,
            "Concat" => Op::Concat { axis: a.int("axis", 1)? },
            "Split" => {
                self.lift_ints(a, "split", 1)?;
                Op::Split { axis: a.int("axis", 0)? }
            }
            "Slice" => self.slice(a)?,
            "Gather" => Op::Gather { axis: a.int("axis", 0)? },
            "GatherElements" => Op::GatherElements { axis: a.int("axis", 0)? },
            "GatherND" => self.gather_nd(a)?,
            "Scatter" | "ScatterElements" => {
                let reduction = self.scatter_reduction(a)?;
                Op::ScatterElements { axis: a.int("axis", 0)?, reduction }
            }
            "ScatterND" => Op::ScatterNd { reduction: self.scatter_reduction(a)? },
            "GridSample" => self.grid_sample(a)?,
            "DeformConv" => self.deform_conv(a)?,
            "RoiAlign" => self.roi_align(a)?,
            "Reshape" => {
                self.lift_ints(a, "shape", 1)?;
                Op::Reshape { allow_zero: a.flag("allowzero", false)? }
            }
            "Flatten" => Op::Flatten { axis: a.int("axis", 1)? },
            "Squeeze" => {
                self.lift_ints(a, "axes", 1)?;
                Op::Squeeze
            }
            "Unsqueeze" => {
                self.lift_ints(a, "axes", 1)?;
                Op::Unsqueeze
            }
            "Expand" => Op::Expand,
            "Tile" if self.opset >= 6 => Op::Tile,
            "Transpose" => Op::Transpose { perm: a.sizes("perm")? },
            "Resize" => self.resize(a)?,
            "Upsample" => self.upsample(a)?,
            "Pad" => self.pad(a)?,
            "DepthToSpace" => Op::DepthToSpace {
                block: a.size("blocksize", 0)?,
                order: match a.string("mode", "DCR")? {
                    "DCR" => DepthOrder::Dcr,
                    "CRD" => DepthOrder::Crd,
                    other => return Err(unknown("mode", other)),
                },
            },
            "Identity" => Op::Identity,
            "Dropout" => self.dropout(a)?,
            "Constant" => return self.constant(a),
            "ConstantOfShape" => self.constant_of_shape(a)?,
            "Range" => Op::Range,
            "Shape" => {
                let end = if a.has("end") { Some(a.int("end", 0)?) } else { None };
                Op::Shape { start: a.int("start", 0)?, end }
            }
            "Size" => Op::Size,
            "Cast" => Op::Cast { to: cast_target(a)? },
            other => match self.by_name(other, a)? {
                Some(op) => op,
                None if self.composed(other, a)? => return Ok(()),
                None => return Err(self.unsupported()),
            },
        };
        let inputs = std::mem::take(&mut self.inputs);
        self.finish(op, inputs);
        Ok(())
    }

    /// Adds an operator of which nothing but the name has to be translated.
    fn by_name(&mut self, name: &str, a: &Attributes) -> Result<Option<Op>> {
        if let Some(kind) = reduction(name) {
            self.lift_ints(a, "axes", 1)?;
            return Ok(Some(Op::Reduce(Reduce {
                kind,
                keep_dims: a.flag("keepdims", true)?,
                noop_with_empty_axes: a.flag("noop_with_empty_axes", false)?,
            })));
        }
        match unary(name, a)? {
            Some(unary) => Ok(Some(Op::Unary(unary))),
            None => combination(name, a),
        }
    }

    /// Adds `op` with the outputs that the file names.
    pub(super) fn finish(&mut self, op: Op, inputs: Vec<Option<ValueId>>) {
        let (name, outputs) = (self.name.clone(), std::mem::take(&mut self.outputs));
        self.graph.add_node(Node { name, op, inputs, outputs });
    }

    /// Adds a node between the file's node and its output.
    pub(super) fn intermediate(
        &mut self,
        what: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
    ) -> ValueId {
        let name = format!("{}.{what}", self.name);
        let output = self.graph.add_value(name.clone());
        self.graph.add_node(Node { name, op, inputs, outputs: vec![Some(output)] });
        output
    }

    pub(super) fn constant_named(&mut self, what: &str, tensor: Tensor) -> ValueId {
        self.graph.add_constant(format!("{}.{what}", self.name), tensor)
    }

    /// Adds a constant number of the element type of `x`.
    pub(super) fn number_like(
        &mut self,
        x: Option<ValueId>,
        what: &str,
        number: f32,
    ) -> Result<ValueId> {
        let dtype = x.and_then(|x| element_types(self.graph)[x.index()]);
        let dtype = dtype.filter(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        Ok(self.constant_named(what, Tensor::scalar(number).cast(dtype)?))
    }

    /// Makes an input of a list that older opsets state as an attribute.
    fn lift_ints(&mut self, a: &Attributes, name: &str, at: usize) -> Result<()> {
        if let Some(values) = a.ints(name)? {
            let value = self.constant_named(name, Tensor::vector(values.to_vec()));
            self.set_input(at, value);
        }
        Ok(())
    }

    pub(super) fn set_input(&mut self, at: usize, value: ValueId) {
        if self.inputs.len() <= at {
            self.inputs.resize(at + 1, None);
        }
        self.inputs[at].get_or_insert(value);
    }

    /// Refuses operators whose further outputs, which serve training only, are used.
    fn only_first_output(&mut self) -> Result<()> {
        if self.outputs.iter().skip(1).any(Option::is_some) {
            return Err(Error::unsupported("only its first output is supported"));
        }
        self.outputs.truncate(1);
        Ok(())
    }

    pub(super) fn conv(&self, a: &Attributes) -> Result<Conv> {
        let kernel = a.sizes("kernel_shape")?;
        let weight = self.inputs.get(1).copied().flatten().and_then(|id| self.graph.constant(id));
        if let Some(weight) = weight.filter(|_| !kernel.is_empty())
            && weight.shape().get(2..) != Some(kernel.as_slice())
        {
            return Err(Error::graph(format!(
                "kernel_shape {kernel:?} contradicts the weight of shape {:?}",
                weight.shape()
            )));
        }
        Ok(Conv {
            padding: padding(a)?,
            strides: a.sizes("strides")?,
            dilations: a.sizes("dilations")?,
            groups: a.size("group", 1)?,
        })
    }

    fn batch_normalization(&mut self, a: &Attributes) -> Result<Op> {
        if self.opset < 7 && !a.flag("is_test", false)? {
            return Err(Error::unsupported("batch normalisation in training mode"));
        }
        if self.opset < 9 && a.int("spatial", 1)? == 0 {
            return Err(Error::unsupported("batch normalisation with statistics an element"));
        }
        self.only_first_output()?;
        Ok(Op::BatchNormalization { epsilon: a.float("epsilon", 1e-5)? })
    }

    fn clip(&mut self, a: &Attributes) -> Result<()> {
        for (at, name) in [(1, "min"), (2, "max")] {
            if a.has(name) {
                let x = self.inputs.first().copied().flatten();
                let bound = self.number_like(x, name, a.float(name, 0.0)?)?;
                self.set_input(at, bound);
            }
        }
        let inputs = std::mem::take(&mut self.inputs);
        self.finish(Op::Clip, inputs);
        Ok(())
    }

    pub(super) fn softmax(&self, a: &Attributes) -> Result<Softmax> {
        let flatten = self.opset < 13;
        Ok(Softmax { axis: a.int("axis", if flatten { 1 } else { -1 })?, flatten })
    }

    pub(super) fn pool(&mut self, a: &Attributes, kind: PoolKind) -> Result<Pool> {
        let kernel = a.sizes("kernel_shape")?;
        if kernel.is_empty() {
            return Err(Error::format("attribute \"kernel_shape\" is missing"));
        }
        Ok(Pool {
            kind,
            kernel,
            strides: a.sizes("strides")?,
            dilations: a.sizes("dilations")?,
            padding: padding(a)?,
            ceil_mode: a.flag("ceil_mode", false)?,
            count_include_pad: a.flag("count_include_pad", false)?,
            column_major: a.flag("storage_order", false)?,
        })
    }

    fn dropout(&mut self, a: &Attributes) -> Result<Op> {
        if self.opset < 7 && !a.flag("is_test", false)? {
            return Err(Error::unsupported("dropout in training mode"));
        }
        let training = self.inputs.get(2).copied().flatten();
        if let Some(tensor) = training.and_then(|id| self.graph.constant(id))
            && !tensor.to_bools()?.contains(&true)
        {
            self.inputs.truncate(1);
        }
        Ok(Op::Dropout)
    }

    fn slice(&mut self, a: &Attributes) -> Result<Op> {
        if self.opset < 10 {
            self.lift_ints(a, "starts", 1)?;
            self.lift_ints(a, "ends", 2)?;
            self.lift_ints(a, "axes", 3)?;
        }
        Ok(Op::Slice)
    }

    fn resize(&mut self, a: &Attributes) -> Result<Op> {
        if self.opset < 11 {
            return self.upsample(a);
        }
        let coordinates = match a.string("coordinate_transformation_mode", "half_pixel")? {
            "half_pixel" => CoordinateTransform::HalfPixel,
            "half_pixel_symmetric" => CoordinateTransform::HalfPixelSymmetric,
            "pytorch_half_pixel" => CoordinateTransform::PytorchHalfPixel,
            "align_corners" => CoordinateTransform::AlignCorners,
            "asymmetric" => CoordinateTransform::Asymmetric,
            "tf_crop_and_resize" => CoordinateTransform::TfCropAndResize,
            other => return Err(unknown("coordinate_transformation_mode", other)),
        };
        let mode = match a.string("mode", "nearest")? {
            "nearest" => {
                ResizeMode::Nearest(match a.string("nearest_mode", "round_prefer_floor")? {
                    "round_prefer_floor" => NearestRounding::RoundPreferFloor,
                    "round_prefer_ceil" => NearestRounding::RoundPreferCeil,
                    "floor" => NearestRounding::Floor,
                    "ceil" => NearestRounding::Ceil,
                    other => return Err(unknown("nearest_mode", other)),
                })
            }
            "linear" => ResizeMode::Linear,
            "cubic" => ResizeMode::Cubic { coefficient: a.float("cubic_coeff_a", -0.75)? },
            other => return Err(unknown("mode", other)),
        };
        let keep_aspect_ratio = match a.string("keep_aspect_ratio_policy", "stretch")? {
            "stretch" => AspectRatioPolicy::Stretch,
            "not_larger" => AspectRatioPolicy::NotLarger,
            "not_smaller" => AspectRatioPolicy::NotSmaller,
            other => return Err(unknown("keep_aspect_ratio_policy", other)),
        };
        // An empty tensor means that the input is absent.
        for input in self.inputs.iter_mut().skip(1) {
            let empty = |id: &ValueId| self.graph.constant(*id).is_some_and(Tensor::is_empty);
            *input = input.filter(|id| !empty(id));
        }
        Ok(Op::Resize(Resize {
            mode,
            coordinates,
            axes: a.ints("axes")?.unwrap_or(&[]).to_vec(),
            antialias: a.flag("antialias", false)?,
            exclude_outside: a.flag("exclude_outside", false)?,
            extrapolation_value: a.float("extrapolation_value", 0.0)?,
            keep_aspect_ratio,
        }))
    }

    fn pad(&mut self, a: &Attributes) -> Result<Op> {
        let mode = match a.string("mode", "constant")? {
            "constant" => PadMode::Constant,
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            other => return Err(unknown("mode", other)),
        };
        self.lift_ints(a, "pads", 1)?;
        if a.has("value") {
            let value = self.constant_named("value", Tensor::scalar(a.float("value", 0.0)?));
            self.set_input(2, value);
        }
        Ok(Op::Pad { mode })
    }

    fn constant(&mut self, a: &Attributes) -> Result<()> {
        let tensor = if let Some(tensor) = a.tensor("value")? {
            self.tensors.read(tensor)?
        } else if let Some(tensor) = a.sparse_tensor("sparse_value")? {
            self.tensors.read_sparse(tensor)?
        } else if a.has("value_float") {
            Tensor::scalar(a.float("value_float", 0.0)?)
        } else if a.has("value_int") {
            Tensor::scalar(a.int("value_int", 0)?)
        } else if let Some(values) = a.floats("value_floats")? {
            Tensor::vector(values.to_vec())
        } else if let Some(values) = a.ints("value_ints")? {
            Tensor::vector(values.to_vec())
        } else {
            return Err(Error::unsupported("a constant that is neither a tensor nor a number"));
        };
        match self.outputs.first().copied().flatten() {
            Some(output) => {
                let value = self.graph.value_mut(output);
                if value.constant.is_some() || value.input.is_some() {
                    return Err(Error::graph(format!("{:?} is produced twice", value.name)));
                }
                value.constant = Some(tensor);
            }
            None => return Err(Error::graph("it has no output")),
        }
        Ok(())
    }

    fn constant_of_shape(&mut self, a: &Attributes) -> Result<Op> {
        let value = match a.tensor("value")? {
            None => Scalar { dtype: DType::F32, value: 0.0 },
            Some(tensor) => {
                let tensor = self.tensors.read(tensor)?;
                let number = tensor.cast(DType::F64)?;
                match number.as_slice::<f64>()? {
                    &[value] => Scalar { dtype: tensor.dtype(), value },
                    _ => return Err(Error::format("attribute \"value\" should be one number")),
                }
            }
        };
        Ok(Op::ConstantOfShape { value })
    }
}

pub(super) fn unknown(attribute: &str, value: &str) -> Error {
    Error::unsupported(format!("{attribute} {value:?} is not supported"))
}

fn cast_target(a: &Attributes) -> Result<DType> {
    dtype(i32::try_from(a.int("to", 0)?).unwrap_or_default())
}

pub(super) fn gemm(a: &Attributes) -> Result<Gemm> {
    Ok(Gemm {
        alpha: a.float("alpha", 1.0)?,
        beta: a.float("beta", 1.0)?,
        trans_a: a.flag("transA", false)?,
        trans_b: a.flag("transB", false)?,
    })
}

fn padding(a: &Attributes) -> Result<Padding> {
    match a.string("auto_pad", "NOTSET")? {
        "NOTSET" | "" => Ok(Padding::Explicit(a.ints("pads")?.unwrap_or(&[]).to_vec())),
        "VALID" => Ok(Padding::Explicit(Vec::new())),
        "SAME_UPPER" => Ok(Padding::SameUpper),
        "SAME_LOWER" => Ok(Padding::SameLower),
        other => Err(unknown("auto_pad", other)),
    }
}
