//! The built-in page sets. Their texts and pictures are generated, with the sizes and the caching rules of real pages,
//! and the same in every run: they are content, not chance.

use std::fmt::Write as _;

use rt_base::Rng;

use super::pages::{PageSet, Resource};
use super::png::png;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const YEAR: &str = "public, max-age=31536000, immutable";

/// Makes the set of this name; an unknown name is an empty set.
pub(super) fn make(name: &str) -> PageSet {
    match name {
        "google-home" => google_home(),
        "hello" => hello(),
        "shop" => shop(),
        "example-com" => super::recorded::example_com(),
        "httpbin" => super::inspect::page_set(),
        "cdn" => behind_a_cdn(),
        "news" => news(),
        _ => PageSet::new(super::SERVER, []),
    }
}

/// One page of 17 kB, a style sheet and two pictures that may be kept for a year, and a script that must be
/// revalidated: so a second visit shows both a fresh hit and a 304.
fn google_home() -> PageSet {
    let page = Page {
        title: "Google",
        lang: "en",
        style: "/xjs/home.css",
        script: "/xjs/home.js",
        images: &[("/images/logo.png", 272, 92, "Google"), ("/images/doodle.svg", 480, 180, "Today")],
        filler: 16_000,
    };
    let resources = [
        ("/", Resource::new(HTML, page.html()).personal()),
        ("/xjs/home.css", Resource::new(CSS, style_sheet("g", 8_000)).cached(YEAR)),
        ("/xjs/home.js", Resource::new(SCRIPT, script("g", 30_000)).cached("public, no-cache")),
        ("/images/logo.png", Resource::new("image/png", picture(272, 92, 11)).cached(YEAR)),
        ("/images/doodle.svg", Resource::new("image/svg+xml", drawing(480, 180, 7_000)).cached(YEAR)),
    ];
    PageSet::new("gws", resources.map(|(path, resource)| (path.to_owned(), resource)))
}

fn hello() -> PageSet {
    let html = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Hello</title></head>\n\
                <body><h1>Hello from the other side</h1><p>Every byte of this page crossed the network.</p></body>\n\
                </html>\n";
    PageSet::new(super::SERVER, [("/".to_owned(), Resource::new(HTML, html).cached("public, max-age=60"))])
}

/// A shop: a start page that sets a session cookie, one article, and an API (any POST).
fn shop() -> PageSet {
    let start = Page {
        title: "The Shop",
        lang: "en",
        style: "/static/shop.css",
        script: "/static/shop.js",
        images: &[("/static/cup.png", 200, 100, "A cup"), ("/static/map.svg", 320, 200, "Where we are")],
        filler: 9_000,
    };
    let article =
        Page { title: "A cup", images: &[("/static/cup.png", 200, 100, "A cup")], filler: 4_000, ..start };
    let start_page = Resource::new(HTML, start.html()).personal();
    let start_page = start_page.cookie("session=6f1d9a; Path=/; HttpOnly; SameSite=Lax");
    let resources = [
        ("/", start_page),
        ("/cup", Resource::new(HTML, article.html()).cached("private, max-age=30")),
        ("/static/shop.css", Resource::new(CSS, style_sheet("s", 6_000)).cached(YEAR)),
        ("/static/shop.js", Resource::new(SCRIPT, script("s", 12_000)).cached("public, no-cache")),
        (
            "/static/cup.png",
            Resource::new("image/png", picture(200, 100, 23)).cached("public, max-age=86400"),
        ),
        (
            "/static/map.svg",
            Resource::new("image/svg+xml", drawing(320, 200, 6_500)).cached("public, max-age=86400"),
        ),
    ];
    PageSet::new("nginx", resources.map(|(path, resource)| (path.to_owned(), resource)))
}

/// One thing of each kind that a CDN meets: a page for everybody, a picture of less than 10 kB for a day, prices that
/// are fresh for 10 s and may be used 20 s longer while they are asked for again, and what is one visitor's own.
fn behind_a_cdn() -> PageSet {
    let page = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Example</title></head>\n\
                <body><h1>Example</h1><p>Somewhere between you and this server stands an edge.</p></body>\n</html>\n";
    let prices = "{\"cup\": 12, \"map\": 7}\n";
    let resources = [
        ("/", Resource::new(HTML, page).cached("public, max-age=60")),
        ("/static/logo.png", Resource::new("image/png", picture(150, 90, 7)).cached("public, max-age=86400")),
        (
            "/api/prices",
            Resource::new("application/json", prices).cached("public, max-age=10, stale-while-revalidate=20"),
        ),
        ("/account", Resource::new(HTML, page).personal().cookie("session=6f1d9a; Path=/; HttpOnly")),
    ];
    PageSet::new("nginx", resources.map(|(path, resource)| (path.to_owned(), resource)))
}

