//! Which rule of a long chain matches first, without asking each: decision trees over addresses, ports, protocol and
//! interfaces.
//!
//! Not for what a rule means: [`Match::holds`](crate::Match::holds) says that, and a test holds the trees against the plain
//! search from the top with thousands of random chains. Main type: [`CompiledChain`].
//!
//! A rule is one box (or several, for several prefixes) in a space of seven dimensions. A tree halves the space at one value of
//! one dimension until few boxes are left in a part (HyperSplit: Qi et al., INFOCOM 2009); boxes that lie on both sides go
//! into both halves. Rules for all sources or all destinations would do that everywhere, so there are up to four trees, by which
//! of the two addresses a rule leaves (almost) open (EffiCuts: Vamanan et al., SIGCOMM 2010). In a part that one box fills,
//! later rules are never asked. What a box cannot say (states, TCP flags) is asked of the rule itself.
//!
//! Copies are limited: a chain whose rules overlap in the worst way is searched partly in long lists, slower but right.

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::PortId;

use crate::{Action, Chain, Filter, Flow};

/// Chains of so many rules are searched from the top: no tree is faster.
const FEW: usize = 12;
/// Rules that a part may keep.
const LEAF: usize = 6;
/// Copies of boxes that the trees of a chain may hold, for each box.
const COPIES: usize = 12;
/// Boxes that one rule may become; one with more prefixes leaves an address open in its box.
const BOXES: usize = 4_096;
/// A box that leaves more than this of IPv4's addresses counts as open.
const OPEN: u64 = 1 << 24;

const SRC: usize = 0;
const DST: usize = 1;
const SPORT: usize = 2;
const DPORT: usize = 3;
const PROTOCOL: usize = 4;
const IN: usize = 5;
const OUT: usize = 6;
const DIMENSIONS: usize = 7;

type Key = [u64; DIMENSIONS];
/// First and last value, inclusive.
type Span = (u64, u64);
type Region = [Span; DIMENSIONS];

const EVERYTHING: Region = [(0, u64::MAX); DIMENSIONS];

/// A chain, prepared for finding the first rule that matches.
#[derive(Clone, Debug)]
pub struct CompiledChain {
    chain: Chain,
    trees: Vec<Tree>,
}

impl CompiledChain {
    /// Prepares a chain. A short one costs nothing.
    #[must_use]
    pub fn new(chain: Chain) -> CompiledChain {
        let trees = if chain.rules.len() > FEW { trees(&chain.rules) } else { Vec::new() };
        CompiledChain { chain, trees }
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The first rule at or behind `from` whose conditions hold.
    #[must_use]
    pub fn first(&self, flow: &Flow, from: u32) -> Option<u32> {
        let rules = &self.chain.rules;
        if rules.len() <= FEW {
            let found = rules.iter().skip(from as usize).position(|rule| rule.when.holds(flow))?;
            return u32::try_from(found).ok().map(|found| found + from);
        }
        let key = key(flow);
        let best =
            self.trees.iter().fold(u32::MAX, |best, tree| tree.first(rules, (flow, &key), (from, best)));
        (best != u32::MAX).then_some(best)
    }

    /// The same as [`Chain::judge`], by the trees.
    #[must_use]
    pub fn judge(&self, flow: &Flow) -> (Action, Option<u32>) {
        let mut from = 0;
        while let Some(rule) = self.first(flow, from) {
            let action = self.chain.rules[rule as usize].action;
            if action != Action::Continue {
                return (action, Some(rule));
            }
            from = rule + 1;
        }
        (self.chain.policy.action, None)
    }
}

/// A rule, or one of its prefixes, as a box.
#[derive(Clone, Debug)]
struct Item {
    rule: u32,
    /// The box says all that the rule says.
    exact: bool,
    /// Whoever it matches is decided: nobody behind it is asked.
    closes: bool,
    region: Region,
}

impl Item {
    fn holds(&self, key: &Key) -> bool {
        self.region.iter().zip(key).all(|((first, last), value)| first <= value && value <= last)
    }

    fn fills(&self, region: &Region) -> bool {
        self.closes && self.region.iter().zip(region).all(|(own, part)| own.0 <= part.0 && part.1 <= own.1)
    }

