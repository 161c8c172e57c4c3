//! Convolution of one group of one image: the input unfolded, then a matrix product.

use super::Window;
use super::matmul::{Matrix, add_product};

/// Elements of workspace that [`conv`] needs for `channels` input channels.
pub fn workspace(window: &Window, channels: usize) -> usize {
    if is_pointwise(window) {
        return 0;
    }
    channels * window.kernel[0] * window.kernel[1] * window.output[0] * window.output[1]
}

/// Whether every output element depends on the input element at its own place alone.
fn is_pointwise(window: &Window) -> bool {
    window.kernel == [1, 1] && window.stride == [1, 1] && window.input == window.output
}

/// `y[o] = bias[o] + sum over c and taps of weight[o][c][tap] * x[c]`: `x` holds the input
/// planes of the group, `y` as many output planes as `bias` has elements.
///
/// # Panics
/// Where the lengths do not fit together.
pub fn conv(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
    window: &Window,
    work: &mut [f32],
) {
    let plane = window.output[0] * window.output[1];
    assert_eq!(y.len(), bias.len() * plane);
    if y.is_empty() {
        return;
    }
    for (y, &bias) in y.chunks_exact_mut(plane).zip(bias) {
        y.fill(bias);
    }
    let depth = weight.len() / bias.len();
    let unfolded = if is_pointwise(window) {
        x
    } else {
        unfold(x, &mut work[..depth * plane], window);
        &work[..depth * plane]
    };
    let weight = Matrix::by_rows(weight, bias.len(), depth);
    add_product(y, weight, Matrix::by_rows(unfolded, depth, plane));
}

/// Lays out `x` so that row `(c, tap)` holds what that tap sees at every output position.
fn unfold(x: &[f32], rows: &mut [f32], window: &Window) {
    let [height, width] = window.output;
    let mut rows = rows.chunks_exact_mut(height * width);
    for plane in x.chunks_exact(window.input[0] * window.input[1]) {
        for tap_y in 0..window.kernel[0] {
            for tap_x in 0..window.kernel[1] {
                let Some(row) = rows.next() else { return };
                for (at, out) in row.chunks_exact_mut(width).enumerate() {
                    match window.source(0, at, tap_y) {
                        Some(y) => unfold_row(&plane[y * window.input[1]..], out, window, tap_x),
                        None => out.fill(0.0),
                    }
                }
            }
        }
    }
}

fn unfold_row(line: &[f32], out: &mut [f32], window: &Window, tap: usize) {
    let inside = window.inside(1, tap);
    out[..inside.start].fill(0.0);
    out[inside.end..].fill(0.0);
    if inside.is_empty() {
        return;
    }
    let Some(first) = window.source(1, inside.start, tap) else { return };
    let source = line[first..].iter().step_by(window.stride[1]);
    out[inside].iter_mut().zip(source).for_each(|(out, x)| *out = *x);
}