/// A front page that people come back to: with a style sheet, a script and two pictures, all of them for a day at edges but only
/// five seconds in browsers, and without validators: each visit gets five whole answers from the nearest edge.
fn news() -> PageSet {
    const OFTEN: &str = "public, max-age=5, s-maxage=86400";
    let page = Page {
        title: "The News",
        lang: "en",
        style: "/news.css",
        script: "/news.js",
        images: &[("/masthead.png", 120, 60, "The News"), ("/map.svg", 240, 160, "Where it happened")],
        filler: 8_000,
    };
    let resources = [
        ("/", Resource::new(HTML, page.html())),
        ("/news.css", Resource::new(CSS, style_sheet("n", 4_000))),
        ("/news.js", Resource::new(SCRIPT, script("n", 8_000))),
        ("/masthead.png", Resource::new("image/png", picture(120, 60, 5))),
        ("/map.svg", Resource::new("image/svg+xml", drawing(240, 160, 4_000))),
    ];
    PageSet::new("nginx", resources.map(|(path, resource)| (path.to_owned(), resource.whole().cached(OFTEN))))
}

/// A page that names a style sheet, a script and pictures.
#[derive(Clone, Copy)]
struct Page {
    title: &'static str,
    lang: &'static str,
    style: &'static str,
    script: &'static str,
    /// Path, width, height, what it shows.
    images: &'static [(&'static str, u32, u32, &'static str)],
    /// Bytes of text beside the frame, about.
    filler: usize,
}

impl Page {
    fn html(&self) -> String {
        let mut words = Words::new(self.title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
             <link rel=\"stylesheet\" href=\"{}\">\n<script src=\"{}\" defer></script>\n</head>\n<body>\n",
            self.lang, self.title, self.style, self.script
        );
        for (path, width, height, alt) in self.images {
            let _ =
                writeln!(html, "<img src=\"{path}\" width=\"{width}\" height=\"{height}\" alt=\"{alt}\">");
        }
        html.push_str("<form action=\"/search\" role=\"search\"><input name=\"q\" autofocus><button>Go</button></form>\n");
        let until = html.len() + self.filler;
        let mut number = 0;
        while html.len() < until {
            number += 1;
            let (class, topic) = (words.next(), words.next());
            let _ = write!(
                html,
                "<section id=\"s{number}\" class=\"{class}\"><h2><a href=\"/{topic}/{number}\">{topic} "
            );
            let _ = write!(html, "{}</a></h2><p>", words.next());
            for _ in 0..words.dice.below(24) + 8 {
                html.push_str(words.next());
                html.push(' ');
            }
            html.push_str("</p></section>\n");
        }
        html.push_str("</body>\n</html>\n");
        html
    }
}

fn style_sheet(prefix: &str, size: usize) -> String {
    const PROPERTIES: [&str; 8] =
        ["margin", "padding", "top", "left", "width", "height", "border-radius", "font-size"];
    let mut words = Words::new(prefix);
    let mut css = String::from(
        "*{box-sizing:border-box}\nbody{margin:0;font:14px/1.4 arial,sans-serif;color:#202124}\n",
    );
    while css.len() < size {
        let (class, n) = (words.next(), words.dice.below(1000));
        let _ = write!(css, ".{prefix}-{class}-{n}{{color:#{:06x}", words.dice.below(1 << 24));
        for _ in 0..words.dice.below(4) + 1 {
            let property = PROPERTIES[words.dice.below(8) as usize];
            let _ = write!(css, ";{property}:{}px", words.dice.below(64));
        }
        css.push_str("}\n");
    }
    css
}

/// Minified code: short names, many constants, a dozen shapes of statements; it packs to a third, as real code does.
fn script(prefix: &str, size: usize) -> String {
    let mut words = Words::new(prefix);
    let mut js = String::from("'use strict';(function(root){var registry={};\n");
    let mut number = 0;
    while js.len() < size {
        number += 1;
        let (verb, noun) = (words.next(), words.next());
        let _ = write!(js, "registry.{verb}{number}=function({noun},k){{var t={};", words.dice.below(65_536));
        for _ in 0..words.dice.below(6) + 2 {
            statement(&mut js, noun, &mut words);
        }
        js.push_str("return t};\n");
    }
    js.push_str("root.app=registry})(typeof window==='undefined'?this:window);\n");
    js
}

