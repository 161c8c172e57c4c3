//! Luma and chroma to red, green and blue.

/// What luma and chroma of a video mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum YuvEncoding {
    /// ITU-R BT.601, with luma from 16 to 235 and chroma from 16 to 240: video of standard definition.
    /// Levels are those of OpenCV's `COLOR_YUV2RGB_NV12`.
    #[default]
    Bt601,
    /// ITU-R BT.709, with luma from 16 to 235 and chroma from 16 to 240: video of high definition.
    Bt709,
    /// BT.601 with all levels from 0 to 255, as in JPEG (JFIF) and in the cameras of phones.
    Jfif,
}

/// Converts pixels of one encoding, in fixed point.
pub(super) struct Converter {
    /// The luma of black.
    black: i32,
    luma: i32,
    red_from_cr: i32,
    green_from_cb: i32,
    green_from_cr: i32,
    blue_from_cb: i32,
}

/// Bits behind the binary point.
const SHIFT: u32 = 20;

const fn fixed(factor: f64) -> i32 {
    (factor * (1 << SHIFT) as f64) as i32
}

const fn converter(black: i32, [luma, red, green_cb, green_cr, blue]: [f64; 5]) -> Converter {
    Converter {
        black,
        luma: fixed(luma),
        red_from_cr: fixed(red),
        green_from_cb: fixed(green_cb),
        green_from_cr: fixed(green_cr),
        blue_from_cb: fixed(blue),
    }
}

// The factors follow from the shares of red and blue in luma, 0.299 and 0.114 in BT.601, 0.2126 and 0.0722
// in BT.709: 2 (1 - share) for the colour itself, and what remains for green. Where luma has 219 levels and
// chroma 224, they are scaled by 255/219 and 255/224. Those of BT.601 are rounded as OpenCV rounds them.
const BT601: Converter = converter(16, [1.164, 1.596, -0.391, -0.813, 2.018]);
const BT709: Converter = converter(16, [1.164_384, 1.792_741, -0.213_249, -0.532_909, 2.112_402]);
const JFIF: Converter = converter(0, [1.0, 1.402, -0.344_136, -0.714_136, 1.772]);

impl Converter {
    pub fn new(encoding: YuvEncoding) -> &'static Self {
        match encoding {
            YuvEncoding::Bt601 => &BT601,
            YuvEncoding::Bt709 => &BT709,
            YuvEncoding::Jfif => &JFIF,
        }
    }

    /// Returns red, green and blue of a pixel. `chroma` is the blue difference and the red difference.
    pub fn rgb(&self, luma: u8, chroma: [u8; 2]) -> [u8; 3] {
        let [cb, cr] = chroma.map(|level| i32::from(level) - 128);
        let luma = (i32::from(luma) - self.black).max(0) * self.luma + (1 << (SHIFT - 1));
        let red = luma + self.red_from_cr * cr;
        let green = luma + self.green_from_cb * cb + self.green_from_cr * cr;
        let blue = luma + self.blue_from_cb * cb;
        [red, green, blue].map(|level| (level >> SHIFT).clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in floating point.
    fn exact(encoding: YuvEncoding, luma: u8, [cb, cr]: [u8; 2]) -> [f64; 3] {
        let (red, blue) = match encoding {
            YuvEncoding::Bt709 => (0.2126, 0.0722),
            _ => (0.299, 0.114),
        };
        let (black, luma_levels, chroma_levels) = match encoding {
            YuvEncoding::Jfif => (0.0, 255.0, 255.0),
            _ => (16.0, 219.0, 224.0),
        };
        let y = (f64::from(luma) - black).max(0.0) / luma_levels;
        let [cb, cr] = [cb, cr].map(|level| (f64::from(level) - 128.0) / chroma_levels);
        let (r, b) = (y + 2.0 * (1.0 - red) * cr, y + 2.0 * (1.0 - blue) * cb);
        let g = (y - red * r - blue * b) / (1.0 - red - blue);
        [r, g, b].map(|level| (255.0 * level).clamp(0.0, 255.0))
    }

    #[test]
    fn levels_are_those_of_the_definition() {
        for (encoding, tolerance) in
            [(YuvEncoding::Bt601, 0.7), (YuvEncoding::Bt709, 0.51), (YuvEncoding::Jfif, 0.51)]
        {
            for luma in 0..=255 {
                for (cb, cr) in
                    (0..=255).step_by(5).flat_map(|a| (0..=255).step_by(5).map(move |b| (a, b)))
                {
                    let found = Converter::new(encoding).rgb(luma, [cb, cr]);
                    let expected = exact(encoding, luma, [cb, cr]);
                    for (found, expected) in found.into_iter().zip(expected) {
                        let error = (f64::from(found) - expected).abs();
                        assert!(error <= tolerance, "{encoding:?} {luma} {cb} {cr}: {error}");
                    }
                }
            }
        }
    }

    /// Levels that OpenCV 5 gives for `COLOR_YUV2RGB_NV12`.
    #[test]
    fn levels_are_those_of_opencv() {
        for (luma, chroma, expected) in OPENCV {
            assert_eq!(BT601.rgb(luma, chroma), expected, "{luma} {chroma:?}");
        }
    }

    const OPENCV: [(u8, [u8; 2], [u8; 3]); 10] = [
        (16, [128, 128], [0, 0, 0]),
        (235, [128, 128], [255, 255, 255]),
        (81, [90, 240], [254, 0, 0]),
        (145, [54, 34], [0, 255, 1]),
        (41, [240, 110], [0, 0, 255]),
        (0, [0, 0], [0, 154, 0]),
        (255, [255, 255], [255, 125, 255]),
        (100, [200, 30], [0, 149, 243]),
        (180, [17, 230], [255, 151, 0]),
        (60, [140, 120], [38, 53, 75]),
    ];
}
