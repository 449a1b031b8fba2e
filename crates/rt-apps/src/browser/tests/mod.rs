//! Browser, balancer and servers together on one machine, over its loopback interface: the whole way of a page.

mod hostile;
mod sites;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rt_base::{
    AppRecord, CacheKind, CacheOutcome, EventId, Input, Nanos, NodeId, Outbox, ReqId, SendWhy, Signal,
    TcpPhase, Time, What,
};
use rt_rules::Spread;
use rt_stack::{Stack, StackConfig};

use super::{Browser, BrowserOptions, ClosePolicy, StepPins};
use crate::dns::ResolverConfig;
use crate::proxy::{Edge, Upstream};
use crate::server::{PageSet, WebServer};
use crate::tls::{Authority, CertificateSpec, SignedBy};
use crate::{Net, Runtime, StepFn};

const EPOCH: u64 = 1_795_219_200;

/// What a test changes about the world.
#[derive(Clone)]
struct Setup {
    seed: u64,
    browser: BrowserOptions,
    server_h2: bool,
    signed_by: SignedBy,
    not_after: u64,
    pages: &'static str,
    silent: bool,
    /// Servers behind the balancer that listen; three are configured.
    alive: usize,
    spread: Spread,
}

impl Default for Setup {
    fn default() -> Setup {
        let cookies = vec![("google.com".to_owned(), "NID".to_owned(), "123".to_owned())];
        let (parse, render) = (Nanos::from_millis(5), Nanos::from_millis(14));
        Setup {
            seed: 1,
            browser: BrowserOptions { cookies, parse, render, ..BrowserOptions::default() },
            server_h2: true,
            signed_by: SignedBy::PublicCa,
            not_after: EPOCH + 90 * 86_400,
            pages: "google-home",
            silent: false,
            alive: 3,
            spread: Spread::RoundRobin,
        }
    }
}

/// One machine that runs everything.
struct World {
    runtime: Runtime,
    out: Outbox,
    now: Time,
    wish: Time,
    counters: (u64, u64),
    /// All that was said, with the time.
    said: Vec<(Time, AppRecord)>,
    /// RST segments sent, and connections that both sides have closed with FIN.
    resets: usize,
    closed: usize,
    done: Vec<(bool, String)>,
}

impl World {
    fn new(setup: &Setup) -> (World, Browser) {
        let stack = Stack::new(StackConfig::default(), setup.seed, "box");
        let runtime = Runtime::new(stack, setup.seed, "box", EPOCH);
        let net = runtime.net();
        let local = "127.0.0.1".parse().unwrap();
        let hosts = ["google.com", "wrong.example"].map(|name| (name.to_owned(), local)).to_vec();
        net.set_resolver(ResolverConfig { hosts, ..ResolverConfig::default() });
        let authority = Authority::new(setup.seed, EPOCH).unwrap();
        start_servers(&net, setup, &authority);
        let roots = [authority.root().clone()];
        let browser = Browser::new(&net, setup.browser.clone(), &roots).unwrap();
        let mut world = World {
            runtime,
            out: Outbox::new(true),
            now: Time::ZERO,
            wish: Time::MAX,
            counters: (0, 0),
            said: Vec::new(),
            resets: 0,
            closed: 0,
            done: Vec::new(),
        };
        world.handle(Input::Boot);
        (world, browser)
    }

    /// Runs a step and all that follows for a minute.
    fn step(&mut self, run: StepFn) -> (bool, String) {
        let index = self.done.len() as u32;
        self.runtime.set_step(index, format!("step {index}"), run);
        self.handle(Input::Command { step: index });
        let end = self.now + Nanos::from_secs(60);
        while self.wish <= end {
            self.now = self.wish;
            self.wish = Time::MAX;
            self.handle(Input::Timer);
        }
        self.done.get(index as usize).cloned().expect("the step ends within a minute")
    }

    fn handle(&mut self, input: Input) {
        self.out.begin(NodeId(0), self.now, EventId::NONE, self.counters);
        self.out.wake = None;
        self.runtime.handle(self.now, input, &mut self.out);
        self.counters = self.out.counters();
        self.wish = self.out.wake.unwrap_or(self.wish);
        assert!(self.out.frames.is_empty(), "nothing leaves the machine");
        for event in self.out.events.drain(..) {
            match event.what {
                What::App(record) => self.said.push((event.at, *record)),
                What::TcpSend(segment) if segment.why == SendWhy::Reset => self.resets += 1,
                What::TcpState { to: TcpPhase::TimeWait, .. } => self.closed += 1,
                _ => {}
            }
        }
        for signal in self.out.signals.drain(..) {
            if let Signal::StepDone { ok, summary, .. } = signal {
                self.done.push((ok, summary));
            }
        }
    }

    fn said(&self) -> impl Iterator<Item = &AppRecord> {
        self.said.iter().map(|(_, record)| record)
    }

    /// What was said since the beginning, as lines without secrets.
    fn story(&self) -> String {
        let lines = self.said.iter().filter(|(_, record)| !matches!(record, AppRecord::Secret { .. }));
        let lines: Vec<_> = lines.map(|(at, record)| format!("{at} {}", line(record))).collect();
        lines.join("\n")
    }
}