    fn is_open(&self, dimension: usize) -> bool {
        self.region[dimension].1 - self.region[dimension].0 > OPEN
    }
}

#[derive(Clone, Copy, Debug)]
enum Node {
    /// Below `cut` go to the node at `low`, others to the one behind it.
    Cut { dimension: u8, low: u32, cut: u64 },
    /// These places of the list.
    Leaf { first: u32, last: u32 },
}

#[derive(Clone, Debug)]
struct Tree {
    items: Vec<Item>,
    nodes: Vec<Node>,
    /// Indices of items, by leaf, in the order of the rules.
    lists: Vec<u32>,
    /// The first rule in it.
    least: u32,
}

impl Tree {
    /// The first rule at or behind `from` and before `best` that matches, else `best`.
    fn first(&self, rules: &[Filter], (flow, key): (&Flow, &Key), (from, best): (u32, u32)) -> u32 {
        if self.least >= best {
            return best;
        }
        for &index in self.leaf(key) {
            let item = &self.items[index as usize];
            if item.rule >= best {
                break;
            }
            let matches = || item.holds(key) && (item.exact || rules[item.rule as usize].when.holds(flow));
            if item.rule >= from && matches() {
                return item.rule;
            }
        }
        best
    }

    fn leaf(&self, key: &Key) -> &[u32] {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Cut { dimension, low, cut } => {
                    at = low as usize + usize::from(key[usize::from(dimension)] >= cut);
                }
                Node::Leaf { first, last } => return &self.lists[first as usize..last as usize],
            }
        }
    }
}

fn key(flow: &Flow) -> Key {
    [
        address(flow.src),
        address(flow.dst),
        u64::from(flow.sport),
        u64::from(flow.dport),
        u64::from(flow.protocol),
        interface(flow.in_port),
        interface(flow.out_port),
    ]
}

/// IPv4 below, IPv6 above by its first 63 bits.
fn address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 65) as u64 | 1 << 63,
    }
}

fn interface(port: Option<PortId>) -> u64 {
    port.map_or(0, |port| u64::from(port.0) + 1)
}

fn span(net: &IpNet) -> Span {
    (address(net.network()), address(net.broadcast()))
}

fn boxes(index: u32, rule: &Filter) -> Vec<Item> {
    let when = &rule.when;
    let nobody = |group: &Option<String>, nets: &[IpNet]| group.is_some() && nets.is_empty();
    if nobody(&when.src_group, &when.src) || nobody(&when.dst_group, &when.dst) {
        return Vec::new();
    }
    let mut region = EVERYTHING;
    let one = |value: u64| (value, value);
    let ports = |range: Option<crate::PortRange>| {
        range.map_or(EVERYTHING[SPORT], |r| (u64::from(r.first), u64::from(r.last)))
    };
    (region[SPORT], region[DPORT]) = (ports(when.sport), ports(when.dport));
    region[PROTOCOL] = when.protocol.map_or(region[PROTOCOL], |p| one(u64::from(p)));
    region[IN] = when.in_port.map_or(region[IN], |p| one(interface(Some(p))));
    region[OUT] = when.out_port.map_or(region[OUT], |p| one(interface(Some(p))));
    let plain = when.states.is_empty() && when.tcp_flags.is_none() && when.icmp.is_none();
    let v4 = |nets: &[IpNet]| nets.iter().all(|net| matches!(net, IpNet::V4(_)));
    let mut exact = plain && v4(&when.src) && v4(&when.dst);
    let mut spans = |nets: &[IpNet], most: usize| match nets.len() {
        0 => vec![EVERYTHING[SRC]],
        n if n > most => {
            exact = false;
            vec![EVERYTHING[SRC]]
        }
        _ => nets.iter().map(span).collect(),
    };
    let sources = spans(&when.src, BOXES);
    let destinations = spans(&when.dst, BOXES / sources.len());
    let closes = exact && rule.limit.is_none() && rule.action != Action::Continue;
    let mut items = Vec::with_capacity(sources.len() * destinations.len());
    for src in &sources {
        for dst in &destinations {
            (region[SRC], region[DST]) = (*src, *dst);
            items.push(Item { rule: index, exact, closes, region });
        }
    }
    items
}

fn trees(rules: &[Filter]) -> Vec<Tree> {
    let mut groups: [Vec<Item>; 4] = Default::default();
    for (index, rule) in (0_u32..).zip(rules) {
        for item in boxes(index, rule) {
            groups[usize::from(item.is_open(SRC)) * 2 + usize::from(item.is_open(DST))].push(item);
        }
    }
    groups.into_iter().filter(|items| !items.is_empty()).map(grow).collect()
}

