//! The two things a person does with a browser: open a page, and send something from it.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use rt_base::{AppRecord, Wait};

use super::Shared;
use super::failure::Failure;
use super::fetch::{Job, Loaded, Source, text};
use super::html::{Kind, resources};
use super::url::Url;
use crate::http::join_all;
use crate::step::StepResult;

/// Characters of an answer that are shown.
const SHOWN: usize = 2_000;

impl Shared {
    /// The document, then what it names side by side, then the drawing.
    pub(super) async fn visit_page(self: &Arc<Shared>, typed: &str, again: bool) -> StepResult {
        let url = match Url::parse(typed) {
            Ok(url) => url,
            Err(why) => return StepResult::failed(format!("url.invalid: {why}")),
        };
        let root = self.net.new_req();
        let job = Job { again, ..Job::new(rt_base::ReqId(0), Kind::Document, url) };
        let page = match self.load(root, job).await {
            Ok(page) => page,
            Err(failure) => return StepResult::failed(failure.to_string()),
        };
        let parts = self.load_parts(&page).await;
        self.net.sleep(self.options.render, Wait::PageWork).await;
        if self.options.habits.like_chrome && !again {
            self.load_icon(&page).await;
        }
        let all: Vec<&Loaded> = std::iter::once(&page).chain(parts.iter().flatten()).collect();
        let from_cache = all.iter().filter(|loaded| !matches!(loaded.source, Source::Network(_))).count();
        self.net.say(AppRecord::Rendered {
            req: root,
            resources: all.len() as u32,
            from_cache: from_cache as u32,
        });
        summarize(&page, &parts, &all, from_cache)
    }

    /// Sends JSON as a page's script would, and reads the answer.
    pub(super) async fn post_json(self: &Arc<Shared>, typed: &str, json: &str) -> StepResult {
        let url = match Url::parse(typed) {
            Ok(url) => url,
            Err(why) => return StepResult::failed(format!("url.invalid: {why}")),
        };
        let value: serde_json::Value = match serde_json::from_str(json) {
            Ok(value) => value,
            Err(error) => return StepResult::failed(format!("json.invalid: {error}")),
        };
        let req = self.net.new_req();
        let body = value.to_string();
        self.note(
            req,
            "json.serialized",
            format!("{} of JSON: {}", rt_base::count(body.len() as u64, "byte"), shortened(&body)),
        );
        let referer = url.join("/").ok().map(|page| page.to_string());
        let job = Job { referer, body: Some(body.into()), ..Job::new(rt_base::ReqId(0), Kind::Call, url) };
        let answer = match self.load(req, job).await {
            Ok(answer) => answer,
            Err(failure) => return StepResult::failed(failure.to_string()),
        };
        let shown = match serde_json::from_slice::<serde_json::Value>(&answer.body) {
            Ok(value) => {
                let text = value.to_string();
                self.note(req, "json.parsed", format!("the answer is JSON: {}", shortened(&text)));
                text
            }
            Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        let (status, size) = (answer.status.as_u16(), kilobytes(answer.body.len()));
        let summary = format!("{status} {}, {size}", protocol(answer.source));
        let result = if status < 400 { StepResult::ok(summary) } else { StepResult::failed(summary) };
        result.with_lines(vec![shortened(&shown)])
    }

    /// The icon for the tab, once for each page; nobody minds if there is none.
    async fn load_icon(self: &Arc<Shared>, page: &Loaded) {
        if let Ok(url) = page.url.join("/favicon.ico") {
            let req = self.net.new_req();
            let job = Job { referer: Some(page.url.to_string()), ..Job::new(page.req, Kind::Image, url) };
            let _ = self.load(req, job).await;
        }
    }

    /// What the page names; a part that fails does not fail the page.
    async fn load_parts(self: &Arc<Shared>, page: &Loaded) -> Vec<Result<Loaded, Failure>> {
        if !text(&page.headers, &CONTENT_TYPE).starts_with("text/html") {
            return Vec::new();
        }
        self.net.sleep(self.options.parse, Wait::PageWork).await;
        let (named, base) = resources(&page.body);
        let base = base.and_then(|base| page.url.join(&base).ok()).unwrap_or_else(|| page.url.clone());
        let jobs = named.into_iter().filter_map(|(kind, reference)| {
            let url = base.join(&reference).ok()?;
            Some(Job { referer: Some(page.url.to_string()), ..Job::new(page.req, kind, url) })
        });
        let loads = jobs.map(|job| {
            let req = self.net.new_req();
            self.load(req, job)
        });
        join_all(loads.collect()).await
    }

    fn note(&self, req: rt_base::ReqId, code: &str, text: String) {
        self.net.say(AppRecord::Note { req, code: code.to_owned(), text });
    }
}

fn summarize(
    page: &Loaded,
    parts: &[Result<Loaded, Failure>],
    all: &[&Loaded],
    from_cache: usize,
) -> StepResult {
    let bytes: usize = all.iter().map(|loaded| loaded.body.len()).sum();
    let status = page.status.as_u16();
    let mut summary = format!("{status} {}, {}", protocol(page.source), kilobytes(bytes));
    if all.len() > 1 {
        summary.push_str(&format!(" in {}", rt_base::count(all.len() as u64, "resource")));
    }
    if from_cache > 0 {
        summary.push_str(&format!(", {from_cache} from the cache"));
    }
    let mut lines: Vec<_> = all
        .iter()
        .map(|one| {
            format!("{} {} {} ({})", one.status.as_u16(), one.url, kilobytes(one.body.len()), one.source)
        })
        .collect();
    lines.extend(parts.iter().filter_map(|part| part.as_ref().err()).map(Failure::to_string));
    let result = if status < 400 { StepResult::ok(summary) } else { StepResult::failed(summary) };
    result.with_lines(lines)
}

fn protocol(source: Source) -> &'static str {
    match source {
        Source::Network("h2") | Source::Revalidated("h2") => "HTTP/2",
        Source::Network(_) | Source::Revalidated(_) => "HTTP/1.1",
        Source::Cache => "cache",
    }
}

/// `41.2 kB`; bytes below one kB.
fn kilobytes(bytes: usize) -> String {
    if bytes < 1_000 { format!("{bytes} B") } else { format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100) }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain("...".chars()).collect()
    }
}
