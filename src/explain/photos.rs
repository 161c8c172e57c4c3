//! What the activations do with the first photos: their coefficients beside those of the mean photo, and their
//! attention.

use std::fmt::Write;

use super::chart::{COLOURS, Series, chart, shortened};
use super::picture;
use super::statistics::{Layer, Statistics};
use crate::pictures::{Anchor, Svg, escaped};

/// Adds a section per photo that is shown.
pub fn add(page: &mut String, statistics: &Statistics) {
    let has_attention = statistics.layers.iter().any(|layer| !layer.attentions.is_empty());
    let is_compared = statistics.photos > 1;
    if !is_compared && !has_attention {
        return;
    }
    page.push_str("<h2>Photos</h2>\n");
    if is_compared {
        page.push_str(
            "<p>The mean photo has the means over all photos as its coefficients. In the square pictures, a \
             point is a coefficient of a channel: to the right its mean, upwards its value for the photo, in \
             the colour that the chart has for it, and between the least and the largest of its kind. On the \
             red line, both are equal.</p>\n",
        );
    }
    if has_attention {
        page.push_str(
            "<p>The attention is the factor of each position of form C, over the photo, from its least value \
             (dark) to its largest (bright), which stand below. 1/3 everywhere is no attention.</p>\n",
        );
    }
    for (number, (path, input)) in statistics.shown.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(page, "<h3>{}</h3>", escaped(&name));
        if is_compared {
            page.push_str(&distances(statistics, number));
        }
        page.push_str("<div class=\"grid\">\n");
        let id = format!("photo-{}", number + 1);
        let photo = picture::of_input(input);
        if let Some(photo) = &photo {
            page.push_str(&tile("input", "", |svg| svg.named_image(&id, PLACE, SIZE, photo)));
        }
        let layers = || statistics.layers.iter().enumerate();
        for (place, layer) in layers().filter(|_| is_compared) {
            page.push_str(&comparison(place, layer, number));
        }
        for (place, layer) in layers() {
            if let Some((map, size)) = layer.attentions.get(number) {
                let title = shortened(&format!("{}. {}", place + 1, layer.name), 22);
                let least = map.iter().copied().fold(f32::INFINITY, f32::min);
                let most = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let range = format!("{least:.3} to {most:.3}");
                let picture = picture::of_attention(map, *size, least, most);
                page.push_str(&tile(&title, &range, |svg| match photo {
                    Some(_) => svg.image_over(&id, PLACE, SIZE, &picture),
                    None => svg.image(PLACE, SIZE, &picture),
                }));
            }
        }
        page.push_str("</div>\n");
    }
}

/// How far the coefficients of a photo are from the means, by activation.
fn distances(statistics: &Statistics, photo: usize) -> String {
    let mut series: Vec<Series> = Vec::new();
    for (place, layer) in statistics.layers.iter().enumerate() {
        for (name, distance) in layer.distances(photo) {
            let point = (place, distance, 0.0);
            match series.iter_mut().find(|(other, _)| *other == name) {
                Some((_, points)) => points.push(point),
                None => series.push((name, vec![point])),
            }
        }
    }
    chart(
        "distance of coefficients from those of the mean photo, mean over channels",
        statistics.layers.len(),
        &series,
    )
}

/// The coefficients of an activation for a photo against the means, each parameter in its own range.
fn comparison(place: usize, layer: &Layer, photo: usize) -> String {
    let means = layer.means();
    let channels = (means.len() / layer.parameters.len()).max(1);
    let parameters = means.chunks(channels).zip(layer.shown[photo].chunks(channels));
    let points = parameters.zip(COLOURS.iter().cycle()).flat_map(|((means, values), colour)| {
        let both = || means.iter().chain(values).copied().filter(|value| value.is_finite());
        let least = both().fold(f32::INFINITY, f32::min);
        let range = both().fold(f32::NEG_INFINITY, f32::max) - least;
        let share = move |value: f32| (value - least) / range.max(f32::MIN_POSITIVE);
        means.iter().zip(values).map(move |(&mean, &value)| (share(mean), share(value), *colour))
    });
    let title = shortened(&format!("{}. {}", place + 1, layer.name), 22);
    tile(&title, "", |svg| svg.image(PLACE, SIZE, &picture::of_points(points)))
}

/// Where the picture of a tile is, and how large.
const PLACE: (f64, f64) = (2.0, 18.0);
const SIZE: (f64, f64) = (146.0, 146.0);

fn tile(title: &str, below: &str, draw: impl FnOnce(&mut Svg)) -> String {
    let mut svg = Svg::new(150.0, 180.0);
    svg.text((2.0, 12.0), Anchor::Start, title);
    draw(&mut svg);
    svg.text((2.0, 176.0), Anchor::Start, below);
    svg.finish()
}
