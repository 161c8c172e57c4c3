//! Images with 8 bits per channel, for networks that take f32.

use crate::error::{Error, Result};
use crate::tensor::{Layout, num_elements};

/// Images with 8 bits per channel, borrowed from the caller. A run converts them to f32.
#[derive(Clone, Copy)]
pub struct Levels<'a> {
    /// The shape of the network's input.
    shape: [usize; 4],
    data: &'a [u8],
    /// The order of the axes of `data`.
    from: Layout,
    /// The order of the axes of the network's input.
    to: Layout,
    normalisation: Option<Normalisation<'a>>,
}

/// The mean and the standard deviation of each channel, for levels from 0 to 1.
#[derive(Clone, Copy)]
struct Normalisation<'a> {
    mean: &'a [f32],
    std: &'a [f32],
}

impl<'a> Levels<'a> {
    /// Describes images in `data`, whose axes have the sizes `shape` in the order `layout`. The network takes
    /// NCHW.
    pub fn new(shape: [usize; 4], data: &'a [u8], layout: Layout) -> Self {
        let (from, to) = (layout, layout);
        Levels { shape, data, from, to, normalisation: None }.for_layout(Layout::Nchw)
    }

    /// Sets the order of the axes of the network's input.
    pub fn for_layout(mut self, layout: Layout) -> Self {
        let [n, a, b, c] = self.shape;
        self.shape = match (self.to, layout) {
            (Layout::Nchw, Layout::Nhwc) => [n, b, c, a],
            (Layout::Nhwc, Layout::Nchw) => [n, c, a, b],
            _ => self.shape,
        };
        self.to = layout;
        self
    }

    /// Sets the mean that is subtracted from each channel, and the standard deviation by which it is then
    /// divided. A level is divided by 255 first.
    pub fn normalised(mut self, mean: &'a [f32], std: &'a [f32]) -> Self {
        self.normalisation = Some(Normalisation { mean, std });
        self
    }

    /// Returns the shape of the network's input.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of channels.
    fn channels(&self) -> usize {
        match self.to {
            Layout::Nchw => self.shape[1],
            Layout::Nhwc => self.shape[3],
        }
    }

    /// Checks that there are as many bytes as the shape says, and a usable normalisation for each channel.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if not.
    pub fn check(&self) -> Result<()> {
        if num_elements(&self.shape) != Some(self.data.len()) {
            return Err(Error::input(format!(
                "an input of shape {:?} does not have {} bytes",
                self.shape,
                self.data.len()
            )));
        }
        let Some(Normalisation { mean, std }) = self.normalisation else { return Ok(()) };
        let channels = self.channels();
        if mean.len() != channels || std.len() != channels {
            return Err(Error::input(format!(
                "an input of {channels} channels is normalised by {} means and {} standard deviations",
                mean.len(),
                std.len()
            )));
        }
        let is_usable = |std: &f32| std.is_finite() && *std > 0.0;
        if !mean.iter().all(|mean| mean.is_finite()) || !std.iter().all(is_usable) {
            return Err(Error::input(
                "an input is normalised by a mean or std that is no usable number",
            ));
        }
        Ok(())
    }

    /// Writes images from number `first` on to `out` in the order of the network's axes, until it is full.
    ///
    /// # Panics
    /// Panics if there are fewer images.
    pub fn convert(&self, first: usize, out: &mut [f32]) {
        let image = self.shape[1..].iter().product::<usize>();
        if image == 0 {
            return;
        }
        let data = &self.data[first * image..][..out.len()];
        for (levels, out) in data.chunks_exact(image).zip(out.chunks_exact_mut(image)) {
            self.convert_image(levels, out);
        }
    }

