//! Maps whose pixels alternate in a larger map, as the phases of a transposed convolution do.

use super::block::Block;

/// Some channels of an image, NHWC.
#[derive(Clone, Copy)]
pub struct Phase<'a> {
    /// The image.
    pub x: &'a [f32],
    /// The pixels of a line.
    pub line: usize,
    /// The elements of a pixel, padding included.
    pub width: usize,
    /// The first channel.
    pub first: usize,
    /// The distance of the channels.
    pub step: usize,
}

/// Copies `channels` channels of the phases to every line of `block`. A row of the block is a line of
/// pixels of `width` elements. The result has phase `phase(i, j)` in the pixels of lines `i`, `i +
/// steps[0]` and so on that are in columns `j`, `j + steps[1]` and so on.
///
/// # Panics
/// Panics if the block does not consist of whole lines, or if a phase does not have the channels or the
/// pixels.
pub fn interleave<'a>(
    phase: impl Fn(usize, usize) -> Phase<'a>,
    steps: [usize; 2],
    channels: usize,
    width: usize,
    block: &mut Block,
) {
    assert!(block.width().is_multiple_of(width) && channels > 0);
    for line in block.rows() {
        let to = block.row(line);
        for column in 0..steps[1] {
            let Phase { x, line: pixels, width: from_width, first, step } =
                phase(line % steps[0], column);
            let of_line = pixels * from_width;
            let from = &x[line / steps[0] * of_line..][..of_line];
            let pixels = to.chunks_exact_mut(width).skip(column).step_by(steps[1]);
            assert!(pixels.len() <= from.len() / from_width, "pixels of a line");
            let end = first + (channels - 1) * step + 1;
            for (to, from) in pixels.zip(from.chunks_exact(from_width)) {
                let from = &from[first..end];
                if step == 1 {
                    to[..channels].copy_from_slice(from);
                } else {
                    let channels = to[..channels].iter_mut().zip(from.iter().step_by(step));
                    channels.for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two maps of 2x2 pixels and of 1x2 pixels, of which 3x3 pixels of 2 channels are composed. The
    /// lines alternate, the columns are two parts of the channels.
    #[test]
    fn pixels_alternate() {
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..32).map(|i| i as f32).collect(), (0..16).map(|i| 100.0 + i as f32).collect());
        for step in [1, 2] {
            let phase = |line: usize, column: usize| {
                let first = if step == 1 { 2 * column } else { column };
                let x = if line == 0 { &a } else { &b };
                Phase { x, line: 2, width: 8, first, step }
            };
            let mut y = vec![f32::NAN; 3 * 3 * 8];
            interleave(phase, [2, 2], 2, 8, &mut Block::whole(&mut y, 24));
            for (at, pixel) in y.chunks_exact(8).enumerate() {
                let (line, column) = (at / 3, at % 3);
                let Phase { x, first, .. } = phase(line % 2, column % 2);
                let from = (line / 2 * 2 + column / 2) * 8 + first;
                assert_eq!(pixel[..2], [x[from], x[from + step]], "{line} {column}");
                assert!(pixel[2..].iter().all(|x| x.is_nan()));
            }
        }
    }

    #[test]
    #[should_panic(expected = "pixels of a line")]
    fn a_phase_of_too_few_pixels() {
        let phase = |_, _| Phase { x: &[0.0; 8], line: 1, width: 8, first: 0, step: 1 };
        interleave(phase, [1, 1], 2, 8, &mut Block::whole(&mut [0.0; 16], 16));
    }
}
