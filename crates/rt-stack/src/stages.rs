//! The stages of the pipeline between arrival and the end, as leaves of the spine: what may not be, connection tracking,
//! NAT, routing, filters.

use std::net::{IpAddr, Ipv4Addr};

use rt_base::{DropReason, HookPoint, Multipath, Outbox, Place, PolicyChoice, PortId, RouteId, Time, What};
use rt_rules::{Action, Flow, RejectWith, ReversePath};

use crate::hooks::EgressProof;
use crate::hooks::conntrack::Track;
use crate::hooks::filter::{Filters, Verdict};
use crate::icmp::Complaint;
use crate::ip::destination::{Hop, Place as Where, loopback};
use crate::nic::Nic;
use crate::packet::{LOOPBACK, Packet, protocol};
use crate::stack::{Stack, Step, Stop};

impl Stack {
    /// Source addresses that cannot be (RFC 1122, 3.2.1.3; RFC 1812, 5.3.7), as Linux's martian check: groups, broadcasts,
    /// loopback and own addresses from a link; 0.0.0.0 only on the way to everybody (DHCP). And loopback destinations.
    ///
    /// And the reverse-path check of the interface.
    pub(crate) fn impossible(&mut self, packet: &Packet) -> Option<Stop> {
        let bad = Some(Stop::new(DropReason::BadSource, Place::Ingress));
        let port = packet.in_port.filter(|port| *port != LOOPBACK)?;
        let source = packet.ip.src;
        if packet.ip.dst.is_loopback() {
            return bad;
        }
        if self.good_source == Some((source, port)) {
            return None;
        }
        //= rfc1812#5.3.7 MUST NOT
        let first = source.octets()[0];
        let never = first == 127 || first >= 224;
        let unnamed = first == 0 && !(source.is_unspecified() && packet.ip.dst.is_broadcast());
        let own = self.nics.iter().any(|nic| nic.owns(source.into()) || nic.is_broadcast(source.into()));
        if never || unnamed || own {
            return bad;
        }
        if let Some(rule) = self.leads_elsewhere(source, port) {
            return Some(Stop::new(DropReason::ReversePath, Place::Ingress).by(rule));
        }
        // 0.0.0.0 is good for this packet only.
        self.good_source = (first != 0).then_some((source, port));
        None
    }

    /// The reverse-path check: whether answers to `source` would leave by another interface (strict), or not at all (both
    /// modes); with the route that says so.
    fn leads_elsewhere(&self, source: Ipv4Addr, port: PortId) -> Option<Option<u32>> {
        let mode = self.nics.get(port.index()).map_or(ReversePath::Off, |nic| nic.reverse_path);
        if mode == ReversePath::Off || source.is_unspecified() {
            return None;
        }
        let back = Flow::towards(Ipv4Addr::UNSPECIFIED.into(), source.into());
        match self.destinations.choose(&back, &self.nics) {
            //= rfc3704#2.2
            (Where::Beyond(hop), _) if hop.out == port => None,
            // Any of equally good ways back will do (RFC 3704, 2.3).
            (Where::Beyond(_), Some(choice)) if self.destinations.leads_by(&choice, port) => None,
            //= rfc3704#2.4
            (Where::Beyond(_), _) if mode == ReversePath::Loose => None,
            (Where::Beyond(hop), _) => Some(Some(hop.rule)),
            (Where::Blackhole { rule } | Where::Unreachable { rule }, _) => Some(Some(rule)),
            _ => Some(None),
        }
    }

    /// Stage Conntrack.
    pub(crate) fn conntrack(&mut self, now: Time, packet: &mut Packet, out: &mut Outbox) -> Step {
        if let Some(hooks) = &mut self.hooks
            && let Some(record) = hooks.track(now, packet)
        {
            out.record(packet.frame.id, || What::Nat(Box::new(record)));
        }
        Step::On
    }

