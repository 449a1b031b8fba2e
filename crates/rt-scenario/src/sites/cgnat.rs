//! The carrier-grade NAT of an ISP (RFC 6888): homes with `access: { cgnat: yes }` have an outer address of 100.64.0.0/10, and the
//! ISP's router at their place gives each of them blocks of ports of the public addresses that they share.
//!
//! Simplified: the NAT is the ISP's router itself, one for each place; its log of who had which block is its NAT table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{NodeId, PortId};
use rt_rules::{
    Match, NatAction, NatBehaviour, NatDepends, NatExhausted, NatPorts, NatRule, PortRange, Route, RouteKind,
};

use super::vpc::never_public;
use crate::diag::Code;
use crate::nat::read_behaviour;
use crate::tree::Value;
use crate::units;
use crate::world::{Attachment, World};

/// Shared address space (RFC 6598).
const SHARED: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10));
/// Ports of one block, and blocks of one customer, when nothing is written.
const BLOCK: u64 = 512;
const BLOCKS: u64 = 4;
/// Wider pools than this are a mistake.
const WIDEST_POOL: u8 = 24;

/// The places with homes behind a carrier-grade NAT.
pub(super) fn places(attachments: &[Attachment]) -> BTreeSet<String> {
    attachments.iter().filter(|a| SHARED.contains(&a.network)).map(|a| a.place.clone()).collect()
}

/// What `cgnat:` says must be possible, and for somebody.
pub(super) fn check(world: &mut World<'_, '_>, attachments: &[Attachment], value: &Value) {
    let Some((name, options)) = value.entry("cgnat") else { return };
    let places = places(attachments);
    if places.is_empty() {
        world
            .problems
            .add(Code::NoEffect, name.span, "no home is behind this carrier-grade NAT", "no effect")
            .help("write `access: { cgnat: yes }` in a home, or leave `cgnat:` away");
    }
    if let Some(nat) = options.get("nat") {
        world.check_behaviour(Some(nat), read_behaviour(Some(nat)));
    }
    check_blocks(world, options);
    for nth in 0..places.len() {
        check_pool(world, attachments, (options, nth));
    }
}

/// A written block must fit.
fn check_blocks(world: &mut World<'_, '_>, options: &Value) {
    let (Some(at), Some(block)) = (options.get("block"), options.whole_at("block")) else { return };
    let range = range(Some(options));
    if block > u64::from(range.len()) {
        let message =
            format!("a block of {block} does not fit into the ports {}-{}", range.first, range.last);
        world.problems.add(Code::NatPortsTooFew, at.span, message, "larger than all ports").help(format!(
            "give a block {} at most, or more `ports:`",
            rt_base::count(range.len().into(), "port")
        ));
    }
}

/// The pool of the nth place must be public, and must not hold anybody's address.
fn check_pool(world: &mut World<'_, '_>, attachments: &[Attachment], (options, nth): (&Value, usize)) {
    let Some(at) = options.get("pool") else { return };
    let pool = pool(Some(options), nth);
    if let Some(why) = [pool.network(), pool.broadcast()].into_iter().find_map(never_public) {
        let message = format!("{pool} cannot be a pool of public addresses: {why}");
        world
            .problems
            .add(Code::BadNetwork, at.span, message, "nobody on the internet can answer it")
            .help("take one that is routed on the internet, such as `198.51.100.0/28`");
        return;
    }
    if pool.prefix_len() < WIDEST_POOL {
        let message = format!("{pool} is too wide a pool: it holds more than 256 addresses");
        world
            .problems
            .add(Code::TooLarge, at.span, message, "too wide")
            .help(format!("a /{WIDEST_POOL} at most, such as `198.51.100.0/28`"));
    }
    if let Some(other) = attachments.iter().find(|a| a.network.contains(&pool) || pool.contains(&a.network)) {
        let whose = if nth == 0 { "" } else { " of the next place" };
        let message = format!("the pool {pool}{whose} overlaps the network {} of a machine", other.network);
        world
            .problems
            .add(Code::OverlappingSubnets, at.span, message, "this one")
            .related(other.span, "and this one")
            .help("give the pool addresses of its own, or the machine a longer prefix, such as `/28`");
    }
}

