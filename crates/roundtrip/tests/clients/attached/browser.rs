//! Chromium without a window: what it draws, and what its own developer tools say of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::group;
use crate::picture::Picture;
use crate::play::{Group, Row};

group! {
    Group {
        files: &[("devtools.js", include_str!("../devtools.js"))],
        // A browser that is told to end resets what it still has open.
        explained: &[r"Connection reset \(RST\)\|\d{4,5} → (443|80) \[RST"],
        ..Group::NONE
    };
    chromium_screenshot: Row {
        client: "chromium",
        asked: "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                --disable-component-update --disable-sync --user-data-dir=$PWD/profile --window-size=800,600 \
                --screenshot=page.png https://google.com/",
        came: "a picture of the simulated page: logo, drawing and headings in their places",
        said: &["bytes written to file"],
        told: &[r"GET https://google\.com/ +200 OK", r"GET https://google\.com/images/doodle\.svg +200 OK"],
        check: Some(|folder, _| looks_right(&folder.join("work/page.png"))),
        ..Row::NONE
    },
    chromium_har: Row {
        client: "chromium",
        asked: "node devtools.js https://httpbin.org/ httpbin.json httpbin.png",
        came: "by its developer protocol: the same requests with the same statuses as in `page.har`",
        said: &["^loaded https://httpbin.org/"],
        told: &[r"GET https://httpbin\.org/image/png +200 OK"],
        check: Some(|folder, _| agrees(folder, "https://httpbin.org/", "httpbin.json")),
        ..Row::NONE
    },
    chromium_har_in_the_clear: Row {
        client: "chromium",
        asked: "node devtools.js http://narrow.example/ narrow.json narrow.png",
        came: "the same in the clear, with five files",
        said: &["^loaded http://narrow.example/"],
        told: &[r"GET http://narrow\.example/static/map\.svg +200 OK"],
        check: Some(|folder, _| agrees(folder, "http://narrow.example/", "narrow.json")),
        ..Row::NONE
    },
}

/// The page set `google-home`: a logo of eight stripes, a drawing of many colours at its right, headings as blue links.
fn looks_right(path: &Path) -> Result<(), String> {
    let picture = Picture::read(&fs::read(path).map_err(|e| format!("no picture: {e}"))?)?;
    if (picture.width, picture.height) != (800, 600) {
        return Err(format!("{} x {} points", picture.width, picture.height));
    }
    // Blue, red, yellow, green: which of the parts are strong, in the middle of each stripe.
    for (stripe, strong) in
        [(17, [false, false, true]), (51, [true, false, false]), (85, [true, true, false])]
    {
        let found = picture.at(stripe, 134).map(|part| part > 150);
        if found != strong {
            return Err(format!("stripe at {stripe}: {:?}", picture.at(stripe, 134)));
        }
    }
    let drawing: BTreeSet<[u8; 3]> =
        (0..180).flat_map(|y| (276..756).map(move |x| (x, y))).map(|(x, y)| picture.at(x, y)).collect();
    let links = (180..600).flat_map(|y| (0..780).map(move |x| (x, y))).filter(|(x, y)| {
        let [red, green, blue] = picture.at(*x, *y);
        red < 60 && green < 60 && blue > 180
    });
    let links = links.count();
    let found = drawing.len() > 100 && links > 500;
    if found { Ok(()) } else { Err(format!("{} colours, {links} points of links", drawing.len())) }
}

/// Whether the browser's own list is ours, its search for an icon included.
fn agrees(folder: &Path, site: &str, theirs: &str) -> Result<(), String> {
    let read = |path: &str| -> Result<Value, String> {
        let bytes = fs::read(folder.join(path)).map_err(|e| format!("{path}: {e}"))?;
        serde_json::from_slice(&bytes).map_err(|e| format!("{path}: {e}"))
    };
    let line = |method: &Value, url: &Value, status: &Value| format!("{method} {url} {status}");
    let har = read("run/page.har")?;
    let ours = har["log"]["entries"].as_array().ok_or("no entries")?.iter();
    // The scenario's own phone opens a page, too: entries say whose they are.
    let ours = ours.filter(|e| e["request"]["headers"].to_string().contains("HeadlessChrome"));
    let mut ours: Vec<String> = ours
        .map(|e| (&e["request"], &e["response"]["status"]))
        .filter(|(r, _)| r["url"].as_str().is_some_and(|u| u.starts_with(site)))
        .map(|(request, status)| line(&request["method"], &request["url"], status))
        .collect();
    let theirs = read(&format!("work/{theirs}"))?;
    let theirs = theirs.as_array().ok_or("no list")?.iter();
    let mut theirs: Vec<String> = theirs.map(|r| line(&r["method"], &r["url"], &r["status"])).collect();
    ours.sort();
    theirs.sort();
    let found = !ours.is_empty() && ours == theirs;
    if found { Ok(()) } else { Err(format!("ours: {ours:#?}\ntheirs: {theirs:#?}")) }
}
