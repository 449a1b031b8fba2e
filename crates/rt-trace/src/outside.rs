//! What real programs did on machines that they played, and through ports that are published to them, read from the bytes and told as one of our own applications would
//! have said it: look-ups, requests, pings. So the story needs no second way of being told.
//!
//! What bytes cannot show stays untold: caches, why something is tried again, whether a certificate was believed.
//! Deliberate simplifications: a look-up belongs to the first request after it that opens a connection to the name it asked
//! for; what is sealed and for which there is no key log is a connection without requests.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rt_base::{AppRecord, Event, EventId, NodeId, OPENED_OUTSIDE, ReqId, ReqKind, Time, What};

use crate::Trace;
use crate::read::{
    DnsExchange, DnsOutcome, HttpExchange, IcmpExchange, Mark, NodeExchanges, Secrets, SeenFrame,
    TcpConversation, read_node,
};

/// Adds to the events of a finished run what the real programs in it did. A run without any stays as it is.
pub fn read(trace: &mut Trace) {
    let mut ours: BTreeMap<NodeId, Ours> = played(trace);
    for (node, carried) in carried(trace) {
        ours.entry(node).or_insert(carried);
    }
    if ours.is_empty() {
        return;
    }
    let secrets = Secrets::from_lines(trace.secrets.iter().map(|s| s.line.as_str()));
    let mut told = Vec::new();
    for (node, ours) in ours {
        // What the machine's own applications did before is told by themselves.
        let frames = trace.frames_at(node).filter(|c| c.at >= ours.since).map(|c| SeenFrame {
            at: c.at,
            port: c.port,
            way: c.way,
            frame: c.frame,
            bytes: &c.bytes,
        });
        let exchanges = read_node(frames, &secrets);
        let own = trace.said().filter(|(e, _)| e.node() == node).filter_map(|(_, r)| match r {
            AppRecord::RequestBegin { req, .. } => Some(req.0),
            _ => None,
        });
        let requests = own.max().unwrap_or(0);
        let teller = Teller { trace, node, over: ours.over, told: Vec::new(), requests };
        told.extend(teller.tell(&exchanges, ours.only.as_deref()));
    }
    told.sort_by_key(|event| event.at);
    merge(&mut trace.events, told);
    trace.reindex();
}

/// What of a machine's traffic is a real program's.
struct Ours {
    since: Time,
    /// When the last program there was over.
    over: Time,
    /// For a machine that is not played: the connections made for programs outside.
    only: Option<Vec<SocketAddr>>,
}

/// Machines at which connections of programs outside begin.
fn carried(trace: &Trace) -> BTreeMap<NodeId, Ours> {
    let mut carried: BTreeMap<NodeId, Ours> = BTreeMap::new();
    let new = || Ours { since: Time::ZERO, over: trace.end(), only: Some(Vec::new()) };
    for (event, record) in trace.said() {
        let AppRecord::Note { code, text, .. } = record else { continue };
        let local = text.rsplit_once(' ').and_then(|(_, address)| address.parse().ok());
        if let (OPENED_OUTSIDE, Some(local)) = (code.as_str(), local) {
            let ours = carried.entry(event.node()).or_insert_with(new);
            ours.only.get_or_insert_default().push(local);
        }
    }
    carried
}

/// Machines that real programs played, since when, and when the last program there was over.
fn played(trace: &Trace) -> BTreeMap<NodeId, Ours> {
    let nodes = (0..trace.map.nodes.len()).filter_map(|n| u32::try_from(n).ok()).map(NodeId);
    let since = nodes.filter_map(|n| Some((n, trace.played_since(n)?)));
    let mut played: BTreeMap<NodeId, Ours> =
        since.map(|(n, since)| (n, Ours { since, over: Time::MAX, only: None })).collect();
    for (event, record) in trace.said() {
        if let (Some(ours), AppRecord::StepEnd { .. }) = (played.get_mut(&event.node()), record) {
            ours.over = event.at;
        }
    }
    let end = trace.end();
    played.values_mut().for_each(|ours| ours.over = ours.over.min(end));
    played
}

