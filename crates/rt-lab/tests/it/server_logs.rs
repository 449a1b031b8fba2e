//! Servers' own logs against the story and against the bytes: every request has its line with the same status, bytes and time, and
//! there is no line without a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rt_base::{NodeId, Time};
use rt_lab::model::App;
use rt_lab::story::{ConnectionStory, RequestStory, StepStory, UpstreamStory};
use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::read::{HttpExchange, HttpVersion, Secrets, SeenFrame, TcpConversation, read_node};

fn run(name: &str) -> (Scenario, Run) {
    let scenario = Scenario::load(name).unwrap();
    let run = scenario.run(RunOptions::new(1)).unwrap();
    (scenario, run)
}

/// A line of the combined format or of squid's, as far as it is compared.
#[derive(Clone, Debug)]
struct Logged {
    /// The end of the request, nanoseconds: the first and the last that the line can mean.
    at: (u64, u64),
    method: String,
    /// As in the request line, or the whole URL in squid's.
    target: String,
    status: u16,
    bytes: u64,
    line: String,
}

const SECOND: u64 = 1_000_000_000;
/// The balancer's own agent.
const HEALTH: &str = "\"roundtrip-health\"";

/// `203.0.113.2 - - [21/Nov/2026:00:00:01 +0000] "GET / HTTP/2.0" 200 1234 "-" "-"`; runs here begin and end on one day.
fn combined(line: &str, epoch: u64) -> Logged {
    let (head, rest) = line.split_once("] \"").unwrap();
    let clock = head.rsplit_once('[').unwrap().1.strip_suffix(" +0000").unwrap();
    let clock: Vec<u64> = clock.split(':').skip(1).map(|n| n.parse().unwrap()).collect();
    let second = clock[0] * 3_600 + clock[1] * 60 + clock[2] - epoch % 86_400;
    let (request, rest) = rest.split_once("\" ").unwrap();
    let [method, target, _] = request.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let mut numbers = rest.split(' ');
    Logged {
        at: (second * SECOND, (second + 1) * SECOND - 1),
        method: method.to_owned(),
        target: target.to_owned(),
        status: numbers.next().unwrap().parse().unwrap(),
        bytes: numbers.next().unwrap().parse().unwrap(),
        line: line.to_owned(),
    }
}

/// `1795219200.053     52 10.0.0.5 TCP_MISS/200 1270 GET http://shop.example/ - HIER_DIRECT/203.0.113.5 text/html`
fn squid(line: &str, epoch: u64) -> Logged {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (seconds, millis) = words[0].split_once('.').unwrap();
    let [seconds, millis] = [seconds, millis].map(|n| n.parse::<u64>().unwrap());
    let at = (seconds - epoch) * SECOND + millis * 1_000_000;
    Logged {
        at: (at, at + 999_999),
        status: words[3].split_once('/').unwrap().1.parse().unwrap(),
        bytes: words[4].parse().unwrap(),
        method: words[5].to_owned(),
        target: words[6].to_owned(),
        line: line.to_owned(),
    }
}

/// Lines that nobody has asked for yet, by machine.
struct Logs(BTreeMap<String, Vec<Logged>>);

/// What must be in a log.
#[derive(Debug)]
struct Wanted<'s> {
    method: &'s str,
    target: &'s str,
    status: u16,
    bytes: Option<u64>,
    /// No earlier and no later, nanoseconds.
    between: (u64, u64),
}

impl Logs {
    fn of(logs: &BTreeMap<String, String>, read: impl Fn(&str) -> Logged) -> Logs {
        Logs(logs.iter().map(|(node, text)| (node.clone(), text.lines().map(&read).collect())).collect())
    }

    /// Finds the line and takes it away.
    #[track_caller]
    fn take(&mut self, node: &str, wanted: &Wanted<'_>) {
        let lines = self.0.get_mut(node).unwrap_or_else(|| panic!("{node} has no log for {wanted:?}"));
        let fits = |l: &Logged| {
            (&*l.method, &*l.target, l.status) == (wanted.method, wanted.target, wanted.status)
                && wanted.bytes.is_none_or(|bytes| l.bytes == bytes)
                && l.at.0 <= wanted.between.1
                && l.at.1 >= wanted.between.0
        };
        let Some(found) = lines.iter().position(fits) else {
            let others = lines.iter().map(|l| &*l.line).filter(|l| !l.contains(HEALTH));
            panic!("{node}: no {wanted:#?} in {:#?}", others.collect::<Vec<_>>());
        };
        lines.remove(found);
    }

