//! Behind a proxy: what it decided, which upstream it chose and how, what it added, what happened there; and behind that
//! one, if it is a proxy too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rt_base::{AppRecord, Event, NodeId, ReqId, ReqKind, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http::{Place, exchange_of};
use super::model::Field;
use super::over::{self, OverStory};
use super::shared_cache::CacheStory;
use super::view::{Asking, End, Req, View};
use super::{connect, forward, relay, shared_cache};
use crate::read::HttpExchange;

/// Proxies in a row that are told at most: a circle of them has no end.
const MOST: u8 = 16;

/// What a proxy did for a request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamStory {
    /// The proxy.
    pub proxy: String,
    /// Who was chosen, the last one if several were tried.
    pub chosen: String,
    /// Its address.
    pub address: String,
    /// How.
    pub policy: String,
    /// All that were looked at: name and note.
    pub candidates: Vec<Field>,
    /// When the proxy had the whole request.
    pub received_ns: u64,
    /// When it chose.
    #[serde(default)]
    pub chosen_ns: u64,
    /// When it sent it on.
    pub sent_ns: u64,
    /// When the upstream's machine had it.
    pub server_got_ns: u64,
    /// When the upstream's machine began to answer.
    pub server_answered_ns: u64,
    /// When the proxy began to pass the answer on.
    pub answered_ns: u64,
    /// Fields that the proxy added or changed on the way up.
    pub added: Vec<Field>,
    /// Status of the upstream's answer.
    pub status: u16,
    /// Whether the proxy asked over TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secure: bool,
    /// How the proxy asked: `HTTP/1.1`, `HTTP/2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Over which connection it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<OverStory>,
    /// What its cache decided, in order; empty when it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CacheStory>,
    /// What else it decided, in order: route, refusals, shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<ProxyStepStory>,
    /// What was tried before in vain, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<TryStory>,
    /// What the connection to the chosen one had to do without, if it was opened for this request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opening: Vec<ProxyStepStory>,
    /// Who the proxy thinks is calling.
    #[serde(default)]
    pub caller: CallerStory,
    /// Who the upstream thinks is calling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_caller: Option<CallerStory>,
    /// What the upstream did with it, if it is a proxy as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Box<UpstreamStory>>,
}

/// A try that came to nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TryStory {
    /// Who was asked.
    pub name: String,
    /// Its address.
    #[serde(default)]
    pub address: String,
    /// What came of it.
    pub value: String,
    /// When it was chosen, or when the kept connection to it was.
    #[serde(default)]
    pub at_ns: u64,
    /// When it was given up.
    #[serde(default)]
    pub end_ns: u64,
}

/// A decision of a proxy about a request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProxyStepStory {
    /// When.
    pub at_ns: u64,
    /// `route`, `key`, `auth`, `limit`, `canary`, `rewrite`, `redirect`, `answer`, `budget`, `nobody`, `size`, `fails`...; of
    /// forward proxies `pass`, `refuse`; while a connection is opened `syn`, `strip`.
    pub code: String,
    /// What it did.
    pub text: String,
    /// What was looked at.
    pub candidates: Vec<Field>,
}

/// Who a machine thinks is calling it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallerStory {
    /// The machine.
    pub node: String,
    /// The other end of its connection.
    pub peer: String,
    /// Whose address that is.
    pub peer_name: String,
    /// What fields of the request say of others.
    pub told: Vec<Field>,
    /// Those of them, or their beginnings, that the client wrote itself: nobody vouches for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<Field>,
    /// The address of the client as the first machine that took its connection saw it, if nothing here tells it.
    pub lost: Option<String>,
}

/// Fields by which a proxy tells who asks.
const TELLING: [&str; 6] =
    ["x-forwarded-for", "forwarded", "cf-connecting-ip", "x-real-ip", "x-consumer", "x-authenticated-user"];

/// Who asked first, and what it wrote of itself.
#[derive(Clone, Debug)]
struct Origin {
    client: IpAddr,
    claims: Vec<Field>,
    /// Proxies on the way so far.
    depth: u8,
}

/// What a proxy did for the request at `place`, if the machine is one that reads it: unread, it may pass others before.
pub(crate) fn tell(view: &View<'_>, place: Place) -> Option<UpstreamStory> {
    let far = *relay::way(view, place).last()?;
    let (_, there) = view.exchange_at_server(far.conn, exchange_of(view, far).1)?;
    let origin = Origin { client: client(view, place)?, claims: telling(there), depth: 0 };
    tell_at(view, far, &origin)
}