/// A part of the space that is still to be cut, and the items in it.
struct Part {
    node: usize,
    region: Region,
    items: Vec<u32>,
}

fn grow(items: Vec<Item>) -> Tree {
    let least = items[0].rule;
    let mut tree = Tree { items, nodes: vec![Node::Leaf { first: 0, last: 0 }], lists: Vec::new(), least };
    let mut room = tree.items.len() * COPIES;
    let all = (0..tree.items.len() as u32).collect();
    // Level by level, so that copies are spent on the largest parts first.
    let mut parts = VecDeque::from([Part { node: 0, region: EVERYTHING, items: all }]);
    while let Some(part) = parts.pop_front() {
        match best_cut(&tree.items, &part, room) {
            Some((dimension, cut)) => {
                let (low, high) = halves(&tree.items, &part, (dimension, cut));
                room -= (low.len() + high.len()).saturating_sub(part.items.len());
                let at = tree.nodes.len();
                tree.nodes[part.node] = Node::Cut { dimension: dimension as u8, low: at as u32, cut };
                for (node, items, span) in [
                    (at, low, (part.region[dimension].0, cut - 1)),
                    (at + 1, high, (cut, part.region[dimension].1)),
                ] {
                    tree.nodes.push(Node::Leaf { first: 0, last: 0 });
                    let mut region = part.region;
                    region[dimension] = span;
                    parts.push_back(Part { node, region, items });
                }
            }
            None => {
                let first = tree.lists.len() as u32;
                tree.lists.extend(&part.items);
                tree.nodes[part.node] = Node::Leaf { first, last: tree.lists.len() as u32 };
            }
        }
    }
    tree
}

fn halves(items: &[Item], part: &Part, (dimension, cut): (usize, u64)) -> (Vec<u32>, Vec<u32>) {
    let (from, to) = part.region[dimension];
    let half = |half: Span| {
        let mut region = part.region;
        region[dimension] = half;
        let item = |i: &u32| &items[*i as usize];
        let meets = |i: &u32| item(i).region[dimension].0 <= half.1 && half.0 <= item(i).region[dimension].1;
        let mut inside: Vec<u32> = part.items.iter().copied().filter(meets).collect();
        if let Some(filled) = inside.iter().position(|i| item(i).fills(&region)) {
            inside.truncate(filled + 1);
        }
        inside
    };
    (half((from, cut - 1)), half((cut, to)))
}

/// The cut after which a search is cheapest, if any helps: the quarters of where boxes begin and end, in each dimension.
fn best_cut(items: &[Item], part: &Part, room: usize) -> Option<(usize, u64)> {
    let count = part.items.len();
    if count <= LEAF {
        return None;
    }
    let mut best: Option<(usize, (usize, u64))> = None;
    let mut edges = Vec::new();
    for (dimension, &(from, to)) in part.region.iter().enumerate() {
        let spans = || part.items.iter().map(|i| items[*i as usize].region[dimension]);
        edges.clear();
        edges.extend(spans().map(|s| s.0).filter(|first| *first > from));
        edges.extend(spans().map(|s| s.1).filter(|last| *last < to).map(|last| last + 1));
        edges.sort_unstable();
        edges.dedup();
        for quarter in 1..4 {
            let Some(&cut) = edges.get(edges.len() * quarter / 4) else { continue };
            let low = asked(items, part, dimension, (from, cut - 1));
            let high = asked(items, part, dimension, (cut, to));
            let copies = (low + high).saturating_sub(count);
            let helps = low.max(high) < count - count / 16 && copies <= room;
            let cost = low * low + high * high;
            if helps && best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, (dimension, cut)));
            }
        }
    }
    best.map(|(_, cut)| cut)
}

/// How many items of the part could still be asked in this half of it.
fn asked(items: &[Item], part: &Part, dimension: usize, half: Span) -> usize {
    let mut region = part.region;
    region[dimension] = half;
    let mut count = 0;
    for item in part.items.iter().map(|i| &items[*i as usize]) {
        let span = item.region[dimension];
        if span.0 <= half.1 && half.0 <= span.1 {
            count += 1;
            if item.fills(&region) {
                break;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests;