    /// What no request of the story has asked for.
    fn left(self) -> Vec<String> {
        self.0
            .into_iter()
            .flat_map(|(node, lines)| lines.into_iter().map(move |l| format!("{node}: {}", l.line)))
            .collect()
    }
}

fn path_of(url: &str) -> &str {
    url.splitn(4, '/').nth(3).map_or("/", |path| &url[url.len() - path.len() - 1..])
}

/// The machine that reads what comes over a connection.
fn server_of(conn: &ConnectionStory) -> &str {
    conn.relay.as_ref().map_or(&conn.server, |relay| &relay.chosen)
}

/// A machine that answered a request.
struct Hop<'s> {
    node: &'s str,
    /// As it was asked there.
    path: &'s str,
    status: u16,
    /// When it had the request.
    got: u64,
}

/// What a proxy asks for instead, if it rewrites paths.
fn rewritten<'s>(up: &'s UpstreamStory, path: &'s str) -> &'s str {
    let step = up.steps.iter().find(|step| step.code == "rewrite");
    step.and_then(|step| step.text.strip_prefix("asks for ")?.split(' ').next()).unwrap_or(path)
}

/// The machines that answered a request, from the client's side.
fn hops<'s>(step: &'s StepStory, request: &'s RequestStory) -> Vec<Hop<'s>> {
    // The browser makes 200 of a 304 and what it has kept.
    let mut status = if request.cache == "revalidated" { 304 } else { request.status };
    let mut path = path_of(&request.target);
    let Some(conn) = request.connection.map(|conn| &step.connections[conn as usize]) else {
        return Vec::new();
    };
    let mut next = request.upstream.as_ref();
    let mut hops = Vec::new();
    if next.is_none() {
        hops.push(Hop { node: server_of(conn), path, status, got: request.start_ns });
    }
    while let Some(up) = next {
        hops.push(Hop { node: &up.proxy, path, status, got: up.received_ns });
        (status, path) = (up.status, rewritten(up, path));
        if let Some(server) = &up.server_caller {
            hops.push(Hop { node: &server.node, path, status, got: up.server_got_ns });
        }
        next = up.next.as_deref();
    }
    hops
}

/// What was said to forward proxies to open tunnels: proxy, target, answer. The chapters tell the first one of a step, which may
/// have been refused; of the others there are the connections with a session inside.
fn tunnels(step: &StepStory, forward: &Logs) -> Vec<(String, String, u16)> {
    let lines = step.chapters.iter().flat_map(|chapter| &chapter.lines);
    let said = |code: &str, key: &str| -> Vec<String> {
        lines.clone().filter(|line| line.code == code).map(|line| line.data[key].clone()).collect()
    };
    let (targets, answers) = (said("tunnel.connect", "target"), said("tunnel.answer", "status"));
    let proxies = step.connections.iter().filter(|conn| forward.0.contains_key(&conn.server));
    let first = proxies.clone().next().map(|conn| conn.server.clone());
    let told = targets.iter().zip(answers);
    let mut all: Vec<(String, String, u16)> = told
        .map(|(target, status)| (first.clone().unwrap(), target.clone(), status.parse().unwrap()))
        .collect();
    let secure: Vec<&ConnectionStory> = proxies.filter(|conn| !conn.tls_version.is_empty()).collect();
    for conn in secure.iter().skip(all.len()) {
        all.push((conn.server.clone(), targets[0].clone(), 200));
    }
    all
}

/// Takes every request of the story from the logs. Says how many lines that were.
fn compare(run: &Run, web: &mut Logs, forward: &mut Logs) -> usize {
    let mut taken = 0;
    for step in &run.story().steps {
        for request in step.requests.iter().filter(|r| r.status != 0 && r.protocol.starts_with("HTTP")) {
            for Hop { node, path, status, got } in hops(step, request) {
                let (between, bytes) = ((got, request.end_ns), Some(request.transferred_bytes));
                let is_forward = forward.0.contains_key(node);
                let target = if is_forward { &*request.target } else { path };
                let logs = if is_forward { &mut *forward } else { &mut *web };
                logs.take(node, &Wanted { method: &request.method, target, status, bytes, between });
                taken += 1;
            }
        }
        for (node, target, status) in tunnels(step, forward) {
            // A tunnel's line comes when it is closed.
            let between = (step.start_ns, u64::MAX);
            forward.take(&node, &Wanted { method: "CONNECT", target: &target, status, bytes: None, between });
            taken += 1;
        }
    }
    taken
}