/// The client's address as the first machine sees it that the request at `place` reaches.
pub(crate) fn client(view: &View<'_>, place: Place) -> Option<IpAddr> {
    Some(view.tcp(view.conns[place.conn].server?).client.ip())
}

fn tell_at(view: &View<'_>, place: Place, origin: &Origin) -> Option<UpstreamStory> {
    let (_, exchange) = exchange_of(view, place);
    let (end, there) = view.exchange_at_server(place.conn, exchange)?;
    let got = head_at(there);
    let cache = shared_cache::decisions(view, (end, there), got);
    let up = chosen(view, (end, there), got);
    let mut steps: Vec<ProxyStepStory> = said(view, (end, there), got).filter_map(step).collect();
    if cache.is_empty() && up.is_none() && steps.is_empty() {
        return None;
    }
    steps.extend(shared_cache::cut(there, &cache));
    let mut story = UpstreamStory {
        proxy: view.name(end.node),
        received_ns: received(there).0,
        answered_ns: there.response.as_ref().map_or(0, |r| r.head.first.at.0),
        cache,
        steps,
        caller: caller(view, (end, there), origin.client, &origin.claims),
        ..UpstreamStory::default()
    };
    if let Some((req, AppRecord::ChoseUpstream { chosen, address, policy, candidates, .. })) = up {
        story.chosen.clone_from(chosen);
        story.address = address.to_string();
        story.policy.clone_from(policy);
        story.candidates = candidates.iter().map(|c| Field::new(&c.name, &c.note)).collect();
        let (before, last) = tries(req);
        story.failed = before;
        story.chosen_ns = last.map_or(story.received_ns, |at| at.0);
        fill_upstream(view, req, there, &mut story);
        if let Some(up) = place_of(view, req) {
            behind_that(view, up, &mut story, origin);
        }
    }
    Some(story)
}

/// What became of the proxy's own request at its far end.
fn behind_that(view: &View<'_>, up: Place, story: &mut UpstreamStory, origin: &Origin) {
    let far = relay::way(view, up).last().copied().unwrap_or(up);
    if origin.depth < MOST {
        let behind = Origin { depth: origin.depth + 1, ..origin.clone() };
        story.next = tell_at(view, far, &behind).map(Box::new);
    }
    if story.next.is_none() {
        let there = view.exchange_at_server(far.conn, exchange_of(view, far).1);
        story.server_caller = there.map(|there| caller(view, there, origin.client, &origin.claims));
    }
}

/// Where a proxy's request for the one at `place` travelled, if the answer had to wait for it.
pub(crate) fn behind(view: &View<'_>, place: Place) -> Option<Place> {
    let (_, exchange) = exchange_of(view, place);
    let (end, there) = view.exchange_at_server(place.conn, exchange)?;
    let got = head_at(there);
    if shared_cache::decisions(view, (end, there), got).iter().any(|step| step.verdict == "updating") {
        return None;
    }
    let (req, _) = chosen(view, (end, there), got)?;
    place_of(view, req)
}

/// When the proxy had the request's head.
fn head_at(there: &HttpExchange) -> Time {
    there.request.head.readable.at
}

/// When the proxy had the whole request.
fn received(there: &HttpExchange) -> Time {
    let head = head_at(there);
    there.request.body.span.map_or(head, |body| head.max(body.readable.at))
}

/// What the proxy at `end` said of the request that it had by `got`, in order: by the client's address and the number on
/// its connection.
pub(crate) fn said<'v, 't>(
    view: &'v View<'t>,
    (end, there): (End, &HttpExchange),
    got: Time,
) -> impl Iterator<Item = (&'t Event, &'t AppRecord)> + 'v {
    let place = (end.node, view.tcp(end).client, there.ordinal);
    let said = view.asked.get(&place).map(Vec::as_slice).unwrap_or_default();
    said.iter().copied().filter(move |(event, _)| event.at >= got)
}

/// What a record says that a proxy decided.
pub(crate) fn step((event, record): (&Event, &AppRecord)) -> Option<ProxyStepStory> {
    let (code, text, candidates) = match record {
        AppRecord::ProxyStep { code, text, candidates, .. } => (code, text.clone(), candidates.as_slice()),
        AppRecord::Forward { verdict, why, .. } => (verdict, forward::verdict(verdict, why), &[][..]),
        _ => return None,
    };
    let candidates = candidates.iter().map(|c| Field::new(&c.name, &c.note)).collect();
    Some(ProxyStepStory { at_ns: event.at.0, code: code.clone(), text, candidates })
}

