//! Rules to be tried: chosen by dice from the vocabulary of `rt-rules`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rt_base::{HookPoint, Nanos, PortId, Rng};
use rt_rules::{
    Action, Chain, CtState, Filter, FlagsMatch, IcmpMatch, Limit, Match, NatAction, NatBehaviour, NatDepends,
    NatPorts, NatRule, Origin, Policy, PortRange, RejectWith,
};

/// Hosts on either side, and ports: few, so that rules hit.
pub(crate) const INSIDE: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 20)];
pub(crate) const OUTSIDE: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11), Ipv4Addr::new(198, 51, 100, 7)];
/// The router: inside, outside, and a second address outside.
pub(crate) const ROUTER: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
/// The next router outside.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
pub(crate) const PORTS: [u16; 5] = [53, 80, 443, 5_000, 5_001];
/// Ports of those who ask, inside and outside; some are asked too.
pub(crate) const ASKERS: [[u16; 3]; 2] = [[6_000, 6_001, 443], [7_000, 7_001, 5_000]];

/// What both routers are told.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) chains: Vec<Chain>,
    pub(crate) nat: Vec<NatRule>,
}

pub(crate) fn origin() -> Origin {
    Origin::Line { file: "rules.yaml".into(), line: 1 }
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize]
}

fn chance(rng: &mut Rng, percent: u64) -> bool {
    rng.below(100) < percent
}

/// Chains and NAT rules by dice.
pub(crate) fn random(rng: &mut Rng) -> Rules {
    let nat: Vec<NatRule> = (0..rng.below(4)).map(|_| nat_rule(rng)).collect();
    let mut chains = Vec::new();
    let likely = [
        (HookPoint::Prerouting, 20),
        (HookPoint::Input, 40),
        (HookPoint::Forward, 85),
        (HookPoint::Output, 20),
    ];
    // Access lists of what leaves, alone: what they drop has been entered into our table of flows, and not into the kernel's.
    if nat.is_empty() && chance(rng, 15) {
        let chains =
            vec![chain(rng, HookPoint::Prerouting, false), chain(rng, HookPoint::Postrouting, false)];
        return Rules { chains, nat };
    }
    for (hook, percent) in likely {
        // See `chain`: what is invalid.
        let must = hook == HookPoint::Forward && !nat.is_empty();
        if must || chance(rng, percent) {
            chains.push(chain(rng, hook, !nat.is_empty()));
        }
    }
    Rules { chains, nat }
}

fn stateless(hook: HookPoint) -> bool {
    matches!(hook, HookPoint::Prerouting | HookPoint::Postrouting)
}

fn chain(rng: &mut Rng, hook: HookPoint, nat: bool) -> Chain {
    let mut rules = Vec::new();
    // A router of ours with NAT passes nothing invalid; the kernel's does, unless told.
    if nat && !stateless(hook) {
        let when = Match { states: vec![CtState::Invalid], ..Match::default() };
        rules.push(Filter::new(when, Action::Drop, origin()));
    }
    if !stateless(hook) && chance(rng, 60) {
        let when = Match { states: vec![CtState::Established, CtState::Related], ..Match::default() };
        rules.push(Filter::new(when, Action::Accept, origin()));
    }
    for _ in 0..rng.below(6) {
        rules.push(filter(rng, hook));
    }
    let drops = !stateless(hook) && hook != HookPoint::Output && chance(rng, 40);
    let policy = if drops { Action::Drop } else { Action::Accept };
    Chain { hook, rules, policy: Policy::new(policy, origin()) }
}

fn filter(rng: &mut Rng, hook: HookPoint) -> Filter {
    let when = matching(rng, Some(hook));
    let rejects = matches!(hook, HookPoint::Input | HookPoint::Forward);
    let action = match rng.below(if rejects { 9 } else { 6 }) {
        0..=3 => Action::Accept,
        4 => Action::Drop,
        5 => Action::Continue,
        6 => Action::Reject(RejectWith::IcmpPort),
        7 => Action::Reject(RejectWith::IcmpProhibited),
        _ => Action::Reject(RejectWith::TcpReset),
    };
    let limit = Limit { packets: 1, per: Nanos::from_secs(3_600), burst: 1 + rng.below(4) as u32 };
    Filter { limit: chance(rng, 12).then_some(limit), ..Filter::new(when, action, origin()) }
}