/// Every exchange that a machine served, read from the bytes at its end.
fn served(run: &Run, node: NodeId) -> Vec<(SocketAddr, HttpExchange)> {
    let trace = run.trace();
    let secrets = Secrets::from_lines(trace.secrets.iter().map(|s| s.line.as_str()));
    let seen = trace.frames_at(node).map(|c| SeenFrame {
        at: c.at,
        port: c.port,
        way: c.way,
        frame: c.frame,
        bytes: &c.bytes,
    });
    let here = |tcp: &TcpConversation| !tcp.outgoing;
    let exchanges = read_node(seen, &secrets).tcp.into_iter().filter(here);
    exchanges.flat_map(|tcp| tcp.http.into_iter().map(move |e| (tcp.client, e))).collect()
}

/// The line that nginx would write, but for the time.
fn expected(client: SocketAddr, exchange: &HttpExchange) -> (String, String) {
    let request = &exchange.request;
    let field = |name: &str| {
        let found = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map_or("-", |h| h.value.as_str()).to_owned()
    };
    let version = if exchange.version == HttpVersion::Http2 { "HTTP/2.0" } else { exchange.version.name() };
    let response = exchange.response.as_ref().unwrap();
    let rest = format!(
        "\"{} {} {version}\" {} {} \"{}\" \"{}\"",
        request.method,
        request.target,
        response.status,
        response.body.encoded_bytes,
        field("referer"),
        field("user-agent"),
    );
    (format!("{} - - [", client.ip()), rest)
}

/// Every web server and reverse proxy: as many lines as exchanges in the bytes, each with everything that nginx writes.
fn compare_with_bytes(scenario: &Scenario, run: &Run) -> usize {
    let (logs, epoch) = (run.web_logs(), scenario.model().epoch);
    let mut compared = 0;
    for (index, node) in scenario.model().nodes.iter().enumerate() {
        if !node.apps.iter().any(|app| matches!(app, App::HttpServer { .. } | App::Edge { .. })) {
            continue;
        }
        let mut lines: Vec<&str> = logs.get(&node.name).map_or(Vec::new(), |text| text.lines().collect());
        for (client, exchange) in served(run, NodeId(u32::try_from(index).unwrap())) {
            let Some(response) = &exchange.response else { continue };
            let (head, rest) = expected(client, &exchange);
            let end = response.body.span.map_or(response.head.readable.at, |body| body.readable.at);
            let fits = |line: &&str| {
                let (from, to) = combined(line, epoch).at;
                line.starts_with(&head)
                    && line.ends_with(&rest)
                    && Time(from) <= end
                    && Time(to) >= exchange.request.head.readable.at
            };
            let found = lines.iter().position(fits);
            lines.remove(found.unwrap_or_else(|| panic!("{}: no {head}..] {rest} in {lines:#?}", node.name)));
            compared += 1;
        }
        assert!(lines.is_empty(), "{}: nobody asked for {lines:#?}", node.name);
    }
    compared
}

#[test]
fn what_proxies_and_servers_wrote_is_what_the_story_tells() {
    let (scenario, run) = run("proxies");
    let epoch = scenario.model().epoch;
    let mut web = Logs::of(&run.web_logs(), |line| combined(line, epoch));
    let mut forward = Logs::of(&run.access_logs(), |line| squid(line, epoch));
    assert_eq!(forward.0.len(), 2, "{:?}", forward.0.keys());
    let taken = compare(&run, &mut web, &mut forward);
    assert!(taken > 30, "{taken} lines");
    assert_eq!((web.left(), forward.left()), (Vec::<String>::new(), Vec::new()));
    assert!(compare_with_bytes(&scenario, &run) > 20);
}

#[test]
fn what_balanced_servers_wrote_is_what_the_story_tells() {
    let (scenario, run) = run("load-balancers");
    let epoch = scenario.model().epoch;
    let mut web = Logs::of(&run.web_logs(), |line| combined(line, epoch));
    let taken = compare(&run, &mut web, &mut Logs(BTreeMap::new()));
    assert!(taken > 800, "{taken} lines: four hundred requests over two machines, and others");
    // The balancer asks for itself, every second: the story has no such requests, the bytes have.
    let (checks, others): (Vec<String>, Vec<String>) =
        web.left().into_iter().partition(|line| line.contains(HEALTH));
    assert_eq!(others, Vec::<String>::new());
    assert!(!checks.is_empty());
    assert_eq!(compare_with_bytes(&scenario, &run), taken + checks.len());
}
