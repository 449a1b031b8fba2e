//! What the chapters of one step share: its machine, its time, its requests and connections, and the sentences that
//! several chapters need (NAT, the way of a packet).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use rt_base::{AppRecord, Event, Figure, FrameId, HookPoint, Nanos, NodeId, ReqId, Time, What};

use super::carried;
use super::causes::Causes;
use super::guards;
use super::model::{Alternative, Chapter, HopStory, Line};
use super::trouble;
use super::view::{Leg, Req, View};
use super::ways;
use super::words;

/// One step and what belongs to it.
pub(crate) struct Step<'v, 't> {
    pub(crate) view: &'v View<'t>,
    /// From 0, as in the scenario.
    pub(crate) index: u32,
    pub(crate) node: NodeId,
    pub(crate) text: &'t str,
    pub(crate) begin: &'t Event,
    pub(crate) end: Option<StepEnd<'t>>,
    /// What it measured.
    pub(crate) figures: &'t [Figure],
    /// The last instant that belongs to it: its end, or the end of the trace.
    pub(crate) last: Time,
    /// The instant at which the next step of any machine begins, or the end of the trace.
    pub(crate) until: Time,
    /// The beginning of the next step of any machine.
    pub(crate) next: Option<&'t Event>,
    /// Its requests on its machine, in order of their beginning.
    pub(crate) requests: Vec<&'v Req<'t>>,
    /// What each step tells of.
    pub(crate) windows: Rc<[Window<'t>]>,
}

/// The time that a step tells of: from its beginning until the next one began, or its own end if that is later.
#[derive(Clone, Copy)]
pub(crate) struct Window<'t> {
    step: u32,
    begin: &'t Event,
    next: Option<&'t Event>,
    until: Time,
}

impl Window<'_> {
    /// In the order of events, for much may happen in one instant.
    fn covers(&self, view: &View<'_>, event: &Event) -> bool {
        let place = |event: &Event| view.trace.position(event.id);
        let begin = self.begin;
        let after = event.at > begin.at || (event.at == begin.at && place(event) > place(begin));
        let next = self.next.filter(|next| next.at == self.until);
        let before =
            event.at < self.until || (event.at == self.until && next.is_none_or(|n| place(event) < place(n)));
        after && before
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepEnd<'t> {
    pub(crate) event: &'t Event,
    pub(crate) ok: bool,
    pub(crate) summary: &'t str,
}

impl<'t> Step<'_, 't> {
    /// The chapter that is all of a request: its code, its title and its explanation come with its lines.
    pub(crate) fn chapter_of(
        &self,
        req: &Req<'_>,
        lines: Vec<Line>,
        (code, title, explain): (&str, &str, &str),
    ) -> Chapter {
        Chapter {
            code: code.into(),
            title: title.into(),
            subject: req.target.to_string(),
            start_ns: req.begin.at.0,
            end_ns: req.end_at().unwrap_or(self.last).0,
            remark: String::new(),
            explain: explain.into(),
            lines,
        }
    }

    /// Whether what another step caused is told by that step.
    pub(crate) fn is_told_by(&self, step: u32, event: &Event) -> bool {
        self.windows.iter().any(|w| w.step == step && w.covers(self.view, event))
    }

    /// When it began.
    pub(crate) fn start(&self) -> Time {
        self.begin.at
    }

    /// Whether it tells of what happened then.
    pub(crate) fn covers(&self, event: &Event) -> bool {
        self.window().covers(self.view, event)
    }

    fn window(&self) -> Window<'t> {
        Window { step: self.index, begin: self.begin, next: self.next, until: self.until }
    }

    /// The step's requests that this one made necessary.
    pub(crate) fn children(&self, parent: ReqId) -> Vec<&Req<'t>> {
        self.requests.iter().copied().filter(|r| r.parent == parent).collect()
    }
}

