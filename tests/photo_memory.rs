//! Decoding a photo allocates no more memory than its limit.
#![cfg(feature = "vision")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dyrelu::vision::DecodeOptions;
use image::{DynamicImage, ImageFormat, RgbImage};

/// The bytes that are allocated now, and the peak since the last reset.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts allocated bytes. They belong to the one test of this file.
struct Counting;

// SAFETY: both functions forward to the system's allocator, which satisfies the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let allocated = ALLOCATED.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(allocated, Relaxed);
        // SAFETY: the caller guarantees that the layout has a size other than 0.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller guarantees that `alloc` returned the block for this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Decodes `bytes` with a memory limit. Returns whether that succeeded, and the peak of the memory
/// that it allocated.
fn decode(bytes: &[u8], max_memory: usize) -> (bool, usize) {
    let options = DecodeOptions::default().max_memory(max_memory as u64);
    let before = ALLOCATED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let photo = options.decode(bytes);
    (photo.is_ok(), PEAK.load(Relaxed) - before)
}

/// The memory that decoders use for images of any size, which the limit does not count. It is less
/// than a byte per pixel of the images below.
const FIXED: usize = 1 << 19;

/// Searches for the least limit with which each photo decodes, and checks the peak at every try.
#[test]
fn decoding_allocates_at_most_its_limit() {
    let image = RgbImage::from_fn(1000, 701, |x, y| {
        image::Rgb([(x * 7 + y * 3) as u8, (x * x / 64 + y) as u8, (x ^ y) as u8])
    });
    let images = [
        DynamicImage::from(image.clone()),
        DynamicImage::from(image.clone()).into_rgba8().into(),
        DynamicImage::from(image.clone()).into_rgb16().into(),
        DynamicImage::from(image).into_luma8().into(),
    ];
    let mut photos = 0;
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ] {
        for image in &images {
            let mut bytes = Cursor::new(Vec::new());
            // Not every format has every type of pixels.
            if image.write_to(&mut bytes, format).is_err() {
                continue;
            }
            let mut bytes = bytes.into_inner();
            if format == ImageFormat::Jpeg {
                // An orientation other than upright, for which the decoder copies the photo.
                let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
                bytes.splice(2..2, *exif);
            }
            let (mut too_small, mut enough) = (bytes.len(), 64 << 20);
            assert!(decode(&bytes, enough).0, "{format:?} {:?}", image.color());
            while enough - too_small > 50_000 {
                let limit = too_small.midpoint(enough);
                let (fits, peak) = decode(&bytes, limit);
                let allowed = limit - bytes.len() + FIXED;
                assert!(peak <= allowed, "{format:?} {:?}: {peak} of {limit}", image.color());
                *if fits { &mut enough } else { &mut too_small } = limit;
            }
            photos += 1;
        }
    }
    assert!(photos > 12, "only {photos} photos");
}
