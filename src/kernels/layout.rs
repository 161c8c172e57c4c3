//! Between tensors, NCHW, and feature maps, NHWC with padded pixels.
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised, padded};

/// Pixels of which all channels are moved before the next ones, so that the lines of the cache are
/// complete while they are in it, in either layout.
const PIXELS: usize = 64;

/// Copies an image of planes to one of pixels, whose padding becomes zero.
///
/// # Panics
/// Where the images are not of `channels` channels and of the same number of pixels.
pub fn planes_to_pixels(isa: Isa, planes: &[f32], channels: usize, pixels: &mut [f32]) {
    check(planes, channels, pixels);
    isa.run_narrow(ToPixels { planes, channels, pixels });
}

/// Copies an image of pixels to one of planes.
///
/// # Panics
/// As [`planes_to_pixels`].
pub fn pixels_to_planes(isa: Isa, pixels: &[f32], channels: usize, planes: &mut [f32]) {
    check(planes, channels, pixels);
    isa.run_narrow(ToPlanes { pixels, channels, planes });
}

fn check(planes: &[f32], channels: usize, pixels: &[f32]) {
    let count = planes.len() / channels;
    assert_eq!(planes.len(), count * channels, "whole planes");
    assert_eq!(pixels.len(), count * padded(channels), "as many pixels");
}

/// Where a tile lies, and how much of it there is.
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

/// Calls `move_tile` for all tiles of an image.
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

/// Asks for what lies so far behind the eight rows of a tile, read or written: tile by tile for all
/// of the next pixels. It comes in pieces that are too short for the processor to foresee.
#[inline(always)]
fn ask_for_next<S: Simd>(s: S, tile: &[f32], row: usize, distance: usize) {
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
                ask_for_next(s, from, plane, PIXELS);
                ask_for_next(s, to, stride, PIXELS * stride);
                // SAFETY: the last of eight rows ends within either slice.
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
                ask_for_next(s, from, stride, PIXELS * stride);
                ask_for_next(s, to, plane, PIXELS);
                // SAFETY: the last of eight rows ends within either slice.
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