fn start_servers(net: &Net, setup: &Setup, authority: &Authority) {
    let upstreams: Vec<Upstream> = (0..3u16)
        .map(|n| Upstream {
            name: format!("server-{n}"),
            address: SocketAddr::from(([127, 0, 0, 1], 8080 + n)),
        })
        .collect();
    for upstream in upstreams.iter().take(setup.alive) {
        let server = WebServer {
            think: Nanos::from_millis(20),
            silent: setup.silent,
            ..WebServer::new(upstream.address.port(), PageSet::built_in(setup.pages).unwrap())
        };
        drop(net.spawn(server.run(net.clone())));
    }
    let identity = authority.issue(&CertificateSpec {
        names: vec!["google.com".into()],
        not_before: EPOCH - 86_400 * 30,
        not_after: setup.not_after,
        signed_by: setup.signed_by,
    });
    let mut edge = Edge {
        identities: vec![identity.unwrap()],
        http2: setup.server_h2,
        think: Nanos::from_micros(100),
        ..Edge::new(443, upstreams.clone())
    };
    edge.pools[0].spread = setup.spread;
    edge.pools[0].rules.timeout = Nanos::from_secs(10);
    edge.pools[0].rules.connect_timeout = Nanos::from_secs(10);
    drop(net.spawn(edge.clone().run(net.clone())));
    drop(net.spawn(Edge { port: 80, identities: Vec::new(), ..edge }.run(net.clone())));
}

/// A record in a few words.
fn line(record: &AppRecord) -> String {
    match record {
        AppRecord::RequestBegin { req, parent, method, target, .. } => {
            format!("#{} (of #{}) {method} {target}", req.0, parent.0)
        }
        AppRecord::RequestEnd { req, status, ok, body_bytes, note } => {
            format!("#{} end {status} ok={ok} {body_bytes} B: {note}", req.0)
        }
        AppRecord::Cache { req, cache, key, outcome, note } => {
            format!("#{} {cache:?} {key}: {outcome:?} {note}", req.0)
        }
        AppRecord::UsesConnection { req, local, remote, reused, protocol } => {
            format!("#{} uses {} -> {} {protocol} reused={reused}", req.0, local.port(), remote.port())
        }
        AppRecord::ChoseUpstream { req, downstream_ordinal, chosen, policy, .. } => {
            format!("#{} for request {downstream_ordinal} of the client chose {chosen} ({policy})", req.0)
        }
        AppRecord::CertificateChecked { req, name, ok, note, .. } => {
            format!("#{} certificate of {name}: {ok}, {note}", req.0)
        }
        AppRecord::Rendered { req, resources, from_cache } => {
            format!("#{} rendered {resources}, {from_cache} from cache", req.0)
        }
        AppRecord::Retry { req, attempt, why } => format!("#{} attempt {attempt}: {why}", req.0),
        AppRecord::Note { req, code, text } => format!("#{} {code}: {text}", req.0),
        other => format!("{other:?}"),
    }
}

fn open(url: &str, browser: &Browser) -> StepFn {
    browser.open_step(url, StepPins::default())
}

#[test]
fn a_page_then_the_same_page_again() {
    let (mut world, browser) = World::new(&Setup::default());
    let first = world.step(open("https://google.com/", &browser));
    let second = world.step(open("https://google.com/", &browser));
    insta::assert_snapshot!("page_twice", format!("{}\n\n{}\n{}", world.story(), first.1, second.1));
    assert!(first.0 && second.0);
    // One connection of the browser per step, all of the balancer's: closed by FIN both ways, never by RST.
    assert_eq!((world.resets, world.closed, world.runtime.open_connections()), (0, 2 + 6, 0));
}

#[test]
fn where_h2_is_refused_connections_are_parallel() {
    let (mut world, browser) = World::new(&Setup { server_h2: false, ..Setup::default() });
    let (ok, summary) = world.step(open("https://google.com/", &browser));
    assert!(ok, "{summary}");
    let mut uses = BTreeMap::new();
    for record in world.said() {
        if let AppRecord::UsesConnection { local, remote, .. } = record
            && remote.port() == 443
        {
            *uses.entry(local.port()).or_insert(0) += 1;
        }
    }
    // The page's connection serves the first resource as well, three more are opened for the others.
    assert_eq!(uses.into_values().collect::<Vec<_>>(), [2, 1, 1, 1]);
    assert_eq!(summary, "200 HTTP/1.1, 73.4 kB in 5 resources");
}

#[test]
fn one_seed_one_record() {
    let run = |seed| {
        let (mut world, browser) = World::new(&Setup { seed, ..Setup::default() });
        world.step(open("https://google.com/", &browser));
        world.said
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first, again);
    assert_ne!(first, other, "other secrets");
    assert_eq!(first.len(), other.len(), "the same story");
}

/// What a step ends with.
#[track_caller]
fn ends(setup: &Setup, url: &str, expected: &str) {
    let (mut world, browser) = World::new(setup);
    let (_, summary) = world.step(open(url, &browser));
    assert_eq!(summary, expected, "{}", world.story());
    assert_eq!(world.runtime.open_connections(), 0, "{}", world.story());
}

