//! Files that are cut off or have wrong bytes.

use super::*;

fn tolerant() -> DecodeOptions {
    DecodeOptions::default().allow_truncated(true)
}

fn refused(bytes: &[u8]) -> String {
    let e = decode(bytes).expect_err("a damaged file was accepted");
    assert_eq!(e.kind(), ErrorKind::Format);
    e.message().to_string()
}

#[test]
fn what_is_no_image_is_refused() {
    for bytes in
        [&b"hello, world"[..], b"", b"\xff\xd8", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0"]
    {
        assert!(decode(bytes).is_err(), "{bytes:?} was accepted");
    }
}

#[test]
fn a_jpeg_cut_anywhere_is_refused_and_its_end_marker_may_be_missing() {
    let whole = decode(CHURCH).unwrap();
    for length in (2..CHURCH.len() - 2).step_by(997).chain([CHURCH.len() - 3]) {
        let message = refused(&CHURCH[..length]);
        assert!(length < 1000 || message.contains("cut off"), "{length}: {message}");
    }
    for length in [CHURCH.len() - 2, CHURCH.len() - 1] {
        assert_eq!(decode(&CHURCH[..length]).unwrap(), whole);
    }
    let half = tolerant().decode(&CHURCH[..CHURCH.len() / 2]).unwrap();
    assert_eq!((half.width(), half.height()), (whole.width(), whole.height()));
    let third = whole.pixels().len() / 3;
    assert_eq!(half.pixels()[..third], whole.pixels()[..third]);
    assert_ne!(half, whole);
}

/// Returns a JPEG of every coding.
fn jpegs() -> Vec<(&'static str, Vec<u8>)> {
    use libjpeg_turbo_rs::{Encoder, PixelFormat};
    let image = pattern(64, 48);
    let encoder = || Encoder::new(image.as_raw(), 64, 48, PixelFormat::Rgb);
    let bytes = |encoder: Encoder| encoder.encode().unwrap();
    vec![
        ("sequential", bytes(encoder())),
        ("restarts", bytes(encoder().restart_blocks(3))),
        ("progressive", bytes(encoder().progressive(true))),
        ("arithmetic", bytes(encoder().arithmetic(true))),
        ("arithmetic, progressive", bytes(encoder().arithmetic(true).progressive(true))),
    ]
}

#[test]
fn every_coding_of_jpeg_notices_that_it_is_cut() {
    for (coding, bytes) in jpegs() {
        decode(&bytes).unwrap();
        for length in (2..bytes.len() - 2).step_by(23) {
            assert!(decode(&bytes[..length]).is_err(), "{coding}: {length} of {}", bytes.len());
        }
        let part = tolerant().decode(&bytes[..bytes.len() - 40]);
        part.unwrap_or_else(|e| panic!("{coding}: {e}"));
    }
}

#[test]
fn wrong_bytes_in_a_sequential_jpeg_are_noticed_by_what_is_left_over() {
    for (coding, bytes) in jpegs().into_iter().take(2) {
        let start = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
        let mut noticed = 0;
        let places: Vec<usize> = (start..bytes.len() - 20).step_by(5).collect();
        for &place in &places {
            let mut wrong = bytes.clone();
            wrong[place] = !wrong[place];
            noticed += usize::from(decode(&wrong).is_err());
        }
        // A wrong coefficient is valid, and the codes after it may be in step again.
        assert!(3 * noticed > places.len(), "{coding}: {noticed} of {}", places.len());
    }
    let mut zeroed = CHURCH.to_vec();
    zeroed[20_000..20_400].fill(0);
    assert!(refused(&zeroed).contains("corrupt"));
}

#[test]
fn a_jpeg_with_an_end_that_comes_too_early_is_corrupt() {
    let early = [&CHURCH[..CHURCH.len() / 2], &[0xff, 0xd9]].concat();
    assert!(refused(&early).contains("corrupt"));
    // The bytes look like a marker, whose length leads beyond the end.
    let mut marked = CHURCH.to_vec();
    marked[20_000..20_004].copy_from_slice(&[0xff, 0x35, 0xff, 0xf0]);
    let message = refused(&marked);
    assert!(message.contains("corrupt"), "{message}");
}

#[test]
fn padding_and_other_files_after_the_last_scan_are_harmless() {
    let whole = decode(CHURCH).unwrap();
    let end = CHURCH.len() - 2;
    let padded = [&CHURCH[..end], &[0; 64], &CHURCH[end..]].concat();
    assert_eq!(decode(&padded).unwrap(), whole);
    let followed = [CHURCH, b"trailer", CHURCH].concat();
    assert_eq!(decode(&followed).unwrap(), whole);
}

#[test]
fn other_formats_notice_that_they_are_cut() {
    let image = pattern(40, 30);
    for format in
        [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Tiff]
    {
        let bytes = encoded(image.clone(), format);
        decode(&bytes).unwrap();
        // PNG ends in a chunk of 12 bytes and GIF in one byte, without which no pixel is missing. TIFF
        // ends in its directory.
        let spare = match format {
            ImageFormat::Png => 13,
            ImageFormat::Gif => 4,
            _ => 2,
        };
        for length in (3..bytes.len() - spare).step_by(37).chain([bytes.len() - spare]) {
            assert!(decode(&bytes[..length]).is_err(), "{format:?}: {length} of {}", bytes.len());
        }
        let part = tolerant().decode(&bytes[..2 * bytes.len() / 3]);
        match format {
            ImageFormat::Png | ImageFormat::Gif | ImageFormat::Bmp => {
                let part = part.unwrap();
                assert_eq!((part.width(), part.height()), (40, 30));
            }
            _ => assert!(part.is_err(), "{format:?}"),
        }
    }
    let tags: [(u16, &[u16]); 2] = [(258, &[8]), (262, &[1])];
    let whole = tiff(false, [16, 16], &tags, &[7; 256]);
    let cut = &whole[..whole.len() - 1];
    assert!(refused(cut).contains("cut off"));
    tolerant().decode(cut).unwrap();
}

#[test]
fn a_png_without_its_last_chunk_is_whole_and_one_with_a_wrong_byte_is_not() {
    let image = pattern(40, 30);
    let bytes = encoded(image.clone(), ImageFormat::Png);
    for missing in 1..=12 {
        let ended = decode(&bytes[..bytes.len() - missing]);
        assert_eq!(ended.unwrap().pixels(), image.as_raw(), "without {missing} bytes");
    }
    let data = bytes.windows(4).position(|name| name == b"IDAT").unwrap() + 4;
    for place in (data..bytes.len() - 12).step_by(11) {
        let mut wrong = bytes.clone();
        wrong[place] ^= 1;
        assert!(refused(&wrong).contains("corrupt"), "{place}");
    }
}

/// Found by fuzzing: the decoder panics where it shrinks the first image, and wherever it decodes the second.
#[test]
fn images_of_four_inks_on_which_the_decoder_panics() {
    let bytes = include_bytes!("../../../../tests/images/four-inks-subsampled.jpg");
    assert!(refused(bytes).contains("left over"));
    let photo = tolerant().decode(bytes).unwrap();
    assert_eq!((photo.width(), photo.height()), (20, 10));
    let bytes = include_bytes!("../../../../tests/images/four-inks-subsampled-by-three.jpg");
    assert!(refused(bytes).contains("cannot handle"));
    assert_eq!(tolerant().decode(bytes).unwrap_err().kind(), ErrorKind::Format);
}
