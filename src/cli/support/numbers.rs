//! Random inputs, and how far results are apart.

use dyrelu::graph::Graph;
use dyrelu::{DType, Error, Result, Tensor};

/// The largest difference, divided by the largest magnitude among the expected elements.
///
/// Equal infinities and pairs of NaN count as equal. NaN or an infinity on one side only makes the
/// result NaN.
pub fn relative_error(name: &str, computed: &Tensor, expected: &Tensor) -> Result<f64> {
    if computed.shape() != expected.shape() {
        return Err(Error::shape(format!(
            "{name:?} has shape {:?}, expected {:?}",
            computed.shape(),
            expected.shape()
        )));
    }
    // In half precision, two results that differ slightly may round to neighbouring numbers.
    let unit = match computed.dtype() {
        DType::F16 => 1.0 / f64::from(1 << 10),
        DType::BF16 => 1.0 / f64::from(1 << 7),
        _ => 0.0,
    };
    let (computed, expected) = (computed.cast(DType::F64)?, expected.cast(DType::F64)?);
    let (computed, expected) = (computed.as_slice::<f64>()?, expected.as_slice::<f64>()?);
    let mut scale = f64::MIN_POSITIVE;
    let mut worst = 0f64;
    for (&a, &b) in computed.iter().zip(expected) {
        let is_neighbour = b.is_finite() && (a - b).abs() <= unit * b.abs();
        if a == b || is_neighbour || (a.is_nan() && b.is_nan()) {
            scale = if b.is_finite() { scale.max(b.abs()) } else { scale };
            continue;
        }
        if !(a - b).is_finite() {
            return Ok(f64::NAN);
        }
        scale = scale.max(b.abs());
        worst = worst.max((a - b).abs());
    }
    Ok(worst / scale)
}

/// Whether no element is NaN or infinite.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.cast(DType::F64)?.as_slice::<f64>()?.iter().all(|element| element.is_finite()))
}

/// Uniformly distributed numbers from 0 to below 1, the same at every call: SplitMix64.
pub struct Uniform(u64);

impl Uniform {
    pub fn new() -> Self {
        Uniform(0x9e37_79b9_7f4a_7c15)
    }

    pub fn sample(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Inputs of approximately normally distributed numbers, the same at every call.
pub fn random_inputs(graph: &Graph, size: usize) -> Result<Vec<Tensor>> {
    let mut uniform = Uniform::new();
    let mut tensor = |id: &_| {
        let value = graph.value(*id);
        let Some(ty) = &value.input else { return Err(Error::graph("an input without a type")) };
        if !ty.dtype.is_float() {
            return Err(Error::input(format!(
                "input {:?} is of type {}, which has no random values",
                value.name, ty.dtype
            )));
        }
        let size = |(axis, d): (usize, &dyrelu::graph::Dim)| {
            d.as_size().unwrap_or(if axis == 0 { 2 } else { size })
        };
        let shape: Vec<usize> = ty.dims.iter().enumerate().map(size).collect();
        let count = dyrelu::tensor::num_elements(&shape)
            .filter(|&n| n < 1 << 30)
            .ok_or_else(|| Error::input(format!("an input of shape {shape:?} is too large")))?;
        let values = (0..count).map(|_| (0..12).map(|_| uniform.sample()).sum::<f64>() - 6.0);
        Tensor::new(&shape, values.map(|x| x as f32).collect::<Vec<f32>>())?.cast(ty.dtype)
    };
    graph.inputs().iter().map(&mut tensor).collect()
}
