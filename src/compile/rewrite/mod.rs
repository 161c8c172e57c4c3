//! Passes that rewrite a graph into an equal one, one pass per file.

mod channel_affine;
mod channel_shuffle;
mod constant_shapes;
mod constant_sizes;
mod deform_conv;
mod delay_permutations;
mod dynamic_conv;
mod fold_batch_norm;
mod fold_pad;
mod free_batch;
mod group_norm;
mod merge_means;
mod pool_before_conv;
mod simplify;
mod spelled_activations;
mod spelled_layer_norm;
mod split_maxout;
mod squeezed_batch;
mod static_slopes;
mod sum_convs;
mod sum_of_squares;
mod transposed_conv;

pub use channel_affine::channel_affine;
pub use channel_shuffle::channel_shuffle;
pub use constant_shapes::constant_shapes;
pub use constant_sizes::constant_sizes;
pub use deform_conv::deform_conv;
pub use delay_permutations::delay_permutations;
pub use dynamic_conv::dynamic_conv;
pub use fold_batch_norm::fold_batch_norm;
pub use fold_pad::fold_pad;
pub use free_batch::{FixedBatch, free_batch};
pub use group_norm::{group_norm, spelled_group_norm};
pub use merge_means::merge_means;
pub use pool_before_conv::pool_before_conv;
pub use simplify::simplify;
pub use spelled_activations::spelled_activations;
pub use spelled_layer_norm::spelled_layer_norm;
pub use split_maxout::split_maxout;
pub use squeezed_batch::squeezed_batch;
pub use static_slopes::static_slopes;
pub use sum_convs::sum_convs;
pub use sum_of_squares::sum_of_squares;
pub use transposed_conv::transposed_conv;

#[cfg(test)]
mod testing;
#[cfg(test)]
use testing::alone;
