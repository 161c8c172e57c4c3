//! The page with all pictures.

use std::fmt::Write;

use super::picture;
use super::statistics::{Figures, Histogram, Statistics, Summary};
use crate::cli::support::pictures::svg::{Anchor, Svg, escaped};

/// Colours of lines, for readers with any colour vision.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const STYLE: &str = "\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
h2 { margin-top: 2em } p { max-width: 48em }
table { border-collapse: collapse; font-size: 13px } th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } th { border-bottom: 1px solid #888 }
svg text { font: 11px system-ui, sans-serif; fill: #333 } svg image { image-rendering: pixelated }
line.axis { stroke: #888 } line.grid { stroke: #ddd } line.identity { stroke: #d00; stroke-width: 0.8 }
.grid { display: flex; flex-wrap: wrap; gap: 8px }";

/// The page as HTML. It refers to nothing outside of itself.
pub fn html(name: &str, statistics: &Statistics, summary: &Summary) -> String {
    let mut page = String::new();
    let name = escaped(name);
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Dynamic activations of {name}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n\
         <h1>Dynamic activations of {name}</h1>\n"
    );
    introduce(&mut page, statistics, summary);
    curves(&mut page, summary);
    histograms(&mut page, statistics);
    attentions(&mut page, statistics);
    tabulate(&mut page, summary);
    page.push_str("</body>\n</html>\n");
    page
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.0}%", 100.0 * share))
}

fn introduce(page: &mut String, statistics: &Statistics, summary: &Summary) {
    let (photos, count) = (statistics.photos, summary.activations.len());
    let fixed: Vec<String> =
        summary.activations.iter().filter(|a| a.is_static).map(|a| escaped(&a.name)).collect();
    let fixed = match (photos, fixed.as_slice()) {
        (1, _) => "One photo cannot show which are static.".to_string(),
        (_, []) => "None of them is static.".to_string(),
        (_, names) => {
            format!("{} of them hardly change between photos: {}.", names.len(), names.join(", "))
        }
    };
    let _ = writeln!(
        page,
        "<p>{count} dynamic activations, over {photos} photos. {fixed}</p>\n\
         <p>A function is what an activation computes in one channel for one photo. {} of all functions \
         have a slope below 0 or above 1, and {} an intercept beyond 0.05. The paper on dynamic ReLU \
         (arXiv 2003.10027, section 5.2) reports 51% and 37% for a MobileNetV2 with DY-ReLU-B.</p>",
        percent(summary.unusual_slopes),
        percent(summary.intercepts)
    );
}

/// A value per activation: its number, mean and deviation.
type Series<'a> = (&'a str, Vec<(usize, f64, f64)>);

fn curves(page: &mut String, summary: &Summary) {
    let of = |value: fn(&Figures) -> Option<(f64, f64)>| -> Vec<(usize, f64, f64)> {
        let numbered = summary.activations.iter().enumerate();
        numbered
            .filter_map(|(i, a)| value(a).map(|(mean, deviation)| (i, mean, deviation)))
            .collect()
    };
    let mut names: Vec<&str> = Vec::new();
    for parameter in summary.activations.iter().flat_map(|a| &a.parameters) {
        if !names.contains(&parameter.name.as_str()) {
            names.push(&parameter.name);
        }
    }
    let of_parameter = |name: &str, between: bool| -> Vec<(usize, f64, f64)> {
        let numbered = summary.activations.iter().enumerate();
        let found =
            numbered.filter_map(|(i, a)| Some((i, a.parameters.iter().find(|p| p.name == name)?)));
        found
            .map(
                |(i, p)| {
                    if between { (i, p.between_photos, 0.0) } else { (i, p.mean, p.deviation) }
                },
            )
            .collect()
    };
    let all = |between: bool| -> Vec<Series> {
        names.iter().map(|&name| (name, of_parameter(name, between))).collect()
    };
    page.push_str(
        "<h2>Coefficients, from the input of the network to its output</h2>\n\
         <p>Points are means over photos and channels, bars reach one deviation up and down.</p>\n",
    );
    let apart = of(|a| a.apart);
    if !apart.is_empty() {
        page.push_str(&chart("distance of the slopes, |a1 - a2|", &[("|a1 - a2|", apart)]));
    }
    page.push_str(&chart("coefficients", &all(false)));
    page.push_str(&chart(
        "deviation of coefficients between photos, mean over channels",
        &all(true),
    ));
    let attention = of(|a| a.attention);
    if !attention.is_empty() {
        page.push_str(&chart("attention, over positions and photos", &[("attention", attention)]));
    }
}