/// Puts events between others by their times, after those of the same instant.
fn merge(events: &mut Vec<Event>, more: Vec<Event>) {
    let mut merged = Vec::with_capacity(events.len() + more.len());
    let mut more = more.into_iter().peekable();
    for event in events.drain(..) {
        while let Some(first) = more.next_if(|m| m.at < event.at) {
            merged.push(first);
        }
        merged.push(event);
    }
    merged.extend(more);
    *events = merged;
}

/// Tells of one machine.
struct Teller<'t> {
    trace: &'t Trace,
    node: NodeId,
    /// What has no end of its own ended here.
    over: Time,
    told: Vec<(Mark, AppRecord)>,
    requests: u32,
}

/// A look-up, until it is known whose it is.
struct Lookup<'e> {
    exchange: &'e DnsExchange,
    begin: Mark,
    parent: ReqId,
}

impl Teller<'_> {
    /// Of everything, or `only` of connections from these addresses.
    fn tell(mut self, exchanges: &NodeExchanges, only: Option<&[SocketAddr]>) -> Vec<Event> {
        let all = only.is_none();
        let mut lookups = if all { lookups(exchanges) } else { Vec::new() };
        let is_ours = |c: &&TcpConversation| c.outgoing && only.is_none_or(|only| only.contains(&c.client));
        for conversation in exchanges.tcp.iter().filter(is_ours) {
            for (index, exchange) in conversation.http.iter().enumerate() {
                self.request(conversation, exchange, index > 0, &mut lookups);
            }
        }
        for lookup in &lookups {
            self.lookup(lookup);
        }
        if all {
            self.pings(&exchanges.echo);
        }
        self.told.sort_by_key(|(mark, _)| mark.at);
        let first = self.trace.events_at(self.node).map(|e| e.id.counter()).max().unwrap_or(0) + 1;
        let event = |(counter, (mark, record)): (u64, (Mark, AppRecord))| Event {
            id: EventId::new(self.node, counter),
            because: cause(self.trace, self.node, mark),
            at: mark.at,
            frame: rt_base::FrameId::NONE,
            what: What::App(Box::new(record)),
        };
        (first..).zip(std::mem::take(&mut self.told)).map(event).collect()
    }

    fn say(&mut self, mark: Mark, record: AppRecord) {
        self.told.push((mark, record));
    }

    fn new_request(&mut self) -> ReqId {
        self.requests += 1;
        ReqId(self.requests)
    }

    fn no_end(&self) -> Mark {
        Mark { at: self.over, ..Mark::default() }
    }

    fn request(
        &mut self,
        conversation: &TcpConversation,
        exchange: &HttpExchange,
        reused: bool,
        lookups: &mut [Lookup<'_>],
    ) {
        let req = self.new_request();
        let target = exchange.url(conversation.tls.is_some());
        let opened = conversation.syn.as_ref().map(|s| s.mark).filter(|_| !reused);
        let mut begin = opened.unwrap_or(exchange.request.head.first);
        if let (Some(opened), Some(host)) = (opened, host_of(&target)) {
            for lookup in lookups.iter_mut().filter(|l| l.parent == ReqId(0)) {
                if lookup.begin.at <= opened.at && lookup.asks_for(host) {
                    lookup.parent = req;
                    begin = begin.min(lookup.begin);
                }
            }
        }
        let (kind, parent, method) = (ReqKind::Page, ReqId(0), exchange.request.method.clone());
        self.say(begin, AppRecord::RequestBegin { req, parent, kind, method, target });
        let (local, remote) = (conversation.client, conversation.server);
        let protocol = exchange.version.name().to_lowercase();
        let used = opened.unwrap_or(exchange.request.head.first);
        self.say(used, AppRecord::UsesConnection { req, local, remote, reused, protocol });
        let end = match &exchange.response {
            Some(response) => {
                let done = response
                    .body
                    .span
                    .map_or(response.head.readable, |b| b.readable.max(response.head.readable));
                let (status, body_bytes) = (response.status, response.body.decoded_bytes);
                let note = if response.complete { "" } else { "the answer was cut off" };
                let ok = status < 400 && response.complete;
                (done, AppRecord::RequestEnd { req, status, ok, body_bytes, note: note.into() })
            }
            None => {
                let note = "no answer came".into();
                (self.no_end(), AppRecord::RequestEnd { req, status: 0, ok: false, body_bytes: 0, note })
            }
        };
        self.say(end.0, end.1);
    }

    fn lookup(&mut self, lookup: &Lookup<'_>) {
        let Lookup { exchange, begin, parent } = *lookup;
        let Some(question) = exchange.questions.first() else { return };
        let req = self.new_request();
        let (method, target) = (question.rtype.clone(), question.name.clone());
        self.say(begin, AppRecord::RequestBegin { req, parent, kind: ReqKind::Lookup, method, target });
        let (local, remote) = (exchange.client, exchange.server);
        self.say(
            begin,
            AppRecord::UsesConnection { req, local, remote, reused: false, protocol: "dns".into() },
        );
        let (end, status, ok, note) = match &exchange.answer {
            Some(answer) => {
                let note = match answer.outcome {
                    DnsOutcome::NxDomain => "there is no such name".to_string(),
                    DnsOutcome::NoData => "the name has no record of that type".to_string(),
                    DnsOutcome::Referral => "this server says whom to ask instead".to_string(),
                    DnsOutcome::Failure => format!("the resolver could not say ({})", answer.rcode_name),
                    _ => String::new(),
                };
                let ok = answer.outcome == DnsOutcome::Answer;
                (answer.span.last, u16::from(answer.rcode), ok, note)
            }
            None => (self.no_end(), 0, false, "nobody answered".to_string()),
        };
        self.say(end, AppRecord::RequestEnd { req, status, ok, body_bytes: 0, note });
    }

    /// Echo requests, those of one program (it chooses the id) to one target together.
    fn pings(&mut self, echoes: &[IcmpExchange]) {
        let mut of: BTreeMap<(IpAddr, u16), Vec<&IcmpExchange>> = BTreeMap::new();
        for echo in echoes.iter().filter(|e| e.outgoing) {
            of.entry((echo.server, echo.id)).or_default().push(echo);
        }
        for ((server, _), echoes) in of {
            let Some(first) = echoes.first() else { continue };
            let req = self.new_request();
            let (kind, parent, method) = (ReqKind::Probe, ReqId(0), "ping".to_string());
            let target = server.to_string();
            self.say(first.request, AppRecord::RequestBegin { req, parent, kind, method, target });
            let answered = echoes.iter().filter(|e| e.reply.is_some()).count();
            let last = echoes.iter().filter_map(|e| e.reply).max().unwrap_or_else(|| self.no_end());
            let note = format!("{answered} of {} came back", echoes.len());
            let ok = answered > 0;
            self.say(last, AppRecord::RequestEnd { req, status: 0, ok, body_bytes: 0, note });
        }
    }
}

