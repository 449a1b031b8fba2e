//! The two things a person does with a browser: open a page, and send something from it.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use rt_base::{AppRecord, Wait};

use super::Shared;
use super::failure::Failure;
use super::fetch::{Job, Loaded, Source, text};
use super::html::{Kind, Named, read_page};
use super::url::Url;
use crate::http::join_all;
use crate::step::StepResult;

/// Pages that lead to one another before the browser gives up: as many as redirects.
const REFRESHES: u32 = 20;
/// Seconds that are waited for a page that leads on by itself; later ones are news for whoever keeps it open.
const REFRESH_WAITS: u64 = 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 2_000;

impl Shared {
    /// The page, and the page that it leads to by itself, until one stays.
    pub(super) async fn visit_page(self: &Arc<Shared>, typed: &str, again: bool) -> StepResult {
        let url = match Url::parse(typed) {
            Ok(url) => url,
            Err(why) => return StepResult::failed(format!("url.invalid: {why}")),
        };
        let mut job = Job { again, ..Job::new(rt_base::ReqId(0), Kind::Document, url) };
        let mut passed = Vec::new();
        for _ in 0..=REFRESHES {
            let (result, next) = self.one_page(job).await;
            let Some(next) = next else { return through(passed, result) };
            passed.extend(result.lines);
            job = next;
        }
        through(
            passed,
            StepResult::failed(format!("http.too_many_refreshes: {REFRESHES} pages, each led to another")),
        )
    }

    /// The document, then what it names side by side, then the drawing; and the page that it leads to by itself.
    async fn one_page(self: &Arc<Shared>, job: Job) -> (StepResult, Option<Job>) {
        let (root, again) = (self.net.new_req(), job.again);
        let page = match self.load(root, job).await {
            Ok(page) => page,
            Err(failure) => return (StepResult::failed(failure.to_string()), None),
        };
        let named = if text(&page.headers, &CONTENT_TYPE).starts_with("text/html") {
            Some(read_page(&page.body))
        } else {
            None
        };
        let refresh = named.as_ref().and_then(|named| named.refresh.clone());
        let parts = self.load_parts(&page, named).await;
        self.net.sleep(self.options.render, Wait::PageWork).await;
        if self.options.habits.like_chrome && !again {
            self.load_icon(&page).await;
        }
        let all: Vec<&Loaded> = std::iter::once(&page).chain(parts.iter().flatten()).collect();
        let from_cache = all.iter().filter(|loaded| !matches!(loaded.source, Source::Network(_))).count();
        self.net.say(AppRecord::Rendered {
            req: page.req,
            resources: all.len() as u32,
            from_cache: from_cache as u32,
        });
        let next = match refresh {
            Some(refresh) => self.follow_refresh(&page, refresh).await,
            None => None,
        };
        (summarize(&page, &parts, &all, from_cache), next)
    }

    /// A navigation of its own, whose reason is the page that asks for it.
    async fn follow_refresh(&self, page: &Loaded, (seconds, target): (u64, String)) -> Option<Job> {
        let url = page.url.join(&target).ok()?;
        let after = if seconds == 0 { "at once".to_owned() } else { format!("after {seconds} s") };
        let waits = seconds <= REFRESH_WAITS;
        let not = if waits { "" } else { ", for which nobody waits here" };
        self.note(page.req, "http.refresh", format!("the page's meta refresh leads {after} to {url}{not}"));
        if !waits || url == page.url {
            return None;
        }
        self.net.sleep(rt_base::Nanos::from_secs(seconds), Wait::PageWork).await;
        let referer = referer_between(&page.url, &url);
        Some(Job { referer, ..Job::new(page.req, Kind::Document, url) })
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

    /// Asks whoever keeps copies of a URL to forget them; only a cache that lets us answers with success.
    pub(super) async fn purge_url(self: &Arc<Shared>, typed: &str) -> StepResult {
        let url = match Url::parse(typed) {
            Ok(url) => url,
            Err(why) => return StepResult::failed(format!("url.invalid: {why}")),
        };
        let job = Job { purge: true, ..Job::new(rt_base::ReqId(0), Kind::Call, url) };
        match self.load(self.net.new_req(), job).await {
            Ok(answer) => {
                let summary = format!("{} {}", answer.status.as_u16(), protocol(answer.source));
                if answer.status.is_success() { StepResult::ok(summary) } else { StepResult::failed(summary) }
            }
            Err(failure) => StepResult::failed(failure.to_string()),
        }
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
    async fn load_parts(
        self: &Arc<Shared>,
        page: &Loaded,
        named: Option<Named>,
    ) -> Vec<Result<Loaded, Failure>> {
        let Some(named) = named else { return Vec::new() };
        self.net.sleep(self.options.parse, Wait::PageWork).await;
        let base = named.base.and_then(|base| page.url.join(&base).ok()).unwrap_or_else(|| page.url.clone());
        let jobs = named.resources.into_iter().filter_map(|(kind, reference)| {
            let url = base.join(&reference).ok()?;
            Some(Job { referer: Some(page.url.to_string()), ..Job::new(page.req, kind, url) })
        });
        let loads = jobs.map(|job| {
            let req = self.net.new_req();
            // Each in a box: they are kilobytes long, and would be moved with the list.
            Box::pin(self.load(req, job))
        });
        join_all(loads.collect()).await
    }

    fn note(&self, req: rt_base::ReqId, code: &str, text: String) {
        self.net.say(AppRecord::Note { req, code: code.to_owned(), text });
    }
}

/// What the person sees at the end, behind the pages that led there.
fn through(passed: Vec<String>, mut result: StepResult) -> StepResult {
    result.lines.splice(0..0, passed);
    result
}

/// As much of a page's URL as the next one's server is told: the whole on the same site, else only its origin, and nothing when
/// that would be sent in the clear (Referrer Policy's default, `strict-origin-when-cross-origin`).
fn referer_between(from: &Url, to: &Url) -> Option<String> {
    if from.origin() == to.origin() {
        return Some(from.to_string());
    }
    let downgrade = from.is_secure() && !to.is_secure();
    from.join("/").ok().filter(|_| !downgrade).map(|origin| origin.to_string())
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
