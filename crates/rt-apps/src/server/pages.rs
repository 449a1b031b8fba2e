//! What a web server serves: paths with their bytes and the caching rules that go with them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::StatusCode;

use super::built_in;
use super::recorded::Recorded;
use crate::http::Coding;

/// A set of pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PageSet {
    /// The Server field.
    pub(super) server: Arc<str>,
    /// By path, without query.
    pub(super) resources: Arc<BTreeMap<String, Resource>>,
    /// Answers as a real server gave them, by path; the empty path answers for all others.
    pub(super) recorded: Option<Arc<BTreeMap<String, Recorded>>>,
    /// Besides its pages it answers the calls of `inspect`.
    pub(super) inspects: bool,
}

impl PageSet {
    /// The names of the built-in sets.
    pub const BUILT_IN: [&str; 7] = ["google-home", "hello", "shop", "example-com", "httpbin", "cdn", "news"];

    /// A built-in set; they are the same for every run and made when first asked for.
    #[must_use]
    pub fn built_in(name: &str) -> Option<PageSet> {
        static SETS: [OnceLock<PageSet>; PageSet::BUILT_IN.len()] =
            [const { OnceLock::new() }; PageSet::BUILT_IN.len()];
        let index = PageSet::BUILT_IN.iter().position(|known| *known == name)?;
        Some(SETS[index].get_or_init(|| built_in::make(name)).clone())
    }

    /// Files given with a scenario. `/` also answers for an `index.html`; an empty content type is guessed from the path's
    /// ending. They may be cached for ten minutes and revalidated after; those that set cookies are for one person.
    #[must_use]
    pub fn from_files(files: &[PageFile]) -> PageSet {
        let mut resources = Vec::new();
        for PageFile { path, content_type, bytes, redirect, cookies, cache_control } in files {
            let path = format!("/{}", path.trim_start_matches('/'));
            let content_type = if content_type.is_empty() { guess_type(&path) } else { content_type };
            let mut resource = Resource::new(content_type, bytes.clone()).cached("public, max-age=600");
            if !cookies.is_empty() {
                resource = cookies.iter().fold(resource.personal(), |resource, field| resource.cookie(field));
            }
            if let Some((status, to)) = redirect {
                resource = resource.leading_to(*status, to);
            }
            if let Some(rule) = cache_control {
                resource = resource.cached(rule);
            }
            if let Some(folder) = path.strip_suffix("index.html") {
                resources.push((folder.to_owned(), resource.clone()));
            }
            resources.push((path, resource));
        }
        PageSet::new(super::SERVER, resources)
    }

    /// A set made in code.
    #[must_use]
    pub fn new(server: &str, resources: impl IntoIterator<Item = (String, Resource)>) -> PageSet {
        PageSet {
            server: server.into(),
            resources: Arc::new(resources.into_iter().collect()),
            recorded: None,
            inspects: false,
        }
    }

    /// The same, and it answers the calls of `inspect`.
    pub(super) fn inspecting(mut self) -> PageSet {
        self.inspects = true;
        self
    }

    /// The same with recorded answers, which go before everything else.
    pub(super) fn with_recorded(mut self, recorded: Arc<BTreeMap<String, Recorded>>) -> PageSet {
        self.recorded = Some(recorded);
        self
    }

    /// The paths it has, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let recorded =
            self.recorded.iter().flat_map(|answers| answers.keys()).filter(|path| !path.is_empty());
        self.resources.keys().chain(recorded).map(String::as_str)
    }
}

/// A file of a scenario, as a server has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PageFile {
    /// Where it is.
    pub path: String,
    /// Its content type, or nothing.
    pub content_type: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Where it leads instead: status and target.
    pub redirect: Option<(u16, String)>,
    /// Set-Cookie values.
    pub cookies: Vec<String>,
    /// Cache-Control, instead of the usual.
    pub cache_control: Option<String>,
}

/// One thing a server has.
#[derive(Clone, Debug)]
pub struct Resource {
    pub(super) content_type: String,
    pub(super) cache_control: String,
    /// Set-Cookie values.
    pub(super) cookies: Vec<String>,
    /// Where it leads instead of being shown, and with which status.
    pub(super) redirect: Option<(StatusCode, String)>,
    /// Whether it has validators (ETag, Last-Modified): files do, pages made for one person do not.
    pub(super) validators: bool,
    pub(super) plain: Bytes,
    tag: String,
    gzip: OnceLock<Bytes>,
    brotli: OnceLock<Bytes>,
}

impl Resource {
    /// A file: cacheable for an hour, with validators.
    #[must_use]
    pub fn new(content_type: &str, bytes: impl Into<Bytes>) -> Resource {
        let plain = bytes.into();
        Resource {
            content_type: content_type.to_owned(),
            cache_control: "public, max-age=3600".to_owned(),
            cookies: Vec::new(),
            redirect: None,
            validators: true,
            tag: format!("{:016x}", fnv(&plain)),
            plain,
            gzip: OnceLock::new(),
            brotli: OnceLock::new(),
        }
    }

    /// Whole every time: no validators, so that nobody hears 304.
    #[must_use]
    pub fn whole(mut self) -> Resource {
        self.validators = false;
        self
    }

    /// The same with another Cache-Control.
    #[must_use]
    pub fn cached(mut self, cache_control: &str) -> Resource {
        cache_control.clone_into(&mut self.cache_control);
        self
    }

    /// Made anew for each visitor: no validators, and `Cache-Control: private, max-age=0`.
    #[must_use]
    pub fn personal(mut self) -> Resource {
        self.validators = false;
        self.cached("private, max-age=0")
    }

    /// Leads to `to` instead (RFC 9110, 15.4). A temporary one says nothing about being kept.
    #[must_use]
    pub fn leading_to(mut self, status: u16, to: &str) -> Resource {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
        self.validators = false;
        if !matches!(status.as_u16(), 301 | 308) {
            self.cache_control.clear();
        }
        self.redirect = Some((status, to.to_owned()));
        self
    }

    /// Sets a cookie on every visit.
    #[must_use]
    pub fn cookie(mut self, set_cookie: &str) -> Resource {
        self.cookies.push(set_cookie.to_owned());
        self
    }

    /// The bytes as sent.
    pub(super) fn encoded(&self, coding: Coding) -> Bytes {
        match coding {
            Coding::Identity => self.plain.clone(),
            Coding::Gzip => self.gzip.get_or_init(|| coding.encode(&self.plain)).clone(),
            Coding::Brotli => self.brotli.get_or_init(|| coding.encode(&self.plain)).clone(),
        }
    }

    /// A strong validator: another for each coding, because the bytes differ (RFC 9110, 8.8.3.3).
    pub(super) fn etag(&self, coding: Coding) -> String {
        match coding.name() {
            None => format!("\"{}\"", self.tag),
            Some(name) => format!("\"{}-{name}\"", self.tag),
        }
    }

    /// Whether it gets smaller: texts do, PNG and the like are compressed already.
    pub(super) fn compressible(&self) -> bool {
        let kind = self.content_type.split(';').next().unwrap_or_default();
        self.plain.len() >= 256
            && (kind.starts_with("text/")
                || ["application/javascript", "application/json", "image/svg+xml"].contains(&kind))
    }
}

/// FNV-1a: a fingerprint of the content, not a protection.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn guess_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}
