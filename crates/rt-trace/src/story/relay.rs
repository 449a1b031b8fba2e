//! Machines that take a client's connection and go on over one of their own without reading what passes: which server was chosen
//! and why, what the server sees of the client, what that costs in time, what becomes of segments.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rt_base::{AppRecord, Event, NodeId, Time, What};

use super::http::{Place, exchange_of, packets_of};
use super::model::{Field, Line, RelayStory};
use super::view::{Asking, Conn, End, Used, View};
use super::{connect, words};
use crate::read::{HttpExchange, TcpConversation};

/// Relays in a row that are followed at most: a circle of them has no end.
const MOST: usize = 16;

/// What a machine said about a client's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay<'t> {
    pub(crate) event: &'t Event,
    record: &'t AppRecord,
    /// Its own connection.
    pub(crate) behind: Option<usize>,
}

/// Every connection that was relayed, by its position.
pub(crate) fn all<'t>(view: &View<'t>) -> BTreeMap<usize, Relay<'t>> {
    let mut all = BTreeMap::new();
    let mut ends: BTreeMap<(NodeId, SocketAddr), Vec<usize>> = BTreeMap::new();
    let said = view.trace.said().filter(|(_, record)| matches!(record, AppRecord::Balanced { .. }));
    for (event, record) in said {
        let AppRecord::Balanced { downstream, upstream, address, .. } = record else { continue };
        if ends.is_empty() {
            ends = server_ends(view);
        }
        let opened =
            |i: &usize| view.tcp(view.conns[*i].client).syn.as_ref().map_or(Time::ZERO, |s| s.mark.at);
        let of = ends.get(&(event.node(), *downstream)).map(Vec::as_slice).unwrap_or_default();
        let Some(conn) = of.iter().copied().filter(|i| opened(i) <= event.at).max_by_key(opened) else {
            continue;
        };
        let behind = upstream.and_then(|local| {
            let used = Used { at: event.at, local, remote: *address, reused: false, protocol: "tcp" };
            view.conn_used(event.node(), &used)
        });
        all.insert(conn, Relay { event, record, behind });
    }
    all
}

fn server_ends(view: &View<'_>) -> BTreeMap<(NodeId, SocketAddr), Vec<usize>> {
    let mut ends: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (number, conn) in view.conns.iter().enumerate() {
        let Some(end) = conn.server else { continue };
        ends.entry((end.node, view.tcp(end).client)).or_default().push(number);
    }
    ends
}

/// Where the exchange at `place` went on, if its far end is such a machine.
pub(crate) fn behind(view: &View<'_>, place: Place) -> Option<Place> {
    let relay = view.relays.get(&place.conn)?;
    let conn = relay.behind?;
    let (_, asked) = exchange_of(view, place);
    let exchange = view.index.end(view, view.conns[conn].client).exchange(asked)?;
    Some(Place { conn, exchange, reused: place.reused || relay.warm() })
}

/// The places that an exchange passed, from `place` on: the last one ends where it is read.
pub(crate) fn way(view: &View<'_>, place: Place) -> Vec<Place> {
    let next = |at: &Place| behind(view, *at);
    std::iter::successors(Some(place), next).take(MOST).collect()
}

/// The exchange as the machine sees it that reads it.
pub(crate) fn at_server<'v>(view: &'v View<'_>, place: Place) -> Option<(End, &'v HttpExchange)> {
    let last = *way(view, place).last()?;
    view.exchange_at_server(last.conn, exchange_of(view, last).1)
}

/// A connection and those that carry it on.
fn chain<'v, 't>(view: &'v View<'t>, conn: usize) -> Vec<(usize, &'v Relay<'t>)> {
    let mut all = Vec::new();
    let mut at = Some(conn);
    while let Some((conn, relay)) = at.and_then(|conn| Some((conn, view.relays.get(&conn)?))) {
        all.push((conn, relay));
        at = relay.behind.filter(|_| all.len() < MOST);
    }
    all
}