/// All steps of a trace, in order of their beginning.
pub(crate) fn steps_of<'v, 't>(view: &'v View<'t>) -> Vec<Step<'v, 't>> {
    let mut steps: Vec<Step<'v, 't>> = Vec::new();
    for (event, record) in view.trace.said() {
        match record {
            AppRecord::StepBegin { step, text } => steps.push(Step {
                view,
                index: *step,
                node: event.node(),
                text,
                begin: event,
                end: None,
                figures: &[],
                last: view.trace.end(),
                until: view.trace.end(),
                next: None,
                requests: Vec::new(),
                windows: Rc::default(),
            }),
            AppRecord::StepEnd { step, ok, summary } => {
                let open =
                    steps.iter_mut().find(|s| s.index == *step && s.node == event.node() && s.end.is_none());
                if let Some(open) = open {
                    open.end = Some(StepEnd { event, ok: *ok, summary });
                    open.last = event.at;
                }
            }
            AppRecord::StepFigures { step, figures } => {
                if let Some(open) = steps.iter_mut().find(|s| s.index == *step && s.node == event.node()) {
                    open.figures = figures;
                }
            }
            _ => {}
        }
    }
    let begins: Vec<&Event> = steps.iter().map(|s| s.begin).collect();
    for (i, step) in steps.iter_mut().enumerate() {
        step.next = begins.get(i + 1).copied();
        step.until = step.next.map_or(step.until, |next| next.at).max(step.last);
    }
    let windows: Rc<[Window<'t>]> = steps.iter().map(Step::window).collect();
    for step in &mut steps {
        step.windows = windows.clone();
    }
    give_requests(view, &mut steps);
    steps
}

/// Each request to one step of its machine. Steps may overlap: a request belongs to the step of the request that it was made for,
/// else to the step that the same input began, else to the one in whose wake it is, else to the one that began last.
fn give_requests<'v, 't>(view: &'v View<'t>, steps: &mut [Step<'v, 't>]) {
    let place = |event: &Event| view.trace.position(event.id);
    let mut all: Vec<&'v Req<'t>> = view.requests.values().collect();
    all.sort_by_key(|r| place(r.begin));
    let mut of: BTreeMap<(NodeId, ReqId), usize> = BTreeMap::new();
    let mut causes = Causes::new(view);
    for req in all {
        let at = place(req.begin);
        let within = |s: &Step<'_, '_>| {
            let end = s.end.map(|e| place(e.event));
            s.node == req.node && at >= place(s.begin) && end.is_none_or(|end| at <= end)
        };
        let open = || (0..steps.len()).filter(|i| within(&steps[*i]));
        let begun_with = |i: &usize| steps[*i].begin.because == req.begin.because;
        let parent = of.get(&(req.node, req.parent)).copied().filter(|_| req.parent != ReqId(0));
        let step = parent.filter(|i| within(&steps[*i]));
        let step = step.or_else(|| open().rfind(begun_with));
        let step = step.or_else(|| {
            let behind = causes.step_behind(req.begin)?;
            open().rfind(|i| steps[*i].index == behind)
        });
        let step = step.or_else(|| open().next_back());
        if let Some(step) = step {
            of.insert((req.node, req.id), step);
            steps[step].requests.push(req);
        }
    }
}

/// One line for each address rewrite of a frame, as it was made.
pub(crate) fn nat_lines(view: &View<'_>, frame: FrameId, depth: u8) -> Vec<Line> {
    let rewrites = view.trace.events_of(frame).filter_map(|e| match &e.what {
        What::Nat(record) => Some((e, &**record)),
        _ => None,
    });
    let line = |(event, nat): (&Event, &rt_base::NatRecord)| {
        let source = nat.src_before != nat.src_after;
        let (before, after) =
            if source { (nat.src_before, nat.src_after) } else { (nat.dst_before, nat.dst_after) };
        let rule = view.trace.map.nodes.get(event.node().index()).and_then(|n| n.nat.get(nat.rule as usize));
        let made = if nat.created { "new entry" } else { "entry from before" };
        let what = if source { "NAT: sender" } else { "NAT: target" };
        Line::new(
            if source { "nat.snat" } else { "nat.dnat" },
            view.name(event.node()),
            format!("{what} {before} becomes {after}"),
        )
        .deep(depth)
        .at(event.at)
        .on(view.name(event.node()))
        .margin(rule.map_or(String::new(), |r| r.origin.clone()))
        .with("before", before)
        .with("after", after)
        .with("entry", made)
        .with("rule", rule.map_or("existing entry", |r| r.text.as_str()))
    };
    rewrites.map(line).collect()
}

/// The machines that a frame passed, with what each did.
pub(crate) fn hops(view: &View<'_>, frame: FrameId) -> Vec<HopStory> {
    let way = view.way(frame);
    let Some(first) = way.first() else { return Vec::new() };
    let began = view.began(frame, first.from).unwrap_or(first.event.at);
    let mut hops = vec![hop(view, frame, first.from, (began, first.out), &way[..1])];
    for (i, leg) in way.iter().enumerate() {
        let done = || view.done(frame, leg.to).map_or(leg.arrive, |at| at.max(leg.arrive));
        let out = way.get(i + 1).map_or_else(done, |next: &Leg<'_>| next.out);
        hops.push(hop(view, frame, leg.to, (leg.arrive, out), &way[i..way.len().min(i + 2)]));
    }
    hops
}

fn hop(
    view: &View<'_>,
    frame: FrameId,
    node: NodeId,
    (arrived, left): (Time, Time),
    legs: &[Leg<'_>],
) -> HopStory {
    let facts = view.trace.map.nodes.get(node.index());
    let here = view.events_along(frame, legs).into_iter();
    let here = here.filter(|e| e.node() == node && e.at >= arrived && e.at <= left);
    HopStory {
        node: view.name(node),
        role: facts.map_or(String::new(), |f| f.role.clone()),
        place: facts.and_then(|f| f.place.clone()).unwrap_or_default(),
        in_ns: arrived.0,
        out_ns: left.0,
        did: here.filter_map(|e| did(view, e)).collect(),
    }
}

/// What one event did to a packet, in words; nothing for events that are not about its walk.
pub(crate) fn did(view: &View<'_>, event: &Event) -> Option<Line> {
    let map = &view.trace.map;
    let node = event.node();
    let facts = map.nodes.get(node.index());
    let line = match &event.what {
        What::Route { rule, out, next_hop, ttl } => {
            let route = facts.and_then(|n| n.route(*rule));
            let text = format!("to {next_hop} by {}", map.port_name(node, *out));
            let line = Line::new("route.match", "route", text).with("next_hop", next_hop).with("rule", rule);
            let line = if *ttl > 0 { line.with("ttl", ttl) } else { line };
            match route {
                Some(r) => line.with("route", &r.text).margin(r.origin.clone()),
                None => line,
            }
        }
        What::RoutePolicy(choice) => ways::policy(facts, choice),
        What::Multipath(choice) => ways::multipath(facts, choice),
        What::Filter { hook, rule, accepted } => guards::verdict(facts, *hook, *rule, *accepted),
        What::Logged { hook, rule, untold } => guards::logged(facts, *hook, *rule, *untold),
        What::NearMiss(miss) => guards::near_miss(view, node, miss),
        What::Nat(_) => return nat_lines_of(view, event),
        What::IcmpWithheld { to } => {
            let text = format!("would complain to {to}, but has sent as many ICMP errors as it may");
            Line::new("icmp.withheld", "ICMP", text).with("to", to)
        }
        What::NeighborWait { address } => {
            Line::new("arp.wait", "ARP", format!("asks for the MAC of {address} first"))
                .with("address", address)
        }
        What::SwitchForward { out } if out.0 == u16::MAX => {
            Line::new("switch.flood", "switch", "does not know the MAC yet: out of every other port")
        }
        What::SwitchForward { out } => {
            Line::new("switch.forward", "switch", format!("out of {}", map.port_name(node, *out)))
        }
        What::Deliver { .. } => Line::new("deliver", "arrives", "it is for this machine"),
        What::ConntrackNew { src, .. } => {
            Line::new("conntrack.new", "conntrack", format!("a new flow from {src}")).with("src", src)
        }
        What::NatBlock { inside, outside, first, last, taken } => {
            let verb = if *taken { "now owns" } else { "gives back" };
            let text = format!("{inside} {verb} ports {first}-{last} of {outside}");
            Line::new("nat.block", "nat", text).with("inside", inside).with("outside", outside)
        }
        What::Drop { reason, port, rule, place } => {
            let text = format!("dropped: {}", trouble::reason_words(view, event, *reason));
            let rule = rule_at(view, event, *place, *rule);
            Line::new(reason.code(), "end", text)
                .margin(rule.map_or(String::new(), |(_, origin)| origin))
                .with("interface", map.port_name(node, *port))
        }
        _ => tunnel_line(view, event)?,
    };
    Some(line.at(event.at).on(view.name(node)))
}

/// What a tunnel did to a packet.
fn tunnel_line(view: &View<'_>, event: &Event) -> Option<Line> {
    let (map, node) = (&view.trace.map, event.node());
    let facts = map.nodes.get(node.index());
    Some(match &event.what {
        What::Wrapped { port, overhead, len, mtu } => {
            let (kind, name) = (map.wrapping(node, *port), map.port_name(node, *port));
            let program = map.program_of(node, *port);
            let padding = program.map_or(0, |p| overhead.saturating_sub(p.overhead));
            let padded = if padding > 0 { format!(", {padding} of them padding,") } else { String::new() };
            let place = if program.is_some_and(|p| p.stream) { "before" } else { "around" };
            let text = format!("into {kind} {name}: {overhead} bytes{padded} {place} {len} (of {mtu})");
            Line::new("tunnel.in", "wrapped", text)
                .with("interface", name)
                .with("kind", kind)
                .with("overhead", overhead)
                .with("length", len)
                .with("mtu", mtu)
        }
        What::Unwrapped { port, overhead } => {
            let (kind, name) = (map.wrapping(node, *port), map.port_name(node, *port));
            let text = format!("out of {kind} {name}: {overhead} bytes less");
            Line::new("tunnel.out", "unwrapped", text)
                .with("interface", name)
                .with("kind", kind)
                .with("overhead", overhead)
        }
        What::Tun { port, inward } => {
            let name = map.port_name(node, *port);
            let text = match inward {
                true => format!("from the program behind {name}"),
                false => format!("to the program behind {name}"),
            };
            Line::new(if *inward { "tun.in" } else { "tun.out" }, "tun", text).with("interface", name)
        }
        What::InStream { .. } => carried::line(view, event)?,
        What::Stripped { rule } => {
            let said = facts.and_then(|n| n.ossified.get(*rule as usize));
            let text = said.map_or("what it does not know", |r| r.text.as_str());
            Line::new("middlebox.strip", "middlebox", format!("takes away what it does not know: {text}"))
                .margin(said.map_or(String::new(), |r| r.origin.clone()))
                .with("rule", text)
        }
        What::MssClamped { rule, from, to } => {
            let said = facts.and_then(|n| n.clamps.get(*rule as usize));
            Line::new("mss.clamp", "MSS", format!("lowered from {from} to {to}"))
                .margin(said.map_or(String::new(), |r| r.origin.clone()))
                .with("rule", said.map_or("", |r| r.text.as_str()))
                .with("from", from)
                .with("to", to)
        }
        _ => return None,
    })
}

fn nat_lines_of(view: &View<'_>, event: &Event) -> Option<Line> {
    let same = |l: &Line| l.at_ns == Some(event.at.0) && l.node == view.name(event.node());
    let line = nat_lines(view, event.frame, 0).into_iter().find(same)?;
    let text = line.text.trim_start_matches("NAT: ").to_string();
    Some(Line { label: "NAT".into(), text, ..line })
}

/// The text and origin of the rule that decided at a place.
pub(crate) fn rule_at(
    view: &View<'_>,
    event: &Event,
    place: rt_base::Place,
    rule: u32,
) -> Option<(String, String)> {
    let facts = view.trace.map.nodes.get(event.node().index())?;
    if let Some(found) = guards::reverse_path(facts, event).or_else(|| guards::behind(facts, event)) {
        return Some(found);
    }
    if matches!(event.what, What::Drop { reason: rt_base::DropReason::Ossified, .. }) {
        return facts.ossified.get(rule as usize).map(|rule| (rule.text.clone(), rule.origin.clone()));
    }
    let rule = match place {
        rt_base::Place::Route => facts.route(rule)?,
        rt_base::Place::Nat => facts.nat.get(rule as usize)?,
        rt_base::Place::Hook(hook) => {
            let chain = facts.chains.iter().find(|c| c.hook == hook)?;
            chain.rules.get(rule as usize).unwrap_or(&chain.policy)
        }
        _ => return None,
    };
    Some((rule.text.clone(), rule.origin.clone()))
}

/// A hook's name.
pub(crate) fn hook_name(hook: HookPoint) -> &'static str {
    match hook {
        HookPoint::Prerouting => "access list in",
        HookPoint::Input => "input",
        HookPoint::Forward => "forward",
        HookPoint::Output => "output",
        HookPoint::Postrouting => "access list out",
    }
}

/// Machines that bear `address` besides the one that was reached, nearest first. None if that one does not bear it
/// itself: then a port forward led there, and whoever bears the address passed the packet on.
pub(crate) fn alternatives(
    view: &View<'_>,
    from: NodeId,
    address: IpAddr,
    reached: NodeId,
) -> Vec<Alternative> {
    let bearers = view.trace.map.nodes_with(address);
    if !bearers.contains(&reached) {
        return Vec::new();
    }
    let distances = view.trace.map.distances(from);
    let others = bearers.into_iter().filter(|n| *n != reached);
    let mut all: Vec<Alternative> = others
        .map(|n| Alternative {
            node: view.name(n),
            place: view.trace.map.nodes.get(n.index()).and_then(|f| f.place.clone()).unwrap_or_default(),
            distance_ns: distances.get(n.index()).copied().flatten().map(|d| d.0),
        })
        .collect();
    all.sort_by_key(|a| (a.distance_ns.unwrap_or(u64::MAX), a.node.clone()));
    all
}

/// One line per machine on the way of a packet.
pub(crate) fn way_lines(view: &View<'_>, frame: FrameId, depth: u8) -> Vec<Line> {
    let hops = hops(view, frame);
    let Some(start) = hops.first().map(|h| Time(h.in_ns)) else { return Vec::new() };
    let last = hops.len() - 1;
    let line = |(i, hop): (usize, &HopStory)| {
        let mut words: Vec<String> = Vec::new();
        let described: Vec<&str> =
            [hop.role.as_str(), hop.place.as_str()].into_iter().filter(|s| !s.is_empty()).collect();
        words.push(described.join(", "));
        let mut handed = None;
        for did in &hop.did {
            match did.code.as_str() {
                "tun.out" => handed = did.at_ns,
                "nat.snat" | "nat.dnat" => words.push("NAT".into()),
                "switch.flood" => words.push("sends it out of every port".into()),
                "arp.wait" | "filter.log" | "middlebox.strip" => words.push(did.text.clone()),
                "route.match" if i != 0 => words.extend(did.data.get("ttl").map(|t| format!("TTL {t}"))),
                "tunnel.in" => {
                    let waited = handed.take().zip(did.at_ns).map_or(0, |(from, to)| to.saturating_sub(from));
                    if waited > 0 {
                        words.push(format!("waits {} for the tunnel", super::words::ms(Nanos(waited))));
                    }
                    words.extend(wrapping(did, "into", "+"));
                }
                "tunnel.out" => words.extend(wrapping(did, "out of", "-")),
                "stream.in" | "stream.out" => words.extend(did.data.get("short").cloned()),
                "icmp.withheld" => words.push("may send no more ICMP errors now".into()),
                code if code.starts_with("drop.") => words.push(did.text.clone()),
                _ => {}
            }
        }
        let code = if i == last { "path.end" } else { "path.hop" };
        let line = Line::new(code, hop.node.clone(), words.join(" · "))
            .deep(depth)
            .on(hop.node.clone())
            .at(Time(hop.in_ns))
            .margin(words::after(start, Time(hop.in_ns)));
        std::iter::once(line).chain(ways::choices(hop, depth + 1)).collect::<Vec<Line>>()
    };
    let told: Vec<Vec<Line>> = hops.iter().enumerate().map(line).collect();
    shortened(told, depth)
}

/// `into VXLAN (+50 bytes)`.
fn wrapping(did: &Line, how: &str, sign: &str) -> Option<String> {
    let (kind, bytes) = (did.data.get("kind")?, did.data.get("overhead")?);
    Some(format!("{how} {kind} ({sign}{bytes} bytes)"))
}

/// Machines told one by one on a long way: the first and the last ones; the rest (a routing loop) is counted.
const WAY_LIMIT: usize = 20;

fn shortened(mut told: Vec<Vec<Line>>, depth: u8) -> Vec<Line> {
    if told.len() > WAY_LIMIT {
        let left_out = told.len() - 10;
        let text = format!("and so on: {left_out} more machines, one after the other");
        told.splice(6..6 + left_out, [vec![Line::new("path.more", "...", text).deep(depth)]]);
    }
    told.into_iter().flatten().collect()
}
