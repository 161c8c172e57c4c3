//! Arithmetic of sizes that a caller passes.

/// Returns the product of sizes.
///
/// # Panics
/// Panics if it does not fit in `usize`: no slice has so many elements.
#[track_caller]
pub(super) fn product_of<const N: usize>(sizes: [usize; N]) -> usize {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    product.unwrap_or_else(|| panic!("sizes {sizes:?} are too large"))
}
