//! Colours of numbers.

/// Colours from the least number to the largest, even in brightness: dark blue, teal, green, yellow.
const SCALE: [[f32; 3]; 5] = [
    [68.0, 1.0, 84.0],
    [59.0, 82.0, 139.0],
    [33.0, 145.0, 140.0],
    [94.0, 201.0, 98.0],
    [253.0, 231.0, 37.0],
];

/// The colour of a share from 0 to 1.
pub fn colour(share: f32) -> [u8; 3] {
    let place = share.clamp(0.0, 1.0) * (SCALE.len() - 1) as f32;
    let below = (place as usize).min(SCALE.len() - 2);
    let mix = |channel: usize| {
        let (from, to) = (SCALE[below][channel], SCALE[below + 1][channel]);
        (from + (to - from) * (place - below as f32)).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}