    /// Stage Dnat.
    pub(crate) fn dnat(&mut self, packet: &mut Packet, out: &mut Outbox) -> Step {
        let Some(hooks) = self.hooks.as_mut().filter(|hooks| hooks.wants_dnat(packet)) else {
            return Step::On;
        };
        let nics = &self.nics;
        let owner = |address| nics.iter().position(|nic| nic.owns(address)).map(|index| PortId(index as u16));
        match hooks.dnat(packet, &owner) {
            Ok(rewritten) => {
                if let Some(record) = rewritten {
                    out.record(packet.frame.id, || What::Nat(Box::new(record)));
                }
                Step::On
            }
            Err(refused) => Step::Stop(Stop::new(refused.reason, Place::Nat).by(refused.rule)),
        }
    }

    /// Stage Route.
    pub(crate) fn route(&mut self, packet: &mut Packet, out: &mut Outbox) -> Step {
        let place = match self.destinations.is_plain() {
            true => self.destinations.lookup(packet.dst(), &self.nics),
            false => self.choose_route(packet, out),
        };
        if packet.in_port.is_none() {
            self.route_own(packet, place, out)
        } else {
            self.route_arrived(packet, place, out)
        }
    }

    /// The way of a packet on a machine where more than its destination counts; what decided is recorded.
    fn choose_route(&self, packet: &Packet, out: &mut Outbox) -> Where {
        let mut flow = packet.flow();
        if packet.ip.is_fragment() {
            // All pieces of a datagram go one way, and only the first has ports.
            (flow.sport, flow.dport) = (0, 0);
        }
        let (place, choice) = self.destinations.choose(&flow, &self.nics);
        let Some(choice) = choice else { return place };
        if out.recording() && self.destinations.has_policies() {
            let (passed, rejected) = self.destinations.otherwise(&flow, &choice);
            if choice.policy.is_some() || !passed.is_empty() {
                let rejected = rejected.into_iter().map(|id| id.0).collect();
                let (rule, table) = (choice.policy, choice.id.table());
                let chosen = PolicyChoice { rule, table, passed, rejected };
                out.record(packet.frame.id, || What::RoutePolicy(Box::new(chosen)));
            }
        }
        if !choice.group.is_empty() {
            out.record(packet.frame.id, || {
                let ids = choice.group.iter().map(|index| RouteId::new(choice.id.table(), *index).0);
                let rejected = ids.filter(|id| *id != choice.id.0).collect();
                What::Multipath(Box::new(Multipath { chosen: choice.id.0, rejected, hash: choice.hash }))
            });
        }
        place
    }

    /// Stage Ttl: may it go on, and does it fit (RFC 1812, 5.3.1 and 4.2.2.7; the order is Linux's)?
    pub(crate) fn ttl(&mut self, now: Time, packet: &mut Packet) -> Step {
        //= rfc1812#5.3.1 MUST
        let spent = match &mut self.passed_unseen {
            None => packet.ip.ttl <= 1,
            Some(passed) => passed.circles(packet.frame.id),
        };
        if spent {
            return Step::Stop(Stop::new(DropReason::TtlExceeded, Place::Route).complaining(Complaint::Ttl));
        }
        if let Some(hop) = packet.hop
            && packet.ip.df
            && let mtu = hop.mtu.min(self.tunnel_mtu(now, hop.out))
            && packet.ip.total_len > mtu
        {
            let complaint = Complaint::TooBig { mtu };
            let stop = Stop::new(DropReason::FragmentationNeeded, Place::Route).by(Some(hop.rule));
            return Step::Stop(stop.complaining(complaint));
        }
        if self.passed_unseen.is_none() {
            packet.decrement_ttl();
        }
        Step::On
    }