    fn convert_image(&self, levels: &[u8], out: &mut [f32]) {
        let channels = self.channels();
        let pixels = levels.len() / channels;
        for channel in 0..channels {
            let values = self.values(channel);
            let value = |&level: &u8| values[usize::from(level)];
            match (self.from, self.to) {
                (Layout::Nchw, Layout::Nchw) => {
                    let plane = channel * pixels..(channel + 1) * pixels;
                    let levels = levels[plane.clone()].iter();
                    out[plane].iter_mut().zip(levels).for_each(|(to, from)| *to = value(from));
                }
                (Layout::Nhwc, Layout::Nchw) => {
                    let plane = out[channel * pixels..][..pixels].iter_mut();
                    let levels = levels.chunks_exact(channels).map(|pixel| &pixel[channel]);
                    plane.zip(levels).for_each(|(to, from)| *to = value(from));
                }
                (Layout::Nchw, Layout::Nhwc) => {
                    let pixels = out.chunks_exact_mut(channels).zip(&levels[channel * pixels..]);
                    pixels.for_each(|(to, from)| to[channel] = value(from));
                }
                (Layout::Nhwc, Layout::Nhwc) => {
                    let pixels = out.chunks_exact_mut(channels).zip(levels.chunks_exact(channels));
                    pixels.for_each(|(to, from)| to[channel] = value(&from[channel]));
                }
            }
        }
    }

    /// Returns the value of each level of a channel.
    fn values(&self, channel: usize) -> [f32; 256] {
        match self.normalisation {
            Some(Normalisation { mean, std }) => {
                let (mean, std) = (mean[channel], std[channel]);
                std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
            }
            None => std::array::from_fn(|level| level as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn every_pair_of_layouts_gives_the_same_images() {
        let (n, c, h, w) = (2, 5, 3, 4);
        let floats: Vec<f32> = (0..n * c * h * w).map(|i| (i * 37 % 256) as f32).collect();
        let nchw = Tensor::new(&[n, c, h, w], floats).unwrap();
        let nhwc = nchw.to_layout(Layout::Nchw, Layout::Nhwc).unwrap();
        let (mean, std) = ([0.1, 0.2, 0.3, 0.4, 0.5], [1.0, 2.0, 3.0, 4.0, 5.0]);
        for (from, data) in [(Layout::Nchw, &nchw), (Layout::Nhwc, &nhwc)] {
            let bytes: Vec<u8> = data.as_f32().unwrap().iter().map(|&x| x as u8).collect();
            let shape = data.shape().try_into().unwrap();
            for (to, expected) in [(Layout::Nchw, &nchw), (Layout::Nhwc, &nhwc)] {
                let levels = Levels::new(shape, &bytes, from).for_layout(to);
                levels.check().unwrap();
                assert_eq!(levels.shape(), expected.shape(), "{from} to {to}");
                let mut out = vec![f32::NAN; n * c * h * w];
                levels.convert(0, &mut out);
                assert_eq!(out, expected.as_f32().unwrap(), "{from} to {to}");
                let normalised = levels.normalised(&mean, &std);
                normalised.check().unwrap();
                let mut second = vec![f32::NAN; c * h * w];
                normalised.convert(1, &mut second);
                for (i, (&found, level)) in second.iter().zip(&out[c * h * w..]).enumerate() {
                    let channel = if to == Layout::Nchw { i / (h * w) } else { i % c };
                    assert_eq!(found, (level / 255.0 - mean[channel]) / std[channel]);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let data = [0; 24];
        let levels = |shape| Levels::new(shape, &data, Layout::Nhwc);
        assert!(levels([1, 2, 4, 3]).check().is_ok());
        for shape in [[1, 2, 4, 4], [1, 2, 3, 3], [usize::MAX, 2, 4, 3]] {
            assert!(levels(shape).check().is_err(), "{shape:?}");
        }
        let image = levels([1, 2, 4, 3]);
        assert!(image.normalised(&[0.5; 3], &[0.5; 3]).check().is_ok());
        assert!(image.normalised(&[0.5; 2], &[0.5; 3]).check().is_err());
        assert!(image.normalised(&[0.5; 3], &[0.5; 4]).check().is_err());
        assert!(image.normalised(&[0.5; 3], &[0.5, 0.0, 0.5]).check().is_err());
        assert!(image.normalised(&[f32::NAN; 3], &[0.5; 3]).check().is_err());
        let empty = Levels::new([0, 2, 4, 3], &[], Layout::Nhwc);
        empty.check().unwrap();
        empty.convert(0, &mut []);
    }
}