impl Lookup<'_> {
    fn asks_for(&self, host: &str) -> bool {
        let name = self.exchange.questions.first().map_or("", |q| q.name.as_str());
        name.eq_ignore_ascii_case(host.trim_end_matches('.'))
    }
}

/// Questions that this machine asked, over UDP and TCP, in order.
fn lookups<'e>(exchanges: &'e NodeExchanges) -> Vec<Lookup<'e>> {
    let udp = exchanges.udp.iter().flat_map(|u| &u.dns);
    let all = udp.chain(exchanges.tcp.iter().flat_map(|t| &t.dns)).filter(|e| e.outgoing);
    let lookup = |exchange| Lookup { exchange, begin: Mark::default(), parent: ReqId(0) };
    let begun = |l: Lookup<'e>| Some(Lookup { begin: l.exchange.query?.first, ..l });
    let mut all: Vec<Lookup<'e>> = all.map(lookup).filter_map(begun).collect();
    all.sort_by_key(|l| l.begin);
    all
}

/// The host of a URL, when it is a name.
fn host_of(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.parse::<IpAddr>().is_err().then_some(host)
}

/// The input by which the bytes at this mark passed the machine.
fn cause(trace: &Trace, node: NodeId, mark: Mark) -> EventId {
    let seen = trace.sightings(mark.frame).find(|c| c.node == node).map(|c| c.event);
    let carried = seen.and_then(|event| trace.event(event));
    match carried {
        Some(event) if event.node() == node => event.because,
        Some(event) => event.id,
        None => EventId::NONE,
    }
}