/// Steps of proxies that decide that a request goes no further.
const DECIDES: [&str; 12] = [
    "auth", "key", "from", "method", "limit", "size", "nobody", "fails", "loop", "answer", "refuse", "silent",
];

impl ProxyStepStory {
    /// Whether the request goes no further by this.
    fn decides(&self) -> bool {
        DECIDES.contains(&self.code.as_str())
    }
}

impl UpstreamStory {
    /// This proxy and those behind it, in order.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &UpstreamStory> {
        std::iter::successors(Some(self), |up| up.next.as_deref())
    }

    /// Whether the client got its answer out of the cache, and the upstream was asked for the next one.
    pub(crate) fn is_aside(&self) -> bool {
        self.cache.iter().any(|step| step.verdict == "updating")
    }

    /// The machine that answered it, as the story calls it; empty if nobody was asked.
    pub(crate) fn server(&self) -> &str {
        self.server_caller.as_ref().map_or(&self.chosen, |server| &server.node)
    }

    /// The proxy that answered with an error by itself, and why, as a sentence whose subject it is: the last one that did.
    pub(crate) fn refused(&self) -> Option<(&str, String)> {
        let by_cache = |up: &UpstreamStory| {
            up.cache.iter().rfind(|step| step.verdict == "purge-refused").map(shared_cache::text)
        };
        let by_step =
            |up: &UpstreamStory| up.steps.iter().rfind(|step| step.decides()).map(|s| s.text.clone());
        let said =
            self.chain().filter_map(|up| Some((up.proxy.as_str(), by_step(up).or_else(|| by_cache(up))?)));
        said.last()
    }
}

/// The proxy's own request that serves a client's, and its last choice.
fn chosen<'v, 't>(
    view: &'v View<'t>,
    there: (End, &HttpExchange),
    got: Time,
) -> Option<(&'v Req<'t>, &'t AppRecord)> {
    let node = there.0.node;
    let mut own: Option<ReqId> = None;
    let mut last = None;
    for (_, record) in said(view, there, got) {
        let AppRecord::ChoseUpstream { req, .. } = record else { continue };
        // One client request, one upstream request: another one is of a later connection with the same address.
        if *own.get_or_insert(*req) == *req {
            last = Some(record);
        }
    }
    Some((view.requests.get(&(node, own?))?, last?))
}

/// What each proxy asked of its upstreams, try by try.
pub(crate) fn asking(view: &View<'_>) -> BTreeMap<NodeId, Vec<Asking>> {
    let mut all: BTreeMap<NodeId, Vec<Asking>> = BTreeMap::new();
    for req in view.requests.values().filter(|req| req.kind == ReqKind::Upstream) {
        let tries = all.entry(req.node).or_default();
        let before = tries.len();
        for (event, record) in &req.said {
            match record {
                AppRecord::ChoseUpstream { downstream, address, .. } => {
                    if let Some(last) = tries.get_mut(before..).and_then(<[Asking]>::last_mut) {
                        last.to = event.at;
                    }
                    let (client, upstream) = (*downstream, *address);
                    tries.push(Asking { client, upstream, local: None, from: event.at, to: Time::MAX });
                }
                AppRecord::UsesConnection { local, .. } => {
                    if let Some(last) = tries.get_mut(before..).and_then(<[Asking]>::last_mut) {
                        last.local = Some(*local);
                    }
                }
                _ => {}
            }
        }
        if let (Some(last), Some(end)) =
            (tries.get_mut(before..).and_then(<[Asking]>::last_mut), req.end_at())
        {
            last.to = end;
        }
    }
    all
}

/// What was tried in vain, in order, and when the last choice was made: a kept connection that is closed by then is a try, and the
/// choice stands.
pub(crate) fn tries(req: &Req<'_>) -> (Vec<TryStory>, Option<Time>) {
    let mut asked: Option<TryStory> = None;
    let mut failed: Vec<TryStory> = Vec::new();
    let mut open = false;
    for (event, record) in &req.said {
        match record {
            AppRecord::ChoseUpstream { chosen, address, .. } => {
                let (name, address) = (chosen.clone(), address.to_string());
                asked = Some(TryStory { name, address, at_ns: event.at.0, ..TryStory::default() });
                open = true;
            }
            AppRecord::UsesConnection { .. } => open = true,
            AppRecord::Retry { why, .. } => {
                let Some(asked) = &mut asked else { continue };
                failed.push(TryStory { value: why.clone(), end_ns: event.at.0, ..asked.clone() });
                asked.at_ns = event.at.0;
                open = false;
            }
            _ => {}
        }
    }
    // Nobody was left to try: the last one is the last choice.
    asked = if open { asked } else { failed.pop().or(asked) };
    (failed, asked.map(|last| Time(last.at_ns)))
}