/// Gives the ISP's routers at these places their NAT.
pub(super) fn build(
    world: &mut World<'_, '_>,
    places: &BTreeSet<String>,
    isps: &BTreeMap<String, NodeId>,
    value: &Value,
) {
    let options = value.get("cgnat");
    for (index, (place, isp)) in isps.iter().filter(|(place, _)| places.contains(*place)).enumerate() {
        let pool = pool(options, index);
        let span = options.map_or(value.span, |v| v.span);
        let what = format!("the customers of the ISP in {place} share {pool}");
        let origin = match options {
            Some(_) => world.line(span),
            None => world.default_of(span, &what),
        };
        let behaviour = options.and_then(|v| v.get("nat")).map_or(usual(), |written| {
            let written = read_behaviour(Some(written));
            NatBehaviour { exclusive: true, ..written }
        });
        // The first port of an ISP's router leads to the backbone.
        let when = Match { src: vec![SHARED], out_port: Some(PortId(0)), ..Match::default() };
        let action = NatAction::Pool { to: pool, ports: blocks(options) };
        let rule = NatRule { behaviour, ..NatRule::new(when, action, origin.clone()) };
        if let Some(options) = options {
            world.read_conntrack(*isp, options);
        }
        let draft = world.node(*isp);
        draft.node.nat.push(rule);
        draft.announced.push(pool);
        // What comes for an address of the pool and belongs to nobody must not go back to where it came from.
        let kind = RouteKind::Blackhole;
        let route = Route { prefix: pool, via: None, out: PortId(0), kind, metric: 0, source: None, origin };
        draft.node.routes.push(route);
    }
}

/// As RFC 6888 wants it: full-cone (REQ-1, by RFC 4787), hairpinning (the same), an error when ports run out (REQ-11).
fn usual() -> NatBehaviour {
    NatBehaviour {
        mapping: NatDepends::EndpointIndependent,
        filtering: NatDepends::EndpointIndependent,
        hairpin: true,
        exclusive: true,
        exhausted: NatExhausted::HostUnreachable,
        ..NatBehaviour::default()
    }
}

/// The written pool, or the next one as wide for each further place with customers; when none is written, one out of
/// 198.18.255.0/24, far from the addresses between routers.
fn pool(options: Option<&Value>, index: usize) -> IpNet {
    let written = options.and_then(|v| v.str_at("pool")).and_then(|t| t.parse::<IpNet>().ok());
    let nth = u8::try_from(index).unwrap_or(u8::MAX);
    let usual = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 255, nth.wrapping_mul(8)), 29);
    match written {
        None => IpNet::V4(usual),
        Some(pool) if index == 0 => pool.trunc(),
        Some(IpNet::V4(pool)) => {
            let size = 1_u32 << (32 - u32::from(pool.prefix_len())).min(16);
            let next = u32::from(pool.network()).wrapping_add(size.wrapping_mul(u32::from(nth)));
            let next = IpAddr::V4(Ipv4Addr::from(next));
            IpNet::new(next, pool.prefix_len()).unwrap_or(IpNet::V4(usual))
        }
        Some(_) => IpNet::V4(usual),
    }
}

fn range(options: Option<&Value>) -> PortRange {
    let range = options.and_then(|v| v.str_at("ports")).and_then(|t| units::ports(t).ok());
    range.unwrap_or(PortRange { first: 1024, last: 65_535 })
}

fn blocks(options: Option<&Value>) -> NatPorts {
    let whole = |key: &str, usual: u64| {
        let number = options.and_then(|v| v.whole_at(key)).unwrap_or(usual);
        u16::try_from(number).unwrap_or(u16::MAX).max(1)
    };
    let range = range(options);
    let size = whole("block", BLOCK).min(u16::try_from(range.len()).unwrap_or(u16::MAX));
    NatPorts::Block { range, size, most: whole("blocks", BLOCKS) }
}
