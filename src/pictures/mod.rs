//! Pictures as SVG, and the colours of numbers.

mod colours;
mod svg;

pub use colours::colour;
pub use svg::{Anchor, Svg, escaped};