/// The fields of a request that say of others who asks.
pub(crate) fn telling(there: &HttpExchange) -> Vec<Field> {
    let named = |name: &&str| there.request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
    TELLING.iter().filter_map(named).map(|h| Field::new(&h.name, &h.value)).collect()
}

/// Who the machine at `end` thinks is calling, where the first proxy's client is `client`, which wrote `claims` of itself.
pub(crate) fn caller(
    view: &View<'_>,
    (end, there): (End, &HttpExchange),
    client: IpAddr,
    claims: &[Field],
) -> CallerStory {
    let peer = view.tcp(end).client.ip();
    let told = telling(there);
    let text = client.to_string();
    // Proxies write behind what they were given.
    let still = |claim: &&Field| {
        told.iter().any(|f| f.name.eq_ignore_ascii_case(&claim.name) && f.value.starts_with(&claim.value))
    };
    let claimed = claims.iter().filter(still).cloned().collect();
    let known = peer == client || told.iter().any(|field| names(&field.value, &text));
    CallerStory {
        node: view.name(end.node),
        peer: peer.to_string(),
        peer_name: view.bearer_name(peer),
        told,
        claimed,
        lost: (!known).then_some(text),
    }
}

/// Whether a field's value has this address, whole.
fn names(value: &str, address: &str) -> bool {
    let part = |c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':');
    value.split(part).any(|word| word == address)
}

fn fill_upstream(view: &View<'_>, req: &Req<'_>, there: &HttpExchange, story: &mut UpstreamStory) {
    let Some(place) = place_of(view, req) else { return };
    let (tcp, up) = exchange_of(view, place);
    if !place.reused {
        let opening = connect::went_without(view, place.conn).into_iter();
        story.opening = opening
            .map(|(at, code, text)| ProxyStepStory {
                at_ns: at.0,
                code: code.to_owned(),
                text,
                candidates: Vec::new(),
            })
            .collect();
    }
    story.secure = tcp.tls.is_some();
    story.over = over::story(view, req, place);
    story.protocol = up.version.name().to_owned();
    story.sent_ns = up.request.head.first.at.0;
    story.status = up.response.as_ref().map_or(0, |r| r.status);
    story.added = up
        .request
        .headers
        .iter()
        .filter(|h| {
            !there.request.headers.iter().any(|t| t.name.eq_ignore_ascii_case(&h.name) && t.value == h.value)
                && !h.name.eq_ignore_ascii_case("host")
        })
        .map(|h| Field::new(&h.name, &h.value))
        .collect();
    if let Some((_, far)) = relay::at_server(view, place) {
        story.server_got_ns = far.request.head.readable.at.0;
        story.server_answered_ns = far.response.as_ref().map_or(0, |r| r.head.first.at.0);
    }
}

/// A proxy's request keeps the client's Host, so its URL differs from its target: go by time and path. Of several that it made in
/// one instant for the same path on one connection, the first is the first.
fn place_of(view: &View<'_>, req: &Req<'_>) -> Option<Place> {
    let used = req.used().last()?;
    let conn = view.conn_used(req.node, &used)?;
    let tcp = view.tcp(view.conns[conn].client);
    let path = req.target.splitn(4, '/').nth(3).map_or("/".to_string(), |p| format!("/{p}"));
    let fits = |at: &usize| {
        let request = &tcp.http[*at].request;
        request.method == req.method && request.target == path
    };
    let alike = |other: &Req<'_>| {
        let on = other.used().last().is_some_and(|u| u.local == used.local && u.at == used.at);
        on && other.method == req.method && other.target == req.target
    };
    let before = view.requests.range((req.node, ReqId(0))..(req.node, req.id)).rev().map(|(_, r)| r);
    let earlier = before.take_while(|r| r.begin.at == req.begin.at).filter(|r| alike(r)).count();
    let index = view.index.end(view, view.conns[conn].client);
    let mut fitting = index.begun_within(used.at, req.end_at().unwrap_or(Time::MAX));
    fitting.retain(fits);
    let exchange = *fitting.get(earlier).or_else(|| fitting.first())?;
    Some(Place { conn, exchange, reused: used.reused })
}
