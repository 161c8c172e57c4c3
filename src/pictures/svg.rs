//! Pictures of lines, rectangles and text, as SVG.

use std::fmt::{Display, Write};

/// A picture that grows by its parts. Coordinates are in pixels, from the top left.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text is relative to its position.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.part(format_args!(
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    pub fn polyline(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: String = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let points = points.trim_end();
        self.part(format_args!(r#"<polyline fill="none" stroke="{colour}" points="{points}"/>"#));
    }

    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, colour: &str) {
        self.part(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}"/>"#
        ));
    }

    pub fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.part(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        ));
    }

    /// An error bar.
    pub fn bar(&mut self, x: f64, (top, bottom): (f64, f64), colour: &str) {
        self.part(format_args!(
            r#"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="{colour}" stroke-opacity="0.4"/>"#
        ));
    }

    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.part(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// Pixels from a data URI, scaled without smoothing.
    pub fn image(&mut self, place: (f64, f64), size: (f64, f64), uri: &str) {
        self.image_with("", place, size, uri);
    }

    /// An image that later pictures of the page can show again.
    pub fn named_image(&mut self, id: &str, place: (f64, f64), size: (f64, f64), uri: &str) {
        self.image_with(&format!(r#" id="{id}""#), place, size, uri);
    }

    /// An image over a named one of the same place and size. The styles `under` and `over` of the page make
    /// both visible.
    pub fn image_over(&mut self, id: &str, place: (f64, f64), size: (f64, f64), uri: &str) {
        self.part(format_args!(r##"<use class="under" href="#{id}"/>"##));
        self.image_with(r#" class="over""#, place, size, uri);
    }

    fn image_with(
        &mut self,
        attribute: &str,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        uri: &str,
    ) {
        self.part(format_args!(
            r#"<image{attribute} x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" preserveAspectRatio="none" href="{uri}"/>"#
        ));
    }

    fn part(&mut self, part: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{part}");
    }

    pub fn finish(self) -> String {
        let Svg { width, height, body } = self;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
{body}</svg>
"#
        )
    }
}

/// A text in which no character has a meaning for XML.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no other control characters.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::Start, "a<b>&\"\u{0}");
        assert!(svg.finish().contains(">a&lt;b&gt;&amp;&quot;\u{fffd}</text>"));
    }
}
