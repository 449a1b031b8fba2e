//! A small browser: opens a page with everything it names, or posts JSON, as Chrome would talk, and says what bytes
//! cannot show (caches asked, who asked for what, when the page was drawn).
//!
//! The main type is [`Browser`], one per machine: cookies, HTTP cache and TLS tickets live in it from step to step.
//! `visit` is the way of a page from the typed URL to the drawing, `fetch` that of one resource, `pool` that of a
//! connection, `via` that through a forward proxy; `cache`, `cookies`, `html` and `url` decide without awaiting anything.
//!
//! Deliberate simplifications, and how to notice them: nothing is executed or laid out (parsing and painting are given
//! times); resources are looked for after the last byte of the HTML (Chrome starts while it comes); only style sheets,
//! scripts and images named in the HTML are loaded, not what those name in turn; one address family; no preconnect, no
//! favicon, no service workers, no HSTS, no `103 Early Hints`; between steps the browser is restarted unless
//! [`ClosePolicy::AfterIdle`] says otherwise, yet keeps its TLS tickets, which real ones hold in memory.

mod cache;
mod cookies;
mod failure;
mod fetch;
mod html;
mod pool;
mod url;
mod via;
mod visit;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rt_base::Nanos;
use rustls::pki_types::CertificateDer;

use self::cache::HttpCache;
use self::cookies::CookieJar;
use self::pool::{Pool, Trust};
pub use self::url::Url;
pub use self::via::BrowserProxy;
use self::via::Via;
use crate::dns::{SharedNameCache, shared_cache};
use crate::net::Net;
use crate::step::{StepFn, StepResult};

/// The User-Agent of Chrome 120.
pub const CHROME_120: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                              Chrome/120.0.0.0 Safari/537.36";

/// What happens to connections that are not used any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClosePolicy {
    /// The browser is closed when the step is done: its connections too, and its name cache is gone.
    #[default]
    AtStepEnd,
    /// The browser stays open: connections close when they were not used for so long.
    AfterIdle(Nanos),
}

/// A machine's browser, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrowserOptions {
    /// User-Agent.
    pub user_agent: String,
    /// Whether it offers h2.
    pub http2: bool,
    /// Parallel HTTP/1.1 connections to one origin.
    pub connections: u32,
    /// Cookies at the start: (domain, name, value).
    pub cookies: Vec<(String, String, String)>,
    /// Time to parse the HTML before its resources are asked for.
    pub parse: Nanos,
    /// Time to lay out and paint after the last resource.
    pub render: Nanos,
    /// Give up on a request after this long.
    pub timeout: Nanos,
    /// When connections are closed.
    pub close: ClosePolicy,
    /// What it does beside asking for what it needs.
    pub habits: Habits,
    /// Whom it asks instead of servers.
    pub proxy: Option<BrowserProxy>,
}

/// What tells Chrome from a program that only asks for a page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Habits {
    /// All fields that Chrome sends, two connections for a new `http` origin of which the first to be ready is used, and
    /// `/favicon.ico`.
    pub like_chrome: bool,
    /// Accept-Language.
    pub language: String,
    /// How late it notices that a server has closed an idle connection: for the first such end, the second and so on; the
    /// last holds for all that follow, none means at once.
    pub notices_close: Vec<Nanos>,
    /// How long it waits for an address to answer before it tries the name's next one; as long as TCP tries, when not given,
    /// as Chrome.
    pub connect_timeout: Option<Nanos>,
}

impl Default for BrowserOptions {
    /// Chrome 120 with six connections per origin, no cookies, no time for parsing and painting, 30 s of patience.
    fn default() -> BrowserOptions {
        BrowserOptions {
            user_agent: CHROME_120.to_owned(),
            http2: true,
            connections: 6,
            cookies: Vec::new(),
            parse: Nanos::ZERO,
            render: Nanos::ZERO,
            timeout: Nanos::from_secs(30),
            close: ClosePolicy::AtStepEnd,
            habits: Habits::default(),
            proxy: None,
        }
    }
}

/// What a step pins about its first connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepPins {
    /// Source port.
    pub source_port: Option<u16>,
    /// Initial sequence number.
    pub isn: Option<u32>,
    /// Whether connections of this step ask for ECN; as the machine does when `None`.
    pub ecn: Option<bool>,
    /// Fields of the step's requests, in place of the browser's own: `Authorization`, an API key.
    pub fields: Vec<(String, String)>,
}

/// A machine's browser. Cheap to clone; clones are the same browser.
#[derive(Clone)]
pub struct Browser(Arc<Shared>);

/// What all requests of a browser share.
struct Shared {
    net: Net,
    options: BrowserOptions,
    pool: Arc<Pool>,
    state: Mutex<State>,
}

