//! Lines of maps, one map below another.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};

/// The lines of all inputs, those of each input below those of the one before.
///
/// A map of one line and one of one column have the same pixels in the same order, so that either
/// stands for the other.
pub struct LinesPrimitive {
    /// The first pixel of each input that is taken, counted along its lines.
    pub first: usize,
}

impl Primitive for LinesPrimitive {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let output = arguments.output_extent(0);
        let first = self.first * output.stride();
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        for (image, mut y) in y.chunks_exact_mut(output.image()).enumerate() {
            for view in arguments.inputs.iter().flatten() {
                let x = view.image(image).get(first..).unwrap_or_default();
                let len = x.len().min(y.len());
                let (here, below) = y.split_at_mut(len);
                here.copy_from_slice(&x[..len]);
                y = below;
            }
            if !y.is_empty() {
                return Err(Error::shape("the maps have fewer lines than their concatenation"));
            }
        }
        Ok(())
    }
}
