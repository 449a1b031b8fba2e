//! A small writer of SVG 1.1: rectangles, paths, text, titles for hovering. Numbers are whole tenths of a pixel, so that the
//! same data give the same bytes on every machine.
//!
//! Not for reading SVG, nor for anything a chart does not need. Colours come by class from [`STYLE`], which knows a light
//! and a dark scheme.

use std::fmt::Write;

/// Tenths of a pixel.
pub(crate) type Px = i64;

/// The colours of every plot; each class is used by `render::plots` and its parts.
pub(crate) const STYLE: &str = "\
.rt{font:12px system-ui,'DejaVu Sans',sans-serif}.rt text{fill:#1c2330;font:12px system-ui,'DejaVu Sans',sans-serif}\
.rt .paper{fill:#fff}.rt text.title{font-size:16px;font-weight:600}.rt text.soft{fill:#5d6777}.rt text.small{font-size:11px}\
.rt .axis{stroke:#5d6777;fill:none}.rt .grid{stroke:#e3e7ee;fill:none}.rt .frame{stroke:#b9c2cf;fill:none}\
.rt .l{fill:none;stroke-width:1.5;stroke-linejoin:round}.rt .thin{stroke-width:1}.rt .dash{stroke-dasharray:6 3}\
.rt .bar{stroke-width:2;fill:none}.rt .dot{stroke-width:4;stroke-linecap:round;fill:none}.rt .x{stroke-width:1.8;fill:none}\
.rt .blue{stroke:#2563c9}.rt .red{stroke:#c62828}.rt .green{stroke:#1b7f4b}.rt .orange{stroke:#d9730d}\
.rt .purple{stroke:#8e44ad}.rt .grey{stroke:#7d8796}.rt .teal{stroke:#0e8a8a}.rt .box{stroke:#b9c2cf;fill:#f4f6f9}\
.rt .open{stroke:#1b7f4b;fill:#e3f4ea}.rt .wait{stroke:#d9730d;fill:#fdf0e2}\
@media (prefers-color-scheme:dark){.rt text{fill:#e6eaf0}.rt .paper{fill:#141920}.rt text.soft{fill:#98a3b3}\
.rt .axis{stroke:#98a3b3}.rt .grid{stroke:#252e3a}.rt .frame{stroke:#465264}.rt .blue{stroke:#7aa9f7}.rt .red{stroke:#f2877f}\
.rt .green{stroke:#6fcf97}.rt .orange{stroke:#f5a65b}.rt .purple{stroke:#c792ea}.rt .grey{stroke:#98a3b3}\
.rt .teal{stroke:#5bc8c8}.rt .box{stroke:#465264;fill:#1b222c}.rt .open{stroke:#6fcf97;fill:#16301f}\
.rt .wait{stroke:#f5a65b;fill:#33240f}}";

/// An SVG under construction.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

/// Where text stands relative to its point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// The whole document, `width` by `height` pixels.
    pub(crate) fn document(self, width: u32, height: u32) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"rt\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\"><style>{STYLE}</style>\n<rect class=\"paper\" width=\"{width}\" \
             height=\"{height}\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// A group moved down by so many pixels.
    pub(crate) fn group_at(&mut self, down: u32, group: Svg) {
        let _ = write!(self.body, "<g transform=\"translate(0 {down})\">\n{}</g>\n", group.body);
    }

    /// A rectangle; `title` shows when the pointer rests on it.
    pub(crate) fn rect(&mut self, class: &str, (x, y): (Px, Px), (w, h): (Px, Px), title: &str) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            px(x),
            px(y),
            px(w.max(0)),
            px(h.max(0))
        );
        self.close("rect", title);
    }

    /// A path with SVG's path data.
    pub(crate) fn path(&mut self, class: &str, data: &str, title: &str) {
        if !data.is_empty() {
            let _ = write!(self.body, "<path class=\"{class}\" d=\"{data}\"");
            self.close("path", title);
        }
    }

    /// A straight line.
    pub(crate) fn line(&mut self, class: &str, from: (Px, Px), to: (Px, Px)) {
        let data = format!("M{} {}L{} {}", px(from.0), px(from.1), px(to.0), px(to.1));
        self.path(class, &data, "");
    }

    /// Text.
    pub(crate) fn text(&mut self, class: &str, (x, y): (Px, Px), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = writeln!(
            self.body,
            "<text{class} x=\"{}\" y=\"{}\"{anchor}>{}</text>",
            px(x),
            px(y),
            escape(text)
        );
    }

    /// Text that reads upwards, centred.
    pub(crate) fn text_up(&mut self, class: &str, (x, y): (Px, Px), text: &str) {
        let (x, y) = (px(x), px(y));
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 {x} {y})\">{}</text>",
            escape(text)
        );
    }

    fn close(&mut self, name: &str, title: &str) {
        if title.is_empty() {
            self.body.push_str("/>\n");
        } else {
            let _ = writeln!(self.body, "><title>{}</title></{name}>", escape(title));
        }
    }
}

/// Tenths of a pixel as SVG writes them: `12`, `12.5`.
pub(crate) fn px(tenths: Px) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, part) = (tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10);
    if part == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Svg, px};

    #[test]
    fn tenths_are_written_shortly() {
        assert_eq!([px(0), px(5), px(-5), px(120), px(-123)], ["0", "0.5", "-0.5", "12", "-12.3"]);
    }

    #[test]
    fn names_from_outside_cannot_end_the_text() {
        let mut svg = Svg::default();
        svg.rect("box", (0, 0), (10, 10), "a</title><script>");
        assert!(svg.document(1, 1).contains("a&lt;/title&gt;&lt;script&gt;"));
    }
}
