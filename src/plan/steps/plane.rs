//! Maps of one channel as planes.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;

/// The numbers of input 0, a map of one channel, as a plane.
pub struct PlanePrimitive;

impl Primitive for PlanePrimitive {
    fn name(&self) -> &'static str {
        "plane"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, extent) = (arguments.input(0), arguments.output_extent(0));
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        for (i, plane) in y.chunks_exact_mut(extent.image().max(1)).enumerate() {
            let numbers = x.image(i).iter().step_by(x.extent.stride());
            plane.iter_mut().zip(numbers).for_each(|(to, number)| *to = *number);
        }
        Ok(())
    }
}
