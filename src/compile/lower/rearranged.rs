//! Maps under reshapes and transpositions, followed by the parts of their axes.
//!
//! A window partition writes `[N,H,W,C]` as `[N,H/7,7,W/7,7,C]`, exchanges axes, and joins them. Each
//! axis of such a tensor is a product of parts: of the images, of the pixels, or of the channels of
//! the map that it began as. Where the channels are whole again, the tensor is a map that has the
//! pixels in another order.

use std::collections::VecDeque;

use crate::graph::{Bindings, Dim, ValueId};
use crate::tensor::Layout;

/// A part of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The samples of a batch, if their number is free.
    Samples,
    /// So many pixels, `step` apart, counted through all images of a sample.
    Pixels { count: usize, step: usize },
    /// So many channels, `step` apart.
    Channels { count: usize, step: usize },
}

impl Part {
    fn count(self) -> usize {
        match self {
            Part::Samples => 1,
            Part::Pixels { count, .. } | Part::Channels { count, .. } => count,
        }
    }

    /// Cuts off the first factor of the part, which divides its count.
    fn split(self, outer: usize) -> [Part; 2] {
        match self {
            Part::Samples => [self, self],
            Part::Pixels { count, step } => {
                let inner = count / outer;
                let pixels = |count, step| Part::Pixels { count, step };
                [pixels(outer, step * inner), pixels(inner, step)]
            }
            Part::Channels { count, step } => {
                let inner = count / outer;
                let channels = |count, step| Part::Channels { count, step };
                [channels(outer, step * inner), channels(inner, step)]
            }
        }
    }

    /// The part that this one and the next on the same axis are together.
    fn join(self, next: Part) -> Option<Part> {
        match (self, next) {
            (Part::Pixels { count, step }, Part::Pixels { count: inner, step: unit })
                if step == inner * unit =>
            {
                Some(Part::Pixels { count: count * inner, step: unit })
            }
            (Part::Channels { count, step }, Part::Channels { count: inner, step: unit })
                if step == inner * unit =>
            {
                Some(Part::Channels { count: count * inner, step: unit })
            }
            _ => None,
        }
    }
}

/// The sizes of a batch: what is free, and the number of images of a sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    /// The number of samples.
    pub samples: Dim,
    /// The images per sample.
    pub images: usize,
}

impl Batch {
    /// Takes the number of images apart into a number and what depends on symbols, whose values
    /// `ones` are all 1.
    pub fn of(images: &Dim, ones: &Bindings) -> Option<Self> {
        let per_sample = usize::try_from(images.evaluate(ones).ok()?).ok().filter(|&n| n > 0)?;
        let samples = images.div_exact(&per_sample.into())?;
        Some(Batch { samples, images: per_sample })
    }

    fn is_free(&self) -> bool {
        self.samples.as_const().is_none()
    }
}

/// A tensor with the elements of a map in another order.
#[derive(Clone, Debug)]
pub(super) struct Rearranged {
    /// The map.
    pub source: ValueId,
    batch: Batch,
    channels: usize,
    axes: Vec<Vec<Part>>,
}

/// A map that has the pixels of another one in another order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PixelOrder {
    /// The layout of the map.
    pub layout: Layout,
    /// The number of pixels of the other map whose channels lie side by side in a pixel of this one.
    pub group: usize,
    /// The pixels of the other map, for a sample.
    pub table: Vec<u32>,
}

/// The most pixels of a table. Windows of an image of 1024 by 1024 pixels are within it.
const MOST_PIXELS: usize = 1 << 20;

impl Rearranged {
    /// The map `source` itself.
    pub fn of_map(source: ValueId, dims: &[Dim], layout: Layout, ones: &Bindings) -> Option<Self> {
        let [images, rest @ ..] = dims else { return None };
        let batch = Batch::of(images, ones)?;
        let sizes: Vec<usize> = rest.iter().map(Dim::as_size).collect::<Option<_>>()?;
        let (&channels, pixels) = match layout {
            Layout::Nchw => sizes.split_first()?,
            Layout::Nhwc => sizes.split_last()?,
        };
        let per_image: usize = pixels.iter().product();
        if channels == 0 || per_image == 0 || per_image.checked_mul(batch.images)? > MOST_PIXELS {
            return None;
        }
        let mut first = vec![Part::Samples; usize::from(batch.is_free())];
        first.push(Part::Pixels { count: batch.images, step: per_image });
        let mut step = per_image;
        let mut axes: Vec<Vec<Part>> = pixels
            .iter()
            .map(|&count| {
                step /= count;
                vec![Part::Pixels { count, step }]
            })
            .collect();
        let all = vec![Part::Channels { count: channels, step: 1 }];
        axes.insert(if layout == Layout::Nchw { 0 } else { axes.len() }, all);
        axes.insert(0, first);
        Some(Rearranged { source, batch, channels, axes })
    }

    /// The tensor after a transposition.
    pub fn transposed(mut self, perm: &[usize]) -> Option<Self> {
        self.axes = perm.iter().map(|&axis| self.axes.get(axis).cloned()).collect::<Option<_>>()?;
        Some(self)
    }