/// Conditions; for the hook of a filter, or for NAT.
fn matching(rng: &mut Rng, hook: Option<HookPoint>) -> Match {
    let mut when = Match::default();
    let all: Vec<Ipv4Addr> = INSIDE.iter().chain(&OUTSIDE).chain(&ROUTER).copied().collect();
    if chance(rng, 60) {
        when.protocol = Some(pick(rng, &[1, 6, 17]));
    }
    if chance(rng, 30) {
        when.src = (0..1 + rng.below(2)).map(|_| prefix(rng, &all)).collect();
    }
    if chance(rng, 30) {
        when.dst = (0..1 + rng.below(2)).map(|_| prefix(rng, &all)).collect();
    }
    let ported = matches!(when.protocol, Some(6 | 17));
    if ported && chance(rng, 50) {
        when.dport = Some(range(rng));
    }
    if ported && chance(rng, 15) {
        let asker = pick(rng, &ASKERS);
        let first = pick(rng, &asker);
        when.sport = Some(PortRange { first, last: first + pick(rng, &[0, 1, 1_000]) });
    }
    let Some(hook) = hook else { return when };
    let ways = [
        (false, HookPoint::Output),
        (false, HookPoint::Postrouting),
        (true, HookPoint::Prerouting),
        (true, HookPoint::Input),
    ];
    if chance(rng, 30) && !ways.contains(&(false, hook)) {
        when.in_port = Some(PortId(rng.below(2) as u16));
    }
    if chance(rng, 30) && !ways.contains(&(true, hook)) {
        when.out_port = Some(PortId(rng.below(2) as u16));
    }
    if !stateless(hook) && chance(rng, 35) {
        let states = [CtState::New, CtState::Established, CtState::Related, CtState::Invalid];
        when.states = vec![pick(rng, &states)];
    }
    if when.protocol == Some(6) && chance(rng, 25) {
        let (mask, value) =
            pick(rng, &[(0x17, 0x02), (0x02, 0x02), (0x01, 0x01), (0x12, 0x12), (0x3f, 0x10)]);
        when.tcp_flags = Some(FlagsMatch { mask, value });
    }
    if when.protocol == Some(1) && chance(rng, 50) {
        when.icmp = Some(IcmpMatch { kind: pick(rng, &[8, 0, 3, 11]), code: chance(rng, 30).then_some(0) });
    }
    when
}

fn prefix(rng: &mut Rng, of: &[Ipv4Addr]) -> IpNet {
    let len = pick(rng, &[32, 32, 31, 24, 8]);
    IpNet::new(IpAddr::V4(pick(rng, of)), len).expect("a length").trunc()
}

fn range(rng: &mut Rng) -> PortRange {
    let first = pick(rng, &PORTS);
    PortRange { first, last: first + pick(rng, &[0, 0, 1, 400]) }
}

fn nat_rule(rng: &mut Rng) -> NatRule {
    let mut when = if chance(rng, 50) { Match::default() } else { matching(rng, None) };
    // Ports below 1024 stay below with the kernel: a range says the same to both.
    let ports = NatPorts::Preserve(PortRange { first: 1, last: 65_535 });
    let outside = pick(rng, &ROUTER[1..]);
    let action = match rng.below(5) {
        0 => NatAction::Masquerade { ports },
        1 => NatAction::Snat { to: IpAddr::V4(outside), ports },
        2 => NatAction::Accept,
        _ => {
            when.dst = vec![IpNet::from(IpAddr::V4(outside))];
            if !matches!(when.protocol, Some(6 | 17)) {
                (when.protocol, when.dport, when.sport) = (Some(pick(rng, &[6, 17])), None, None);
            }
            let port = chance(rng, 50).then(|| pick(rng, &PORTS));
            NatAction::Dnat { to: IpAddr::V4(pick(rng, &INSIDE)), port }
        }
    };
    if matches!(action, NatAction::Dnat { .. }) {
        when.in_port = Some(PortId(1));
    } else {
        // Of the source side: what leaves to the outside.
        when.out_port = Some(PortId(1));
    }
    let behaviour = if chance(rng, 50) {
        let strict = NatDepends::AddressAndPortDependent;
        NatBehaviour { mapping: strict, filtering: strict, overload: true, ..NatBehaviour::default() }
    } else {
        NatBehaviour::default()
    };
    NatRule { behaviour, ..NatRule::new(when, action, origin()) }
}
