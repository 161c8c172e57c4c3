//! What several commands share: arguments, files, messages and the way of photos through a network.

pub mod arrays;
pub mod canvas;
pub mod coco;
pub mod interrupt;
pub mod labels;
pub mod messages;
pub mod model;
pub mod named;
pub mod npy;
pub mod numbers;
pub mod outcome;
pub mod photos;
pub mod pipeline;
pub mod preparation;
pub mod print;
pub mod progress;
pub mod search;
pub mod shapes;
pub mod table;
pub mod target;
pub mod values;
pub mod version;
pub mod work;
