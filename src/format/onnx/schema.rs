//! The opsets and attributes that are valid in an ONNX file.

use std::collections::HashMap;

use super::{domain, proto};
use crate::error::{Error, Result};

/// The oldest opset that is read.
const OLDEST_OPSET: i64 = 6;

/// The newest opset that is read.
const NEWEST_OPSET: i64 = 28;

/// Reads the version of each operator set.
pub(super) fn opsets(imports: &[proto::OperatorSet]) -> Result<HashMap<&str, i64>> {
    let mut opsets = HashMap::new();
    for set in imports {
        let (domain, version) = (domain(&set.domain), set.version);
        if opsets.insert(domain, version).is_some_and(|other| other != version) {
            return Err(Error::format(format!("the file states two opsets of {domain:?}")));
        }
    }
    match opsets.get("") {
        Some(&opset) if opset < OLDEST_OPSET => Err(Error::unsupported(format!(
            "opset {opset} is too old; convert the file to opset {OLDEST_OPSET} or newer"
        ))),
        Some(&opset) if opset > NEWEST_OPSET => Err(Error::unsupported(format!(
            "opset {opset} is newer than any that this engine knows; convert the file to opset \
             {NEWEST_OPSET} or older"
        ))),
        _ => Ok(opsets),
    }
}

/// Returns the opset of ONNX's own operators. Every file that uses one has to state it.
pub(super) fn stated(opset: Option<i64>) -> Result<i64> {
    opset.ok_or_else(|| {
        Error::format("the file does not state its opset, without which operators have no meaning")
    })
}

/// Checks that a node has no attribute twice, and none that no version of its operator has.
pub(super) fn check_attributes(node: &proto::Node) -> Result<()> {
    for (i, attribute) in node.attribute.iter().enumerate() {
        let name = attribute.name.as_str();
        if node.attribute[..i].iter().any(|other| other.name == name) {
            return Err(Error::format(format!("attribute {name:?} is there twice")));
        }
    }
    let known = match domain(&node.domain) {
        "" => standard(&node.op_type),
        "com.microsoft" => contributed(&node.op_type),
        _ => None,
    };
    let Some(known) = known else { return Ok(()) };
    // Attributes that begin with two underscores are private to the program that wrote the file.
    let is_known = |name: &str| known.contains(&name) || name.starts_with("__");
    match node.attribute.iter().find(|a| !is_known(&a.name)) {
        Some(other) => Err(Error::format(format!(
            "operator {} has no attribute {:?}",
            node.op_type, other.name
        ))),
        None => Ok(()),
    }
}

/// Returns the attributes that an operator of ONNX has in any opset, `None` for an unknown operator.
fn standard(operator: &str) -> Option<&'static [&'static str]> {
    Some(match operator {
        "Abs" | "Ceil" | "Exp" | "Floor" | "Log" | "Max" | "Mean" | "Min" | "Neg" | "PRelu"
        | "Reciprocal" | "Relu" | "Sigmoid" | "Sqrt" | "Sum" | "Tanh" => &["consumed_inputs"],
        "Add" | "Div" | "Mul" | "Sub" => &["axis", "broadcast", "consumed_inputs"],
        "And" | "Equal" | "Greater" | "Less" | "Or" | "Pow" | "Xor" => &["axis", "broadcast"],
        "Cos" | "Erf" | "Expand" | "GlobalAveragePool" | "GlobalMaxPool" | "GreaterOrEqual"
        | "HardSwish" | "Identity" | "LessOrEqual" | "MatMul" | "Mish" | "Not" | "Round"
        | "Sign" | "Sin" | "Size" | "Softplus" | "Softsign" | "Tile" | "Where" => &[],
        "ArgMax" => &["axis", "keepdims", "select_last_index"],
        "AveragePool" => &[
            "auto_pad",
            "ceil_mode",
            "count_include_pad",
            "dilations",
            "kernel_shape",
            "pads",
            "strides",
        ],
        "BatchNormalization" => {
            &["consumed_inputs", "epsilon", "is_test", "momentum", "spatial", "training_mode"]
        }
        "Cast" => &["round_mode", "saturate", "to"],
        "Celu" | "Swish" | "ThresholdedRelu" => &["alpha"],
        "Clip" => &["consumed_inputs", "max", "min"],
        "Concat" | "Flatten" | "Gather" | "LogSoftmax" | "Softmax" => &["axis"],
        "Constant" => &[
            "sparse_value",
            "value",
            "value_float",
            "value_floats",
            "value_int",
            "value_ints",
            "value_string",
            "value_strings",
        ],
        "ConstantOfShape" => &["value"],
        "Conv" => &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"],
        "ConvTranspose" => &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "output_padding",
            "output_shape",
            "pads",
            "strides",
        ],
        "DepthToSpace" => &["blocksize", "mode"],
        "Dropout" => &["consumed_inputs", "is_test", "ratio", "seed"],
        "Elu" | "LeakyRelu" => &["alpha", "consumed_inputs"],
        "GatherND" => &["batch_dims"],
        "Gelu" => &["approximate"],
        "Gemm" => &["alpha", "beta", "broadcast", "transA", "transB"],
        "GroupNormalization" => &["epsilon", "num_groups", "stash_type"],
        "HardSigmoid" => &["alpha", "beta", "consumed_inputs"],
        "InstanceNormalization" => &["consumed_inputs", "epsilon"],
        "LayerNormalization" => &["axis", "epsilon", "stash_type"],
        "MaxPool" => &[
            "auto_pad",
            "ceil_mode",
            "dilations",
            "kernel_shape",
            "pads",
            "storage_order",
            "strides",
        ],
        "Mod" => &["fmod"],
        "Pad" => &["mode", "paddings", "pads", "value"],
        "Range" => &["stash_type"],
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => {
            &["axes", "keepdims", "noop_with_empty_axes"]
        }
        "Reshape" => &["allowzero", "consumed_inputs", "shape"],
        "Resize" => &[
            "antialias",
            "axes",
            "coordinate_transformation_mode",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
            "keep_aspect_ratio_policy",
            "mode",
            "nearest_mode",
        ],
        "Selu" => &["alpha", "consumed_inputs", "gamma"],
        "Shape" => &["end", "start"],
        "Slice" => &["axes", "ends", "starts"],
        "Split" => &["axis", "num_outputs", "split"],
        "Squeeze" | "Unsqueeze" => &["axes"],
        "Transpose" => &["perm"],
        "Upsample" => &["height_scale", "mode", "scales", "width_scale"],
        _ => return None,
    })
}

/// As [`standard`], for the operators that ONNX Runtime's optimiser writes.
fn contributed(operator: &str) -> Option<&'static [&'static str]> {
    Some(match operator {
        "BiasGelu" | "FastGelu" | "Gelu" => &[],
        "FusedConv" => &[
            "activation",
            "activation_params",
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "pads",
            "strides",
        ],
        "FusedGemm" => &[
            "activation",
            "activation_alpha",
            "activation_beta",
            "activation_gamma",
            "alpha",
            "beta",
            "transA",
            "transB",
        ],
        "FusedMatMul" => &["alpha", "transA", "transB", "transBatchA", "transBatchB"],
        "QuickGelu" => &["alpha"],
        "TransposeMatMul" => &["alpha", "transA", "transB"],
        _ => return None,
    })
}