/// With the connections that carry these on.
pub(crate) fn with_behind(view: &View<'_>, conns: &[usize]) -> Vec<usize> {
    let behind = |&conn: &usize| chain(view, conn).into_iter().filter_map(|(_, relay)| relay.behind);
    let mut all: Vec<usize> = conns.iter().copied().chain(conns.iter().flat_map(behind)).collect();
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|conn| seen.insert(*conn));
    all
}

/// Whether what the machine at the other end of `conns` opened as number `c` has to do with them. A balancer's checks, and what
/// it opens for others, have not.
pub(crate) fn concerns(view: &View<'_>, conns: &[usize], c: usize) -> bool {
    let node = view.conns[c].client.node;
    let asking = view.asking.get(&node);
    if asking.is_some_and(|asking| asked_for(view, asking, conns, c)) {
        return true;
    }
    let own = |relay: &&Relay<'_>| relay.event.node() == node;
    if !view.relays.values().any(|relay| own(&relay)) {
        return asking.is_none();
    }
    let tcp = view.tcp(view.conns[c].client);
    let syn = tcp.syn.as_ref().map_or(Time::MAX, |s| s.mark.at);
    conns.iter().any(|conn| {
        let Some(relay) = view.relays.get(conn).filter(own) else { return false };
        let opened = view.tcp(view.conns[*conn].client).syn.as_ref().map_or(Time::ZERO, |s| s.mark.at);
        let tried = tcp.established.is_none() && syn >= opened && syn <= relay.event.at;
        relay.behind == Some(c) || tried
    })
}

/// Whether a proxy opened number `c` for a request that came over one of `conns`, or sent one over it.
fn asked_for(view: &View<'_>, asking: &[Asking], conns: &[usize], c: usize) -> bool {
    let tcp = view.tcp(view.conns[c].client);
    let syn = tcp.syn.as_ref().map_or(Time::MAX, |s| s.mark.at);
    let clients: Vec<SocketAddr> =
        conns.iter().filter_map(|conn| Some(view.tcp(view.conns[*conn].server?).client)).collect();
    asking.iter().any(|one| {
        let went = one.local == Some(tcp.client);
        let tried = tcp.established.is_none() && syn >= one.from && syn <= one.to;
        one.upstream == tcp.server && clients.contains(&one.client) && (went || tried)
    })
}

impl Relay<'_> {
    fn warm(&self) -> bool {
        matches!(self.record, AppRecord::Balanced { warm: true, .. })
    }

    fn story(&self, view: &View<'_>) -> Option<RelayStory> {
        let AppRecord::Balanced { chosen, address, policy, candidates, warm, .. } = self.record else {
            return None;
        };
        Some(RelayStory {
            balancer: view.name(self.event.node()),
            chosen: chosen.clone(),
            address: address.to_string(),
            policy: policy.clone(),
            candidates: candidates.iter().map(|c| Field::new(&c.name, &c.note)).collect(),
            warm: *warm,
            behind: self.behind.and_then(|b| u32::try_from(b + 1).ok()),
            server: String::new(),
        })
    }
}

/// What became of a connection at its far end.
pub(crate) fn story(view: &View<'_>, conn: usize) -> Option<RelayStory> {
    let mut story = view.relays.get(&conn)?.story(view)?;
    if let Some((_, last)) = chain(view, conn).last()
        && let AppRecord::Balanced { chosen, .. } = last.record
    {
        story.server.clone_from(chosen);
    }
    Some(story)
}

