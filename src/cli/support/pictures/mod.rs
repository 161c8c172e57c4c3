//! Pictures that commands write: pixels, lines and text, and the colours of numbers.

pub mod canvas;
pub mod colours;
pub mod svg;