/// What a browser remembers.
struct State {
    /// Of the step: see [`StepPins::fields`].
    fields: Vec<(String, String)>,
    cookies: CookieJar,
    cache: HttpCache,
    names: SharedNameCache,
}

impl Browser {
    /// A browser on the machine of `net` that trusts the certificate authorities `roots`.
    ///
    /// # Errors
    /// When a root is not a certificate.
    pub fn new(
        net: &Net,
        options: BrowserOptions,
        roots: &[CertificateDer<'static>],
    ) -> Result<Browser, rustls::Error> {
        for root in roots {
            rustls::RootCertStore::empty().add(root.clone())?;
        }
        let via = options.proxy.clone().map(|proxy| Via { proxy, agent: options.user_agent.clone() });
        let trust = Trust { roots: roots.into(), http2: options.http2, via };
        let pool = Arc::new(Pool::new(net, trust, options.connections, &options.habits));
        let state = State {
            fields: Vec::new(),
            cookies: CookieJar::with(&options.cookies),
            cache: HttpCache::default(),
            names: shared_cache(),
        };
        Ok(Browser(Arc::new(Shared { net: net.clone(), options, pool, state: Mutex::new(state) })))
    }

    /// The forward proxy that it uses.
    #[must_use]
    pub fn proxy(&self) -> Option<&BrowserProxy> {
        self.0.options.proxy.as_ref()
    }

    /// The certificate authorities that it trusts.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        self.0.pool.roots()
    }

    /// Opens a page: the document, what it names, the drawing.
    pub async fn open(&self, url: &str, pins: StepPins) -> StepResult {
        self.0.step(pins, self.0.visit_page(url, false)).await
    }

    /// Opens a page again, and asks the server about it whatever the cache says (RFC 9111, 5.2.1.1: `max-age=0`).
    pub async fn reload(&self, url: &str, pins: StepPins) -> StepResult {
        self.0.step(pins, self.0.visit_page(url, true)).await
    }

    /// Posts JSON and reads the answer.
    pub async fn post(&self, url: &str, json: &str, pins: StepPins) -> StepResult {
        self.0.step(pins, self.0.post_json(url, json)).await
    }

    /// Asks a cache on the way to forget a URL, as `curl -X PURGE` does.
    pub async fn purge(&self, url: &str, pins: StepPins) -> StepResult {
        self.0.step(pins, self.0.purge_url(url)).await
    }

    /// [`Browser::purge`] as a step of the scenario.
    #[must_use]
    pub fn purge_step(&self, url: &str, pins: StepPins) -> StepFn {
        let (browser, url) = (self.clone(), url.to_owned());
        Box::new(move |_| Box::pin(async move { browser.purge(&url, pins).await }))
    }

    /// [`Browser::open`] as a step of the scenario.
    #[must_use]
    pub fn open_step(&self, url: &str, pins: StepPins) -> StepFn {
        let (browser, url) = (self.clone(), url.to_owned());
        Box::new(move |_| Box::pin(async move { browser.open(&url, pins).await }))
    }

    /// [`Browser::reload`] as a step of the scenario.
    #[must_use]
    pub fn reload_step(&self, url: &str, pins: StepPins) -> StepFn {
        let (browser, url) = (self.clone(), url.to_owned());
        Box::new(move |_| Box::pin(async move { browser.reload(&url, pins).await }))
    }

    /// [`Browser::post`] as a step of the scenario.
    #[must_use]
    pub fn post_step(&self, url: &str, json: &str, pins: StepPins) -> StepFn {
        let (browser, url, json) = (self.clone(), url.to_owned(), json.to_owned());
        Box::new(move |_| Box::pin(async move { browser.post(&url, &json, pins).await }))
    }
}

impl Shared {
    /// What stands around every step: its pins, and what is closed after it.
    async fn step(self: &Arc<Shared>, pins: StepPins, work: impl Future<Output = StepResult>) -> StepResult {
        self.state().fields.clone_from(&pins.fields);
        self.pool.pin(pins);
        if self.options.close == ClosePolicy::AtStepEnd {
            self.state().names = shared_cache();
        }
        let result = work.await;
        match self.options.close {
            ClosePolicy::AtStepEnd => self.pool.close(),
            ClosePolicy::AfterIdle(span) => self.pool.close_after(span),
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Civil time with nanoseconds, as the cache rules want it.
    fn civil_time(&self) -> std::time::SystemTime {
        let fraction = self.net.now().0 % 1_000_000_000;
        std::time::UNIX_EPOCH + std::time::Duration::new(self.net.unix_time(), fraction as u32)
    }
}
