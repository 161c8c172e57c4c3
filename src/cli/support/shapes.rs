//! The shapes of a network's inputs where its file leaves them open.

use dyrelu::graph::{Dim, Graph};
use dyrelu::{Error, Model, Port, Result};

/// The shape of each input. A free first axis is `batch`, any other free axis is `size`. `first`,
/// if given, is the whole shape of the first input.
pub fn input_shapes(
    model: &Model,
    first: Option<&[usize]>,
    batch: usize,
    size: usize,
) -> Result<Vec<Vec<usize>>> {
    let shape = |(number, port): (usize, &Port)| {
        let ty = port.ty.as_ref().filter(|ty| ty.dtype.is_float()).ok_or_else(|| {
            Error::input(format!("input {:?} is not of a floating-point type", port.name))
        })?;
        if let (0, Some(first)) = (number, first) {
            return Ok(first.to_vec());
        }
        let free = |axis| if axis == 0 { batch } else { size };
        let dims = ty.dims.iter().enumerate();
        Ok(dims.map(|(axis, d)| d.as_size().unwrap_or(free(axis))).collect())
    };
    model.inputs().iter().enumerate().map(shape).collect()
}

/// Sets the shape of the first input. Sizes that the network fixes must agree.
pub fn fix_shape(graph: &mut Graph, shape: &[usize]) -> Result<()> {
    let Some(&input) = graph.inputs().first() else { return Ok(()) };
    let value = graph.value_mut(input);
    let Some(ty) = &mut value.input else { return Ok(()) };
    let fits = ty.dims.len() == shape.len()
        && ty.dims.iter().zip(shape).all(|(d, &s)| d.as_size().is_none_or(|d| d == s));
    if !fits {
        return Err(Error::input(format!("shape {shape:?} does not fit the input of type {ty}")));
    }
    ty.dims = shape.iter().map(|&d| Dim::from(d)).collect();
    Ok(())
}
