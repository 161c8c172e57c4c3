//! Conversion between tensors in NCHW and feature maps in NHWC with padded pixels.
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised, padded};

/// Pixels per strip. All channels of a strip are moved before the next strip, so that every cache line
/// of either layout is used completely while it is in the cache.
const PIXELS: usize = 64;

/// Copies one image from `planes [channels][count]` to `pixels [count][padded channels]`. The padding
/// becomes zero.
///
/// # Panics
/// Panics if the slices do not have these shapes for the same number of pixels `count`.
pub fn planes_to_pixels(isa: Isa, planes: &[f32], channels: usize, pixels: &mut [f32]) {
    check(planes, channels, pixels);
    isa.run_narrow(ToPixels { planes, channels, pixels });
}

/// Copies one image from `pixels [count][padded channels]` to `planes [channels][count]`.
///
/// # Panics
/// Panics if the slices do not have these shapes for the same number of pixels `count`.
pub fn pixels_to_planes(isa: Isa, pixels: &[f32], channels: usize, planes: &mut [f32]) {
    check(planes, channels, pixels);
    isa.run_narrow(ToPlanes { pixels, channels, planes });
}

fn check(planes: &[f32], channels: usize, pixels: &[f32]) {
    let count = planes.len() / channels;
    assert_eq!(planes.len(), count * channels, "the planes differ in size");
    assert_eq!(
        pixels.len(),
        count * padded(channels),
        "the layouts differ in the number of pixels"
    );
}

/// A tile of up to eight pixels by eight channels: where it starts, and its size.
struct Tile {
    pixel: usize,
    pixels: usize,
    channel: usize,
    channels: usize,
}

impl Tile {
    fn is_full(&self) -> bool {
        self.pixels == LANES && self.channels == LANES
    }
}

/// Calls `move_tile` for each tile of an image, strip by strip.
#[inline(always)]
fn for_tiles(pixels: usize, channels: usize, mut move_tile: impl FnMut(Tile)) {
    for first in (0..pixels).step_by(PIXELS) {
        let end = pixels.min(first + PIXELS);
        for channel in (0..channels).step_by(LANES) {
            for pixel in (first..end).step_by(LANES) {
                move_tile(Tile {
                    pixel,
                    pixels: LANES.min(end - pixel),
                    channel,
                    channels: LANES.min(channels - channel),
                });
            }
        }
    }
}

/// Prefetches what lies `distance` elements after each of the eight rows of a tile: the same tile of
/// the next strip. Its rows are too short for the hardware prefetcher.
#[inline(always)]
fn prefetch_next_strip<S: Simd>(s: S, tile: &[f32], row: usize, distance: usize) {
    for i in 0..LANES {
        s.prefetch(tile.as_ptr().wrapping_add(i * row + distance));
    }
}

struct ToPixels<'a, 'b> {
    planes: &'a [f32],
    channels: usize,
    pixels: &'b mut [f32],
}

impl Vectorised for ToPixels<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToPixels { planes, channels, pixels } = self;
        let (plane, stride) = (planes.len() / channels, padded(channels));
        for_tiles(plane, channels, |tile| {
            let from = &planes[tile.channel * plane + tile.pixel..];
            let to = &mut pixels[tile.pixel * stride + tile.channel..];
            if tile.is_full() {
                assert!(from.len() >= 7 * plane + LANES && to.len() >= 7 * stride + LANES);
                prefetch_next_strip(s, from, plane, PIXELS);
                prefetch_next_strip(s, to, stride, PIXELS * stride);
                // SAFETY: either slice reaches to the end of the last of eight rows, as asserted.
                unsafe { s.transpose(from.as_ptr(), plane, to.as_mut_ptr(), stride) };
            } else {
                for p in 0..tile.pixels {
                    let to = &mut to[p * stride..][..LANES];
                    to.fill(0.0);
                    (0..tile.channels).for_each(|c| to[c] = from[c * plane + p]);
                }
            }
        });
    }
}

struct ToPlanes<'a, 'b> {
    pixels: &'a [f32],
    channels: usize,
    planes: &'b mut [f32],
}

impl Vectorised for ToPlanes<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToPlanes { pixels, channels, planes } = self;
        let (plane, stride) = (planes.len() / channels, padded(channels));
        for_tiles(plane, channels, |tile| {
            let from = &pixels[tile.pixel * stride + tile.channel..];
            let to = &mut planes[tile.channel * plane + tile.pixel..];
            if tile.is_full() {
                assert!(from.len() >= 7 * stride + LANES && to.len() >= 7 * plane + LANES);
                prefetch_next_strip(s, from, stride, PIXELS * stride);
                prefetch_next_strip(s, to, plane, PIXELS);
                // SAFETY: either slice reaches to the end of the last of eight rows, as asserted.
                unsafe { s.transpose(from.as_ptr(), stride, to.as_mut_ptr(), plane) };
            } else {
                for c in 0..tile.channels {
                    let to = &mut to[c * plane..][..tile.pixels];
                    (0..tile.pixels).for_each(|p| to[p] = from[p * stride + c]);
                }
            }
        });
    }
}