    /// The tensor after a change of its shape to `dims`.
    pub fn reshaped(mut self, dims: &[Dim], ones: &Bindings) -> Option<Self> {
        let mut parts: VecDeque<Part> = self.axes.concat().into();
        self.axes = Vec::with_capacity(dims.len());
        for dim in dims {
            let mut left = usize::try_from(dim.evaluate(ones).ok()?).ok()?;
            let is_free = dim.as_const().is_none();
            let mut axis: Vec<Part> = Vec::new();
            while let Some(&part) = parts.front() {
                let taken = match part {
                    Part::Samples if is_free && !axis.contains(&part) => part,
                    Part::Samples => break,
                    _ if part.count() == 1 => {
                        parts.pop_front();
                        continue;
                    }
                    _ if left == 1 => break,
                    _ if left.is_multiple_of(part.count()) => part,
                    _ if part.count().is_multiple_of(left) => {
                        let [outer, inner] = part.split(left);
                        parts.insert(1, inner);
                        outer
                    }
                    _ => return None,
                };
                parts.pop_front();
                left /= taken.count();
                match axis.last().and_then(|last| last.join(taken)) {
                    Some(joined) => *axis.last_mut()? = joined,
                    None => axis.push(taken),
                }
            }
            if left != 1 || is_free != axis.contains(&Part::Samples) {
                return None;
            }
            self.axes.push(axis);
        }
        parts.is_empty().then_some(self)
    }

    /// Returns the order of the pixels, if the tensor is a map.
    pub fn order(&self) -> Option<PixelOrder> {
        let all = Part::Channels { count: self.channels, step: 1 };
        let place = self.axes.iter().position(|axis| axis.last() == Some(&all))?;
        let layout = match (place, self.axes.len()) {
            (1, 3 | 4) if self.axes[1].len() == 1 => Layout::Nchw,
            (2, 3) | (3, 4) => Layout::Nhwc,
            _ => return None,
        };
        let (side_by_side, others) = (self.axes[place].split_last()?.1, {
            let mut others = self.axes.clone();
            others.remove(place);
            others.concat()
        });
        let (samples, others) = match others.split_first()? {
            (Part::Samples, others) => (true, others),
            _ => (false, others.as_slice()),
        };
        if samples != self.batch.is_free() {
            return None;
        }
        let mut table = vec![0];
        let mut group = 1;
        for part in others.iter().chain(side_by_side) {
            let &Part::Pixels { count, step } = part else { return None };
            let all = table.iter().flat_map(|&first| (0..count).map(move |i| first + i * step));
            table = all.collect();
        }
        for part in side_by_side {
            group *= part.count();
        }
        let table = table.into_iter().map(u32::try_from).collect::<Result<_, _>>().ok()?;
        Some(PixelOrder { layout, group, table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(dims: &[Dim], layout: Layout) -> Rearranged {
        Rearranged::of_map(ValueId(0), dims, layout, &ones()).unwrap()
    }

    fn ones() -> Bindings {
        [("N".into(), 1)].into_iter().collect()
    }

    fn batch(images: usize, rest: &[usize]) -> Vec<Dim> {
        let first = Dim::symbol("N").checked_mul(&images.into()).unwrap();
        [first].into_iter().chain(rest.iter().map(|&size| size.into())).collect()
    }

    #[test]
    fn windows_are_pixels_in_another_order_and_back() {
        let (map_dims, split) = (batch(1, &[4, 6, 5]), batch(1, &[2, 2, 3, 2, 5]));
        let windows = map(&map_dims, Layout::Nhwc).reshaped(&split, &ones()).unwrap();
        assert!(windows.order().is_none(), "a tensor with six axes is no map");
        let windows = windows.transposed(&[0, 1, 3, 2, 4, 5]).unwrap();
        let order = windows.clone().reshaped(&batch(6, &[2, 2, 5]), &ones()).unwrap().order();
        let order = order.unwrap();
        assert_eq!((order.layout, order.group), (Layout::Nhwc, 1));
        assert_eq!(order.table[..8], [0, 1, 6, 7, 2, 3, 8, 9]);
        let split = batch(1, &[2, 3, 2, 2, 5]);
        let back = map(&batch(6, &[4, 5]), Layout::Nhwc).reshaped(&split, &ones()).unwrap();
        let back = back.transposed(&[0, 1, 3, 2, 4, 5]).unwrap().reshaped(&map_dims, &ones());
        let back = back.unwrap().order().unwrap();
        let both: Vec<u32> = back.table.iter().map(|&i| order.table[i as usize]).collect();
        assert_eq!(both, (0..24).collect::<Vec<_>>());
    }

    /// MobileViT joins the channels with other axes on the way.
    #[test]
    fn channels_may_be_joined_with_other_axes_on_the_way() {
        let ones = ones();
        let x = map(&batch(1, &[3, 4, 6]), Layout::Nchw);
        let x = x.reshaped(&batch(6, &[2, 3, 2]), &ones).unwrap().transposed(&[0, 2, 1, 3]);
        let x = x.unwrap().reshaped(&batch(1, &[3, 6, 4]), &ones).unwrap();
        let x = x.transposed(&[0, 3, 2, 1]).unwrap().reshaped(&batch(4, &[6, 3]), &ones).unwrap();
        let order = x.order().unwrap();
        assert_eq!((order.layout, order.group), (Layout::Nhwc, 1));
        assert_eq!(order.table[..8], [0, 2, 4, 12, 14, 16, 1, 3]);
    }

    #[test]
    fn channels_of_neighbours_lie_side_by_side() {
        let x = map(&batch(1, &[4, 2, 5]), Layout::Nhwc);
        let x = x.reshaped(&batch(1, &[2, 2, 1, 2, 5]), &ones()).unwrap();
        let x = x.transposed(&[0, 1, 3, 4, 2, 5]).unwrap();
        let order = x.reshaped(&batch(1, &[2, 1, 20]), &ones()).unwrap().order().unwrap();
        assert_eq!(order.group, 4);
        assert_eq!(order.table, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn what_splits_channels_or_moves_samples_is_no_map() {
        let tokens = || map(&batch(1, &[7, 6]), Layout::Nhwc);
        assert!(tokens().reshaped(&batch(1, &[7, 2, 3]), &ones()).unwrap().order().is_none());
        assert!(tokens().transposed(&[1, 0, 2]).unwrap().order().is_none());
    }
}
