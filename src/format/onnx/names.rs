//! Operators of which nothing but the name has to be translated.

use super::attributes::Attributes;
use crate::error::Result;
use crate::graph::{Binary, Op, ReduceKind, Unary, Variadic};

pub(super) fn reduction(name: &str) -> Option<ReduceKind> {
    Some(match name {
        "ReduceMean" => ReduceKind::Mean,
        "ReduceSum" => ReduceKind::Sum,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceSumSquare" => ReduceKind::SumSquare,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        _ => return None,
    })
}

pub(super) fn unary(name: &str, a: &Attributes) -> Result<Option<Unary>> {
    Ok(Some(match name {
        "Relu" => Unary::Relu,
        "LeakyRelu" => Unary::LeakyRelu { alpha: a.float("alpha", 0.01)? },
        "Elu" => Unary::Elu { alpha: a.float("alpha", 1.0)? },
        "Celu" => Unary::Celu { alpha: a.float("alpha", 1.0)? },
        "Selu" => Unary::Selu {
            alpha: a.float("alpha", 1.673_263_2)?,
            gamma: a.float("gamma", 1.050_701)?,
        },
        "ThresholdedRelu" => Unary::ThresholdedRelu { alpha: a.float("alpha", 1.0)? },
        "Gelu" => Unary::Gelu { tanh: a.string("approximate", "none")? == "tanh" },
        "Sigmoid" => Unary::Sigmoid,
        "HardSigmoid" => {
            Unary::HardSigmoid { alpha: a.float("alpha", 0.2)?, beta: a.float("beta", 0.5)? }
        }
        "HardSwish" => Unary::HardSwish,
        "Swish" => Unary::Swish { alpha: a.float("alpha", 1.0)? },
        "Mish" => Unary::Mish,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Tanh" => Unary::Tanh,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sign" => Unary::Sign,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "Erf" => Unary::Erf,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        "Not" => Unary::Not,
        _ => return Ok(None),
    }))
}

pub(super) fn combination(name: &str, a: &Attributes) -> Result<Option<Op>> {
    let binary = match name {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        "Mod" => Binary::Mod { fmod: a.flag("fmod", false)? },
        "Equal" => Binary::Equal,
        "Less" => Binary::Less,
        "LessOrEqual" => Binary::LessOrEqual,
        "Greater" => Binary::Greater,
        "GreaterOrEqual" => Binary::GreaterOrEqual,
        "And" => Binary::And,
        "Or" => Binary::Or,
        "Xor" => Binary::Xor,
        "Max" => return Ok(Some(Op::Variadic(Variadic::Max))),
        "Min" => return Ok(Some(Op::Variadic(Variadic::Min))),
        "Sum" => return Ok(Some(Op::Variadic(Variadic::Sum))),
        "Mean" => return Ok(Some(Op::Variadic(Variadic::Mean))),
        _ => return Ok(None),
    };
    Ok(Some(Op::Binary(binary)))
}
