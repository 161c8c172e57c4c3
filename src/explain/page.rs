//! The page with all pictures.

use std::fmt::Write;

use super::chart::{Series, chart, shortened};
use super::statistics::{Figures, Histogram, Statistics, Summary};
use super::{photos, picture};
use crate::pictures::{Anchor, Svg, escaped};

const STYLE: &str = "\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
h2 { margin-top: 2em } p { max-width: 48em }
table { border-collapse: collapse; font-size: 13px } th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } th { border-bottom: 1px solid #888 }
svg text { font: 11px system-ui, sans-serif; fill: #333 } svg image { image-rendering: pixelated }
line.axis { stroke: #888 } line.grid { stroke: #ddd } line.identity { stroke: #d00; stroke-width: 0.8 }
.under { filter: grayscale(1) } .over { opacity: 0.6 }
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
    photos::add(&mut page, statistics);
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
         <p>A function is what an activation computes in one channel for one photo: {}. The paper on \
         dynamic ReLU (arXiv 2003.10027, section 5.2) reports 51% and 37% for a MobileNetV2 with \
         DY-ReLU-B.</p>",
        summary.shares()
    );
}

fn curves(page: &mut String, summary: &Summary) {
    let count = summary.activations.len();
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
        page.push_str(&chart("distance of the slopes, |a1 - a2|", count, &[("|a1 - a2|", apart)]));
    }
    page.push_str(&chart("coefficients", count, &all(false)));
    page.push_str(&chart(
        "deviation of coefficients between photos, mean over channels",
        count,
        &all(true),
    ));
    let attention = of(|a| a.attention);
    if !attention.is_empty() {
        let series = [("attention", attention)];
        page.push_str(&chart("attention, over positions and photos", count, &series));
    }
}

fn histograms(page: &mut String, statistics: &Statistics) {
    page.push_str(
        "<h2>Output against input</h2>\n<p>All positions, channels and photos; the brighter, the more \
         often. The red lines are y = x and y = -x. A static function would be one line; a ReLU would be \
         y = 0 on the left and y = x on the right. Where an activation also adds another channel, such as \
         Shift-Max, points lie beside the lines.</p>\n<div class=\"grid\">\n",
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