/// How a balancer spread these connections over its servers, when there are several: one line for each balancer.
pub(crate) fn spread(view: &View<'_>, conns: &[usize]) -> Vec<Line> {
    let mut all: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for relay in conns.iter().filter_map(|conn| view.relays.get(conn)?.story(view)) {
        let servers = all.entry(relay.balancer).or_default();
        for candidate in relay.candidates {
            servers.entry(candidate.name).or_default();
        }
        if !relay.chosen.is_empty() {
            *servers.entry(relay.chosen).or_default() += 1;
        }
    }
    let line = |(balancer, servers): (String, BTreeMap<String, u64>)| {
        let told: Vec<String> = servers.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let sum: u64 = servers.values().sum();
        let text = format!("of {}: {}", words::count(sum, "connection"), words::list(&told));
        (sum > 1).then(|| {
            Line::new("relay.spread", balancer, format!("spreads them; {text}")).with("connections", sum)
        })
    };
    all.into_iter().filter_map(line).collect()
}

/// Lines of "connect": who was chosen, over which connection it goes on, whom the server sees.
pub(crate) fn opening(view: &View<'_>, conn: usize, start: Time) -> Vec<Line> {
    let mut lines = Vec::new();
    for (depth, (conn, relay)) in chain(view, conn).into_iter().enumerate() {
        let Some(story) = relay.story(view) else { continue };
        let deep = u8::try_from(depth).unwrap_or(u8::MAX);
        let at = relay.event.at;
        let line = |code: &str, text: String| {
            Line::new(code, story.balancer.clone(), text).deep(deep).at(at).margin(words::after(start, at))
        };
        let looked: Vec<String> =
            story.candidates.iter().map(|c| format!("{} ({})", c.name, c.value)).collect();
        let Some(behind) = relay.behind else {
            let text = format!("a balancer of connections, has nobody to choose: {}", words::list(&looked));
            lines.push(line("relay.nobody", text));
            continue;
        };
        let text = match story.policy.as_str() {
            "connect" => format!("goes to {} in its own name: {}", story.chosen, words::list(&looked)),
            policy => format!(
                "a balancer of connections, chooses {} by {policy}, out of {}",
                story.chosen,
                words::list(&looked)
            ),
        };
        lines.push(
            line(if story.policy == "connect" { "relay.tunnel" } else { "relay.choose" }, text)
                .with("policy", &story.policy)
                .with("chosen", &story.chosen)
                .with("address", &story.address),
        );
        if !story.warm {
            let told = connect::went_without(view, behind).into_iter();
            lines.extend(told.map(|(then, code, text)| {
                let line = line(&format!("relay.{code}"), text).at(then).margin(words::after(start, then));
                line.deep(deep.saturating_add(1))
            }));
        }
        lines.push(line("relay.connect", goes_on(view, (conn, behind), &story)).with("behind", behind + 1));
        lines.extend(caller(view, (conn, behind), &story).map(|text| line("relay.caller", text)));
    }
    lines
}

/// Why a connection was hung up on as soon as it was there: the balancer that took it, or one behind that, had nobody for it.
pub(crate) fn nobody(view: &View<'_>, conn: usize, until: Time) -> Option<Line> {
    let (_, relay) = chain(view, conn).into_iter().find(|(_, relay)| relay.behind.is_none())?;
    // A server may have been chosen whose connection nobody saw.
    let story = relay.story(view).filter(|story| relay.event.at <= until && story.chosen.is_empty())?;
    let looked: Vec<String> = story.candidates.iter().map(|c| format!("{} ({})", c.name, c.value)).collect();
    let text = format!("{} has nobody to choose: {}", story.balancer, words::list(&looked));
    Some(Line::new("relay.nobody", "why", text).at(relay.event.at).on(story.balancer))
}

fn goes_on(view: &View<'_>, (conn, behind): (usize, usize), story: &RelayStory) -> String {
    let tcp = view.tcp(view.conns[behind].client);
    let opened = match (story.warm, &tcp.syn, tcp.established) {
        (true, ..) => ", which stood ready".to_owned(),
        (false, Some(syn), Some(done)) => format!(", opened in {}", words::between(syn.mark.at, done.at)),
        _ => String::new(),
    };
    let mss = |conn: &Conn| {
        let tcp = view.tcp(conn.client);
        Some(tcp.syn.as_ref()?.mss?.min(tcp.syn_ack.as_ref()?.mss?))
    };
    let sizes = match (mss(&view.conns[conn]), mss(&view.conns[behind])) {
        (Some(near), Some(far)) if near != far => {
            format!(
                "; segments have {near} bytes at most on the client's side and {far} on the server's, so they are put together anew"
            )
        }
        _ => String::new(),
    };
    format!("goes on over its own connection, {} → {}{opened}{sizes}", tcp.client, tcp.server)
}