    fn route_arrived(&mut self, packet: &mut Packet, place: Where, out: &mut Outbox) -> Step {
        let stop = |reason| Stop::new(reason, Place::Route);
        match place {
            Where::Here | Where::Broadcast(_) => Step::Here,
            Where::Group => Step::Stop(stop(DropReason::NotForThisStation)),
            _ if !self.forwarding => Step::Stop(stop(DropReason::NotARouter)),
            // Broadcast on the link, unicast in IP: for the one station that has the address (RFC 1812, 5.3.4).
            _ if packet.from_group => Step::Stop(stop(DropReason::NotForThisStation)),
            Where::Blackhole { rule } => Step::Stop(stop(DropReason::Blackhole).by(Some(rule))),
            Where::Unreachable { rule } => {
                Step::Stop(stop(DropReason::RouteUnreachable).by(Some(rule)).complaining(Complaint::Host))
            }
            Where::Nowhere => Step::Stop(stop(DropReason::NoRoute).complaining(Complaint::Net)),
            Where::Beyond(hop) => {
                packet.hop = Some(hop);
                self.shortcuts.count(hop.rule);
                let ttl = packet.ip.ttl.saturating_sub(u8::from(self.passed_unseen.is_none()));
                out.record(packet.frame.id, || What::Route {
                    rule: hop.rule,
                    out: hop.out,
                    next_hop: hop.next,
                    ttl,
                });
                Step::On
            }
        }
    }

    fn route_own(&mut self, packet: &mut Packet, place: Where, out: &mut Outbox) -> Step {
        let stop = |reason| Stop::new(reason, Place::Route);
        let hop = match place {
            Where::Here => loopback(packet.dst()),
            Where::Blackhole { rule } => return Step::Stop(stop(DropReason::Blackhole).by(Some(rule))),
            Where::Unreachable { rule } => {
                let stop = stop(DropReason::RouteUnreachable).by(Some(rule));
                return Step::Stop(stop.complaining(Complaint::Host));
            }
            Where::Beyond(hop) if packet.device.is_none_or(|device| device == hop.out) => hop,
            Where::Broadcast(port) => {
                match self.link_hop(packet, port, IpAddr::V4(std::net::Ipv4Addr::BROADCAST)) {
                    Some(hop) => hop,
                    None => return Step::Stop(stop(DropReason::NoRoute).complaining(Complaint::Net)),
                }
            }
            Where::Group | Where::Beyond(_) | Where::Nowhere => {
                match self.link_hop(packet, None, packet.dst()) {
                    Some(hop) => hop,
                    None => return Step::Stop(stop(DropReason::NoRoute).complaining(Complaint::Net)),
                }
            }
        };
        packet.hop = Some(hop);
        if hop.out != LOOPBACK {
            self.shortcuts.count(hop.rule);
            out.record(packet.frame.id, || What::Route {
                rule: hop.rule,
                out: hop.out,
                next_hop: hop.next,
                ttl: 0,
            });
        }
        Step::On
    }

    /// Straight onto the link of the bound interface (or `port`), without asking the routes. A broadcast or multicast of
    /// an unbound socket takes the first interface.
    fn link_hop(&self, packet: &Packet, port: Option<rt_base::PortId>, next: IpAddr) -> Option<Hop> {
        let group = next.is_multicast() || next == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
        let first = (group && !self.nics.is_empty()).then(rt_base::PortId::default);
        let out = packet.device.or(port).or(first)?;
        let mtu = self.nics.get(out.index())?.mtu;
        Some(Hop { rule: u32::MAX, out, next, mtu })
    }

    /// Stage Filter.
    pub(crate) fn filter(
        &mut self,
        now: Time,
        hook: HookPoint,
        packet: &mut Packet,
        out: &mut Outbox,
    ) -> Step {
        let Some(hooks) = &mut self.hooks else { return Step::On };
        let flow = packet.flow();
        let Some(verdict) = hooks.filter(now, hook, (&mut *packet, &flow)) else { return Step::On };
        conclude(hooks.filters(), hook, verdict, (packet, &flow), out)
    }

    /// Stage Acl.
    pub(crate) fn acl(&mut self, now: Time, hook: HookPoint, packet: &Packet, out: &mut Outbox) -> Step {
        let Some(acls) = &mut self.acls else { return Step::On };
        let len = packet.ip.total_len;
        let mut flow = packet.flow();
        if hook == HookPoint::Prerouting
            && acls.asks_the_way()
            && let (Where::Beyond(hop), _) = self.destinations.choose(&flow, &self.nics)
        {
            flow.out_port = Some(hop.out);
        }
        let Some(verdict) = acls.judge_alone(now, hook, (&flow, len)) else { return Step::On };
        acls.count(hook, verdict.rule, len);
        conclude(acls, hook, verdict, (packet, &flow), out)
    }

