//! "Follow the click": where one click led, when a server or a page said that the browser shall go elsewhere.

use std::collections::BTreeMap;

use rt_base::{AppRecord, ReqId, ReqKind};

use super::model::{Chapter, Line};
use super::tell::Step;
use super::view::Req;
use super::words;

const EXPLAIN: &str = "A click may lead on: a server answers with another address (a redirect), or a page says that the \
                       browser shall go elsewhere (a meta refresh). Each is a request of its own, with a look-up, a \
                       connection and cookies of its own where it leads to another site.";

/// Levels that are shown as such.
const DEEPEST: u8 = 6;

/// The pages of a click that led on, as a tree; nothing for a click that led to one page.
pub(crate) fn tell(step: &Step<'_, '_>) -> Option<Chapter> {
    let pages: Vec<&Req<'_>> = step.requests.iter().copied().filter(|r| r.kind == ReqKind::Page).collect();
    let mut depths: BTreeMap<ReqId, u8> = BTreeMap::new();
    for page in &pages {
        let depth = depths.get(&page.parent).map_or(0, |above| (above + 1).min(DEEPEST));
        depths.insert(page.id, depth);
    }
    if depths.values().all(|depth| *depth == 0) {
        return None;
    }
    let line = |page: &&Req<'_>| {
        let end = page.end_at().unwrap_or(step.last);
        let status = page.end.map_or(0, |end| end.status);
        let label = if status == 0 { "failed".to_string() } else { status.to_string() };
        let text = format!("{} {} · {}", page.method, page.target, ending(step, page, status));
        Line::new("navigation.page", label, text)
            .deep(depths.get(&page.id).copied().unwrap_or(0))
            .at(end)
            .margin(words::after(step.start(), end))
            .with("status", status)
            .with("url", page.target)
    };
    Some(Chapter {
        code: "navigation".into(),
        title: "follow the click".into(),
        subject: words::count(pages.len() as u64, "page"),
        start_ns: step.start().0,
        end_ns: step.last.0,
        remark: String::new(),
        explain: EXPLAIN.into(),
        lines: pages.iter().map(line).collect(),
    })
}

/// What became of a page.
fn ending(step: &Step<'_, '_>, page: &Req<'_>, status: u16) -> String {
    let said = |wanted: &str| {
        page.said.iter().any(|(_, record)| matches!(record, AppRecord::Note { code, .. } if code == wanted))
    };
    let led_on = step.requests.iter().any(|r| r.parent == page.id && r.kind == ReqKind::Page);
    match status {
        0 => page.end.map_or_else(|| "no end yet".to_string(), |end| end.note.to_string()),
        301 | 308 if said("http.redirect") => "leads on, for good".into(),
        _ if said("http.redirect") => "leads on, for now".into(),
        _ if led_on && said("http.refresh") => "a page that leads on by itself (meta refresh)".into(),
        _ => {
            let files = step.children(page.id).iter().filter(|r| r.kind == ReqKind::Subresource).count();
            if files == 0 {
                "the page".into()
            } else {
                format!("the page, and {}", words::count(files as u64, "file"))
            }
        }
    }
}
