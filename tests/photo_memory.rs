//! Decoding a photo takes no more memory than it is allowed.
#![cfg(feature = "vision")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dyrelu::vision::DecodeOptions;
use image::{DynamicImage, ImageFormat, RgbImage};

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Counts what is taken and not yet given back. This file has one test, so it is that test's.
struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = TAKEN.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(taken, Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Whether `bytes` decode with `max_memory`, and how much that took beside the file.
fn decoded(bytes: &[u8], max_memory: usize) -> (bool, usize) {
    let options = DecodeOptions::default().max_memory(max_memory as u64);
    let before = TAKEN.load(Relaxed);
    MOST.store(before, Relaxed);
    let photo = options.decode(bytes);
    (photo.is_ok(), MOST.load(Relaxed) - before)
}

/// What decoders take whatever the size of an image: less than a byte a pixel of this test's.
const FIXED: usize = 1 << 19;

#[test]
fn the_least_memory_with_which_a_photo_decodes_is_enough_for_it() {
    let image = RgbImage::from_fn(1000, 701, |x, y| {
        image::Rgb([(x * 7 + y * 3) as u8, (x * x / 64 + y) as u8, (x ^ y) as u8])
    });
    let images = [
        DynamicImage::from(image.clone()),
        DynamicImage::from(image.clone()).into_rgba8().into(),
        DynamicImage::from(image.clone()).into_rgb16().into(),
        DynamicImage::from(image).into_luma8().into(),
    ];
    let mut tried = 0;
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
            // Not every format has every kind.
            if image.write_to(&mut bytes, format).is_err() {
                continue;
            }
            let mut bytes = bytes.into_inner();
            if format == ImageFormat::Jpeg {
                // A camera that was turned: the photo is copied once more.
                let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
                bytes.splice(2..2, *exif);
            }
            let (mut little, mut enough) = (bytes.len(), 64 << 20);
            assert!(decoded(&bytes, enough).0, "{format:?} {:?}", image.color());
            while enough - little > 50_000 {
                let middle = little.midpoint(enough);
                let (fits, most) = decoded(&bytes, middle);
                let allowed = middle - bytes.len() + FIXED;
                assert!(most <= allowed, "{format:?} {:?}: {most} of {middle}", image.color());
                *if fits { &mut enough } else { &mut little } = middle;
            }
            tried += 1;
        }
    }
    assert!(tried > 12, "only {tried}");
}