    /// Stage Snat: whoever passes gets the proof.
    pub(crate) fn snat(
        &mut self,
        now: Time,
        packet: &mut Packet,
        proof: &mut Option<EgressProof>,
        out: &mut Outbox,
    ) -> Step {
        let Some(hooks) = &mut self.hooks else { return Step::On };
        let begins = matches!(packet.track, Track::New(_));
        let masquerade = if begins { masquerade(&self.nics, packet) } else { None };
        let passed = hooks.snat(now, packet, masquerade);
        if begins {
            self.records.append(&mut hooks.log());
            self.flush_records(packet.frame.id, out);
        }
        match passed {
            Ok(passed) => {
                *proof = Some(passed.proof);
                if let Some(src) = passed.opened {
                    let protocol = packet.ip.protocol;
                    out.record(packet.frame.id, || What::ConntrackNew { protocol, src });
                }
                if let Some(record) = passed.rewritten {
                    out.record(packet.frame.id, || What::Nat(Box::new(record)));
                }
                Step::On
            }
            Err(refused) => {
                let stop = Stop::new(refused.reason, Place::Nat).by(refused.rule);
                Step::Stop(Stop { complaint: refused.complaint, ..stop })
            }
        }
    }
}

/// Records a verdict and what led to it.
pub(crate) fn conclude(
    filters: &Filters,
    hook: HookPoint,
    verdict: Verdict,
    (packet, flow): (&Packet, &Flow),
    out: &mut Outbox,
) -> Step {
    let (id, rule) = (packet.frame.id, verdict.rule);
    for &(rule, untold) in &verdict.logged {
        out.record(id, || What::Logged { hook, rule, untold });
    }
    let accepted = matches!(verdict.action, Action::Accept | Action::Continue);
    out.record(id, || What::Filter { hook, rule: rule.unwrap_or(u32::MAX), accepted });
    // A search through all rules, for the story only.
    if !accepted
        && out.recording()
        && let Some(miss) = filters.nearest_miss(hook, flow, rule)
    {
        out.record(id, || What::NearMiss(Box::new(miss)));
    }
    let stop = |reason| Stop::new(reason, Place::Hook(hook)).by(rule);
    let rejected = stop(DropReason::Rejected);
    match verdict.action {
        Action::Accept | Action::Continue => Step::On,
        Action::Drop => Step::Stop(stop(DropReason::Filtered)),
        Action::Reject(RejectWith::IcmpPort) => Step::Stop(rejected.complaining(Complaint::Port)),
        Action::Reject(RejectWith::IcmpProhibited) => Step::Stop(rejected.complaining(Complaint::Prohibited)),
        Action::Reject(RejectWith::TcpReset) if packet.ip.protocol == protocol::TCP => {
            Step::Stop(Stop { reset: true, ..rejected.complaining(Complaint::Port) })
        }
        Action::Reject(RejectWith::TcpReset) => Step::Stop(rejected.complaining(Complaint::Port)),
    }
}

/// The address that a packet which begins a flow would be masqueraded with: that of the interface it leaves by, or, on a
/// hairpin, of the one it is imagined to leave by, where that has not the very address that was called.
fn masquerade(nics: &[Nic], packet: &Packet) -> Option<IpAddr> {
    let hop = packet.hop?;
    let Track::New(draft) = &packet.track else { return None };
    let Some(outer) = draft.hairpin else {
        return nics.get(hop.out.index())?.address_towards(hop.next).map(IpAddr::V4);
    };
    let nic = nics.get(outer.unwrap_or(hop.out).index())?;
    let called = draft.original.dst.into();
    if nic.owns(called) { Some(called) } else { nic.addresses.first().map(|net| net.addr()) }
}