fn statement(js: &mut String, noun: &str, words: &mut Words) {
    let (a, b, shape) = (words.dice.below(65_536), words.dice.below(997) + 2, words.dice.below(8));
    let (word, tag) = (words.next(), words.dice.next_u32());
    let _ = match shape {
        0 => write!(js, "for(var i=0;i<{noun};i++)t=(t*{b}+i)%65521;"),
        1 => write!(js, "if(k==='{tag:08x}')t^={a};"),
        2 => write!(js, "t+=({noun}|{a})>>>{};", b % 31),
        3 => write!(js, "k=(k||'{word}')+'-{tag:x}';"),
        4 => write!(js, "t=t>{a}?t-{b}:t+{};", a % 613),
        5 => write!(js, "switch({noun}&7){{case {}:t=~t;break;default:t+={b}}}", b % 8),
        6 => write!(js, "var {word}{b}=[{a},{b},0x{:x}];t+={word}{b}[t%3];", tag >> 8),
        _ => write!(js, "t=Math.imul(t,0x{tag:x})^{a};"),
    };
}

/// Bands of colour with some grain, so that it weighs what a picture weighs.
pub(super) fn picture(width: u32, height: u32, grain: u64) -> Vec<u8> {
    let mut dice = Rng::stream(grain, "picture", "grain");
    png(width, height, |x, y| {
        let band =
            [[66, 133, 244], [219, 68, 55], [244, 180, 0], [15, 157, 88]][(x * 8 / width % 4) as usize];
        let shade = (y * 48 / height) as u8;
        let noise = if dice.below(6) == 0 { (dice.below(8) * 4) as u8 } else { 0 };
        band.map(|part: u8| part.saturating_sub(shade).saturating_add(noise))
    })
}

fn drawing(width: u32, height: u32, size: usize) -> String {
    let mut dice = Rng::stream(u64::from(width), "drawing", "shapes");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n"
    );
    while svg.len() < size {
        let (x, y) = (dice.below(u64::from(width)), dice.below(u64::from(height)));
        let (radius, colour) = (dice.below(24) + 2, dice.below(1 << 24));
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"#{colour:06x}\" opacity=\"0.7\"/>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Words to fill pages with.
struct Words {
    dice: Rng,
}

impl Words {
    fn new(about: &str) -> Words {
        Words { dice: Rng::stream(0, about, "words") }
    }

    fn next(&mut self) -> &'static str {
        VOCABULARY[self.dice.below(VOCABULARY.len() as u64) as usize]
    }
}

const VOCABULARY: [&str; 64] = [
    "anchor", "arrow", "autumn", "basket", "beacon", "border", "bridge", "candle", "canvas", "carbon",
    "circle", "cloud", "copper", "corner", "cradle", "delta", "desert", "dinner", "engine", "fabric",
    "feather", "filter", "finger", "forest", "garden", "gentle", "glacier", "harbor", "hollow", "island",
    "jacket", "ladder", "lantern", "letter", "marble", "meadow", "mirror", "mountain", "needle", "number",
    "orchard", "packet", "paper", "pepper", "pilot", "planet", "pocket", "puzzle", "quiet", "ribbon",
    "river", "saddle", "shadow", "signal", "silver", "spring", "station", "summer", "thunder", "timber",
    "travel", "valley", "window", "winter",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_real_pages() {
        let cases = [
            ("/", 15_000..20_000),
            ("/xjs/home.css", 7_500..9_000),
            ("/xjs/home.js", 29_000..32_000),
            ("/images/logo.png", 6_000..14_000),
            ("/images/doodle.svg", 6_000..14_000),
        ];
        let set = PageSet::built_in("google-home").unwrap();
        for (path, range) in &cases {
            let size = set.resources[*path].plain.len();
            assert!(range.contains(&size), "{path}: {size}");
        }
        assert_eq!(set.paths().count(), cases.len());
    }

    #[test]
    fn all_built_in_names_have_a_start_page() {
        for name in PageSet::BUILT_IN {
            assert!(PageSet::built_in(name).unwrap().paths().any(|path| path == "/"), "{name}");
        }
        assert!(PageSet::built_in("nonsense").is_none());
    }
}
