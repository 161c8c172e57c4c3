//! Depthwise convolution: every channel with a window of its own.

use super::Window;

/// Convolves one plane: `y = bias + sum over taps of weight[tap] * x`.
///
/// # Panics
/// Where the lengths do not fit together.
pub fn depthwise(x: &[f32], weight: &[f32], bias: f32, y: &mut [f32], window: &Window) {
    assert_eq!(x.len(), window.input[0] * window.input[1]);
    assert_eq!(y.len(), window.output[0] * window.output[1]);
    assert_eq!(weight.len(), window.kernel[0] * window.kernel[1]);
    if y.is_empty() {
        return;
    }
    y.fill(bias);
    let [width, stride] = [window.input[1], window.stride[1]];
    for (tap, &weight) in weight.iter().enumerate() {
        let (tap_y, tap_x) = (tap / window.kernel[1], tap % window.kernel[1]);
        let columns = window.inside(1, tap_x);
        if columns.is_empty() {
            continue;
        }
        let Some(first) = window.source(1, columns.start, tap_x) else { continue };
        for at in window.inside(0, tap_y) {
            let Some(row) = window.source(0, at, tap_y) else { continue };
            let line = &x[row * width..][..width];
            let out = &mut y[at * window.output[1]..][..window.output[1]][columns.clone()];
            if stride == 1 {
                out.iter_mut().zip(&line[first..]).for_each(|(y, x)| *y += weight * x);
            } else {
                let line = line[first..].iter().step_by(stride);
                out.iter_mut().zip(line).for_each(|(y, x)| *y += weight * x);
            }
        }
    }
}