#[test]
fn failures_are_told_precisely() {
    let good = Setup::default();
    let expired = Setup { not_after: EPOCH - 86_400, ..good.clone() };
    ends(
        &expired,
        "google.com",
        "tls.expired: google.com: the certificate expired on Fri, 20 Nov 2026 00:00:00 GMT, and it is \
         Sat, 21 Nov 2026 00:00:00 GMT now",
    );
    ends(
        &Setup { signed_by: SignedBy::UnknownCa, ..good.clone() },
        "google.com",
        "tls.unknown_issuer: google.com: no chain leads to a root in the trust store",
    );
    ends(
        &good,
        "wrong.example",
        "tls.wrong_name: wrong.example: the certificate is for google.com, not for wrong.example",
    );
    ends(
        &good,
        "https://google.com:444/",
        "tcp.refused: 127.0.0.1:444 refused the connection (RST): nothing listens there",
    );
    ends(&good, "http://unknown.example/", "dns.no_servers: unknown.example: no resolver is known");
    ends(&good, "gopher://google.com/", "url.invalid: this browser speaks http and https, not gopher");
    ends(&good, "http://google.com/nowhere", "404 HTTP/1.1, 184 B");
    ends(
        &Setup { silent: true, ..good.clone() },
        "http://google.com:8080/",
        "http.timeout: google.com: the response did not come within 30.000 s",
    );
    ends(&Setup { silent: true, ..good.clone() }, "http://google.com/", "504 HTTP/1.1, 191 B");
    ends(&Setup { alive: 0, ..good.clone() }, "http://google.com/", "502 HTTP/1.1, 271 B");
}

#[test]
fn a_dead_upstream_is_left_out_with_a_reason() {
    let (mut world, browser) = World::new(&Setup { alive: 1, ..Setup::default() });
    for _ in 0..2 {
        let (ok, summary) = world.step(open("http://google.com/images/logo.png", &browser));
        assert!(ok, "{summary}");
    }
    let (mut world, browser) = World::new(&Setup { alive: 1, ..Setup::default() });
    let (ok, summary) = world.step(open("http://google.com/", &browser));
    assert!(ok, "{summary}");
    let retries = world.said().filter(|record| matches!(record, AppRecord::Retry { .. })).count();
    assert!(retries >= 2, "{}", world.story());
}

#[test]
fn json_is_posted_and_the_answer_read() {
    let (mut world, browser) = World::new(&Setup::default());
    let post = |json: &str| browser.post_step("https://google.com/api/orders", json, StepPins::default());
    let (ok, summary) = world.step(post(r#"{ "name": "cup", "count": 2 }"#));
    assert_eq!((ok, summary.as_str()), (true, "200 HTTP/2, 136 B"), "{}", world.story());
    assert_eq!(
        world.runtime.step_result(0).unwrap().lines,
        [concat!(
            r#"{"ok":true,"path":"/api/orders","understood":{"type":"object","bytes":24,"fields":["name","count"]},"#,
            r#""received":{"name":"cup","count":2}}"#
        )]
    );
    let (ok, summary) = world.step(post("{ \"name\": "));
    assert!(!ok && summary.starts_with("json.invalid: EOF while parsing"), "{summary}");
}

#[test]
fn cookies_are_kept_and_sent_back() {
    let (mut world, browser) = World::new(&Setup { pages: "shop", ..Setup::default() });
    world.step(open("https://google.com/", &browser));
    world.step(open("https://google.com/cup", &browser));
    let cookies: Vec<_> = world
        .said()
        .filter_map(|record| match record {
            AppRecord::Cache { req, cache: CacheKind::Cookies, note, outcome, .. }
                if req.0 == 1 || req.0 > 15 =>
            {
                Some((matches!(outcome, CacheOutcome::Stored { .. }), note.as_str()))
            }
            _ => None,
        })
        .collect();
    assert!(cookies.contains(&(true, "session")), "{cookies:?}");
    assert!(cookies.contains(&(false, "NID=123; session=6f1d9a")), "{cookies:?}");
}

#[test]
fn an_open_browser_reuses_its_connection_until_it_was_idle_for_long() {
    let close = ClosePolicy::AfterIdle(Nanos::from_secs(90));
    let browser = BrowserOptions { close, ..Setup::default().browser };
    let (mut world, browser) = World::new(&Setup { browser, ..Setup::default() });
    let reused = |world: &World| {
        let uses = world.said().filter_map(|record| match record {
            AppRecord::UsesConnection { req: ReqId(1..), remote, reused, .. } if remote.port() == 443 => {
                Some(*reused)
            }
            _ => None,
        });
        uses.filter(|reused| !reused).count()
    };
    for expected in [1, 1, 2] {
        world.step(open("https://google.com/", &browser));
        assert_eq!(reused(&world), expected);
        if expected == 1 && world.done.len() == 2 {
            world.now += Nanos::from_secs(100);
            world.handle(Input::Timer);
        }
    }
}