/// Whom the machine takes for its caller that the connection reaches: not the one that was chosen, if destination NAT on the way leads
/// it to another.
fn caller(view: &View<'_>, (conn, behind): (usize, usize), story: &RelayStory) -> Option<String> {
    let near = view.tcp(view.conns[conn].server?).client.ip();
    let reached = view.conns[behind].server?;
    let asked = view.tcp(view.conns[behind].client).server;
    let seen = view.tcp(reached).client.ip();
    let bearers = view.trace.map.nodes_with(asked.ip());
    let who = if bearers.is_empty() || bearers.contains(&reached.node) {
        story.chosen.clone()
    } else {
        format!("{}, where the connection to {} ({asked}) ends,", view.name(reached.node), story.chosen)
    };
    Some(format!(
        "{who} sees {seen} ({}) as its caller; the client's address, {near}, ends here: nothing in the bytes passes it on",
        view.bearer_name(seen)
    ))
}

/// Lines of "ask and answer": what each machine on the way adds.
pub(crate) fn passing(view: &View<'_>, places: &[Place], start: Time) -> Vec<Line> {
    let mut lines = Vec::new();
    for (depth, pair) in places.windows(2).enumerate() {
        let [near, far] = pair else { continue };
        let (_, asked) = exchange_of(view, *near);
        let Some((end, there)) = view.exchange_at_server(near.conn, asked) else { continue };
        let (tcp, own) = exchange_of(view, *far);
        let (came, sent) = (there.request.head.first.at, own.request.head.first.at);
        let mut text = format!("passes the bytes on unread, {} after they came", words::between(came, sent));
        let mut line = Line::new("relay.pass", view.name(end.node), String::new())
            .deep(u8::try_from(depth + 1).unwrap_or(u8::MAX))
            .at(sent)
            .margin(words::after(start, sent))
            .with("added_ns", sent.since(came).0);
        if let (Some(own), Some(there)) = (&own.response, &there.response) {
            let (came, sent) = (own.head.first.at, there.head.first.at);
            text += &format!("; the answer {} after it came", words::between(came, sent));
            text += &regrouped((tcp, own), (view.tcp(end), there));
            line = line.with("added_back_ns", sent.since(came).0);
        }
        line.text = text;
        lines.push(line);
    }
    lines
}

/// What became of the answer's segments.
fn regrouped(
    (from, came): (&TcpConversation, &crate::read::Response),
    (to, went): (&TcpConversation, &crate::read::Response),
) -> String {
    let (Some(came), Some(went)) = (came.body.span, went.body.span) else { return String::new() };
    let (came, went) = (packets_of(from, came.start, came.end), packets_of(to, went.start, went.end));
    if came == went {
        return String::new();
    }
    format!(", {} as {}", words::count(came, "segment"), went)
}

/// What balancers said of their servers (out, back, draining), and caches that were told to forget.
pub(crate) fn health(view: &View<'_>, event: &Event) -> Option<Line> {
    let What::App(record) = &event.what else { return None };
    let AppRecord::Note { code, text, .. } = &**record else { return None };
    let node = view.name(event.node());
    if code == "cache.purged" {
        return Some(Line::new(code, "timeline", format!("{node} {text}")).at(event.at).on(node));
    }
    if !code.starts_with("balancer.") || code == "balancer.failed" {
        return None;
    }
    Some(Line::new(code, "balancer", format!("{node}: {text}")).at(event.at).on(node))
}