/// Draws series over the numbers of activations.
fn chart(title: &str, series: &[Series]) -> String {
    const SIZE: (f64, f64) = (1060.0, 240.0);
    const LEFT: f64 = 52.0;
    let (top, bottom, right) = (28.0, SIZE.1 - 22.0, SIZE.0 - 90.0);
    let points =
        || series.iter().flat_map(|(_, points)| points).filter(|p| (p.1 + p.2).is_finite());
    let last = points().map(|p| p.0).max().unwrap_or(0);
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

fn histograms(page: &mut String, statistics: &Statistics) {
    page.push_str(
        "<h2>Output against input</h2>\n<p>All positions, channels and photos; the brighter, the more \
         often. The red lines are y = x and y = -x. A static function would be one line; a ReLU would be \
         y = 0 on the left and y = x on the right.</p>\n<div class=\"grid\">\n",
    );
    for (number, layer) in statistics.layers.iter().enumerate() {
        if let Some(histogram) = &layer.histogram {
            page.push_str(&scatter(&format!("{}. {}", number + 1, layer.name), histogram));
        }
    }
    page.push_str("</div>\n");
}

fn scatter(title: &str, histogram: &Histogram) -> String {
    const SIDE: f64 = 190.0;
    const LEFT: f64 = 44.0;
    const TOP: f64 = 22.0;
    let mut svg = Svg::new(LEFT + SIDE + 16.0, TOP + SIDE + 22.0);
    let range = f64::from(histogram.range);
    let along = |share: f64| SIDE * (share / range + 1.0) / 2.0;
    let place = |x: f64, y: f64| (LEFT + along(x), TOP + along(-y));
    svg.text((LEFT, 14.0), Anchor::Start, &shortened(title, 34));
    svg.image((LEFT, TOP), (SIDE, SIDE), &picture::of_histogram(histogram));
    svg.line(place(-range, 0.0), place(range, 0.0), "axis");
    svg.line(place(0.0, -range), place(0.0, range), "axis");
    svg.line(place(-range, -range), place(range, range), "identity");
    svg.line(place(-range, range), place(range, -range), "identity");
    for (value, height) in [(range, TOP + 9.0), (-range, TOP + SIDE)] {
        svg.text((LEFT - 4.0, height), Anchor::End, &format!("{value:.2}"));
    }
    for (value, anchor) in [(-range, Anchor::Start), (range, Anchor::End)] {
        svg.text((place(value, 0.0).0, TOP + SIDE + 14.0), anchor, &format!("{value:.2}"));
    }
    svg.finish()
}

/// The end of a name, which distinguishes it from others.
fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_string();
    }
    let (number, rest) = name.split_once(' ').unwrap_or(("", name));
    let skip = length + 1 - most;
    format!("{number} …{}", rest.chars().skip(skip).collect::<String>())
}

fn attentions(page: &mut String, statistics: &Statistics) {
    if statistics.layers.iter().all(|layer| layer.attentions.is_empty()) {
        return;
    }
    page.push_str(
        "<h2>Attention</h2>\n<p>The factor of each position of form C, from its least value (dark) to its \
         largest (bright), which stand below. 1/3 everywhere is no attention.</p>\n",
    );
    for (number, (path, input)) in statistics.shown.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(page, "<h3>{}</h3>\n<div class=\"grid\">", escaped(&name));
        if let Some(photo) = picture::of_input(input) {
            page.push_str(&tile("input", "", &photo));
        }
        for (place, layer) in statistics.layers.iter().enumerate() {
            if let Some((map, size)) = layer.attentions.get(number) {
                let title = shortened(&format!("{}. {}", place + 1, layer.name), 22);
                let least = map.iter().copied().fold(f32::INFINITY, f32::min);
                let most = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let range = format!("{least:.3} to {most:.3}");
                page.push_str(&tile(
                    &title,
                    &range,
                    &picture::of_attention(map, *size, least, most),
                ));
            }
        }
        page.push_str("</div>\n");
    }
}

fn tile(title: &str, below: &str, uri: &str) -> String {
    let mut svg = Svg::new(150.0, 180.0);
    svg.text((2.0, 12.0), Anchor::Start, title);
    svg.image((2.0, 18.0), (146.0, 146.0), uri);
    svg.text((2.0, 176.0), Anchor::Start, below);
    svg.finish()
}

fn tabulate(page: &mut String, summary: &Summary) {
    page.push_str(
        "<h2>Numbers</h2>\n<p>Deviation is that of the least steady coefficient between photos, as a mean \
         over channels. The files activations.csv and coefficients.csv have more.</p>\n<table>\n<tr>\
         <th>activation</th><th>form</th><th>K</th><th>channels</th><th>slope &lt; 0 or &gt; 1</th>\
         <th>|intercept| &gt; 0.05</th><th>|a1 - a2|</th><th>deviation</th><th></th></tr>\n",
    );
    for (number, a) in summary.activations.iter().enumerate() {
        let apart = a.apart.map_or("–".into(), |(mean, _)| format!("{mean:.3}"));
        let deviation = a.deviation.map_or("–".into(), |deviation| format!("{deviation:.4}"));
        let _ = writeln!(
            page,
            "<tr><td>{}. {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{apart}</td>\
             <td>{deviation}</td><td>{}</td></tr>",
            number + 1,
            escaped(&a.name),
            a.form,
            a.k,
            a.channels,
            percent(a.unusual_slopes),
            percent(a.intercepts),
            if a.is_static { "static" } else { "" }
        );
    }
    page.push_str("</table>\n");
}
