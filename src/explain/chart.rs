//! Charts over the activations of a network.

use crate::pictures::{Anchor, Svg};

/// Colours of lines, for readers with any colour vision.
pub const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A value per activation: its number, mean and deviation.
pub type Series<'a> = (&'a str, Vec<(usize, f64, f64)>);

/// Draws series over the numbers of `count` activations. Charts of one network are aligned, also where a
/// series lacks the last ones.
pub fn chart(title: &str, count: usize, series: &[Series]) -> String {
    const SIZE: (f64, f64) = (1060.0, 240.0);
    const LEFT: f64 = 52.0;
    let (top, bottom, right) = (28.0, SIZE.1 - 22.0, SIZE.0 - 90.0);
    let points =
        || series.iter().flat_map(|(_, points)| points).filter(|p| (p.1 + p.2).is_finite());
    let last = count.saturating_sub(1);
    let (mut least, mut most) = (0f64, 0f64);
    for (_, mean, deviation) in points() {
        least = least.min(mean - deviation);
        most = most.max(mean + deviation);
    }
    if most - least < 1e-9 {
        most = least + 1.0;
    }
    let x = |i: usize| LEFT + 8.0 + (right - LEFT - 16.0) * i as f64 / last.max(1) as f64;
    let y = |value: f64| bottom - (bottom - top) * (value - least) / (most - least);
    let mut svg = Svg::new(SIZE.0, SIZE.1);
    svg.text((LEFT, 14.0), Anchor::Start, title);
    let step = round_step((most - least) / 5.0);
    let mut tick = (least / step).ceil();
    while tick * step <= most {
        svg.line((LEFT, y(tick * step)), (right, y(tick * step)), "grid");
        svg.text((LEFT - 5.0, y(tick * step) + 4.0), Anchor::End, &short(tick * step));
        tick += 1.0;
    }
    svg.line((LEFT, y(0.0)), (right, y(0.0)), "axis");
    for i in (0..=last).step_by(last / 20 + 1) {
        svg.text((x(i), bottom + 16.0), Anchor::Middle, &(i + 1).to_string());
    }
    for (number, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let places: Vec<_> = points.iter().map(|&(i, mean, _)| (x(i), y(mean))).collect();
        svg.polyline(&places, colour);
        for (&(i, mean, deviation), &place) in points.iter().zip(&places) {
            if deviation > 0.0 {
                svg.bar(x(i), (y(mean + deviation), y(mean - deviation)), colour);
            }
            svg.circle(place, 2.5, colour);
        }
        let height = top + 8.0 + 16.0 * number as f64;
        svg.circle((right + 12.0, height), 4.0, colour);
        svg.text((right + 21.0, height + 4.0), Anchor::Start, name);
    }
    svg.finish()
}

/// The next step of 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step);
    factor.unwrap_or(10.0) * power
}

/// A number with as many digits as a label needs.
fn short(value: f64) -> String {
    // The sum has no negative zero.
    let digits = (value * 1000.0).round() / 1000.0 + 0.0;
    if value != 0.0 && digits.abs() < 0.01 { format!("{value:.0e}") } else { digits.to_string() }
}

/// The end of a name, which distinguishes it from others.
pub fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_string();
    }
    let (number, rest) = name.split_once(' ').unwrap_or(("", name));
    let skip = length + 1 - most;
    format!("{number} …{}", rest.chars().skip(skip).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_of_the_same_activations_are_aligned() {
        let place = |series: &[(usize, f64, f64)]| {
            let svg = chart("", 15, &[("a", series.to_vec())]);
            let circles = svg.split("<circle").nth(1).unwrap();
            circles.split_once('>').unwrap().0.to_string()
        };
        assert_eq!(place(&[(3, 0.5, 0.5)]), place(&[(3, 0.5, 0.5), (14, 0.25, 0.0)]));
        assert!(chart("", 15, &[("a", vec![(3, 0.5, 0.0)])]).contains(">15</text>"));
    }
}
