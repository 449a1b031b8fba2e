//! NAT mappings in use: which external end stands for which inner end, who may come in through it, and whose port blocks
//! are whose.
//!
//! Not for choosing rules (`nat.rs`) nor for time (a mapping lives as long as a flow holds it: `conntrack.rs`). Main type:
//! [`Mappings`].
//!
//! Simplified against RFC 6888: a port is free as soon as its last flow is forgotten (REQ-8 wants two minutes of rest; the
//! timeouts of conntrack are that rest), and a block as soon as its last port is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rt_base::{FixedMap, Time, What};
use rt_rules::{NatBehaviour, NatDepends, PortRange};

use crate::tables::NatEntry;

/// One mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) protocol: u8,
    pub(crate) inner: SocketAddr,
    pub(crate) external: SocketAddr,
    /// The remote end that it is for, as far as it depends on it.
    pub(crate) remote: (Option<IpAddr>, Option<u16>),
    /// The rule that made it; `u32::MAX` once that is gone.
    pub(crate) rule: u32,
    pub(crate) behaviour: NatBehaviour,
    /// First port of the block that it counts in.
    pub(crate) block: Option<u16>,
    pub(crate) made: Time,
    flows: u32,
}

/// An external end in use.
#[derive(Clone, Copy, Debug)]
struct External {
    /// Its mapping, the only one unless it is overloaded.
    slot: u32,
    mappings: u32,
    overloaded: bool,
}

/// What makes a mapping the same as another: protocol, inner end, external address, remote end.
type Key = (u8, SocketAddr, IpAddr, (Option<IpAddr>, Option<u16>));

/// Who owns a block of ports, and how many mappings are in it.
#[derive(Clone, Copy, Debug)]
struct Block {
    inner: IpAddr,
    last: u16,
    mappings: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    slots: Vec<Mapping>,
    free: Vec<u32>,
    keys: FixedMap<Key, u32>,
    external: FixedMap<(u8, SocketAddr), External>,
    /// Flows between a mapping and a remote address, where that decides who may come in.
    permits: FixedMap<(u32, IpAddr), u32>,
    /// By external address and first port.
    blocks: BTreeMap<(IpAddr, u16), Block>,
    /// Blocks of each inner address on each external one, in the order in which they were taken, and the port that is next
    /// in turn.
    owned: BTreeMap<(IpAddr, IpAddr), (Vec<u16>, u16)>,
    /// Mappings of each inner address on each external one.
    users: BTreeMap<(IpAddr, IpAddr), u32>,
    /// External ports that inner ends had before a rebinding and must not get again.
    former: BTreeMap<(u8, SocketAddr), u16>,
    /// Goes up whenever a port becomes free.
    pub(crate) freed: u64,
    /// Blocks taken and given back since the last look.
    pub(crate) log: Vec<What>,
}

impl Mappings {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// One of them.
    pub(crate) fn get(&self, slot: u32) -> &Mapping {
        &self.slots[slot as usize]
    }

    fn key(mapping: &Mapping) -> Key {
        (mapping.protocol, mapping.inner, mapping.external.ip(), mapping.remote)
    }

    /// The remote end as far as a mapping of this behaviour depends on it.
    pub(crate) fn remote(behaviour: &NatBehaviour, to: SocketAddr) -> (Option<IpAddr>, Option<u16>) {
        match behaviour.mapping {
            NatDepends::EndpointIndependent => (None, None),
            NatDepends::AddressDependent => (Some(to.ip()), None),
            NatDepends::AddressAndPortDependent => (Some(to.ip()), Some(to.port())),
        }
    }

    /// The mapping that already serves such a flow.
    pub(crate) fn find(
        &self,
        protocol: u8,
        inner: SocketAddr,
        external: IpAddr,
        remote: (Option<IpAddr>, Option<u16>),
    ) -> Option<u32> {
        self.keys.get(&(protocol, inner, external, remote)).copied()
    }

    /// The mapping behind an external end, unless it is overloaded.
    pub(crate) fn behind(&self, protocol: u8, external: SocketAddr) -> Option<u32> {
        self.external.get(&(protocol, external)).filter(|e| !e.overloaded).map(|e| e.slot)
    }

    /// Whether an external end is taken for a mapping that may (not) share it.
    pub(crate) fn in_use(&self, protocol: u8, external: SocketAddr, overloads: bool) -> bool {
        self.external.get(&(protocol, external)).is_some_and(|e| !(e.overloaded && overloads))
    }

    /// Whether `inner` had this port before it had to change.
    pub(crate) fn is_former(&self, protocol: u8, inner: SocketAddr, port: u16) -> bool {
        !self.former.is_empty() && self.former.get(&(protocol, inner)) == Some(&port)
    }

    /// Enters a mapping, held by nobody yet.
    pub(crate) fn insert(&mut self, mapping: Mapping) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = mapping;
                slot
            }
            None => {
                self.slots.push(mapping);
                u32::try_from(self.slots.len() - 1).expect("invariant: fewer mappings than flows")
            }
        };
        self.keys.entry(Mappings::key(&mapping)).or_insert(slot);
        let overloaded = mapping.behaviour.overloads();
        let external = (mapping.protocol, mapping.external);
        self.external.entry(external).or_insert(External { slot, mappings: 0, overloaded }).mappings += 1;
        *self.users.entry((mapping.inner.ip(), mapping.external.ip())).or_insert(0) += 1;
        if let Some(block) = mapping.block.and_then(|at| self.blocks.get_mut(&(mapping.external.ip(), at))) {
            block.mappings += 1;
        }
        if !self.former.is_empty() {
            self.former.remove(&(mapping.protocol, mapping.inner));
        }
        slot
    }

    /// A flow with `remote` uses the mapping.
    pub(crate) fn hold(&mut self, slot: u32, remote: IpAddr) {
        let mapping = &mut self.slots[slot as usize];
        mapping.flows += 1;
        if mapping.behaviour.filtering == NatDepends::AddressDependent {
            *self.permits.entry((slot, remote)).or_insert(0) += 1;
        }
    }

    /// A flow with `remote` that used it is gone; the mapping goes with the last.
    pub(crate) fn release(&mut self, slot: u32, remote: IpAddr) {
        let Some(mapping) = self.slots.get_mut(slot as usize).filter(|m| m.flows > 0) else { return };
        mapping.flows -= 1;
        let gone = (mapping.flows == 0).then_some(*mapping);
        if let Some(flows) = self.permits.get_mut(&(slot, remote)) {
            *flows -= 1;
            if *flows == 0 {
                self.permits.remove(&(slot, remote));
            }
        }
        if let Some(mapping) = gone {
            self.remove(slot, &mapping);
        }
    }

    fn remove(&mut self, slot: u32, mapping: &Mapping) {
        self.freed += 1;
        self.free.push(slot);
        let key = Mappings::key(mapping);
        if self.keys.get(&key) == Some(&slot) {
            self.keys.remove(&key);
        }
        let end = (mapping.protocol, mapping.external);
        if let Some(external) = self.external.get_mut(&end) {
            external.mappings -= 1;
            if external.mappings == 0 {
                self.external.remove(&end);
            }
        }
        let pair = (mapping.inner.ip(), mapping.external.ip());
        if let Some(user) = self.users.get_mut(&pair) {
            *user -= 1;
            if *user == 0 {
                self.users.remove(&pair);
            }
        }
        if let Some(first) = mapping.block {
            self.leave_block(pair, first);
        }
    }

    /// Whether filtering lets `from` in.
    pub(crate) fn admits(&self, slot: u32, from: IpAddr) -> bool {
        match self.get(slot).behaviour.filtering {
            NatDepends::EndpointIndependent => true,
            NatDepends::AddressDependent => self.permits.contains_key(&(slot, from)),
            // What answers belongs to a flow and does not come here.
            NatDepends::AddressAndPortDependent => false,
        }
    }

    /// The external address of a pool that `inner` has mappings on.
    pub(crate) fn paired(&self, inner: IpAddr, pool: &ipnet::IpNet) -> Option<IpAddr> {
        let from = (inner, pool.network());
        let (&(user, external), _) = self.users.range(from..).next()?;
        (user == inner && pool.contains(&external)).then_some(external)
    }

    // ---- blocks (RFC 6888, RFC 7422) ---------------------------------------------------------------------------------

    /// The blocks of an inner address on an external one, by their first ports.
    pub(crate) fn blocks_of(&self, inner: IpAddr, external: IpAddr) -> (&[u16], u16) {
        self.owned
            .get(&(inner, external))
            .map(|(blocks, next)| (blocks.as_slice(), *next))
            .unwrap_or_default()
    }

    /// The port of its blocks with which the next search begins.
    pub(crate) fn set_next(&mut self, inner: IpAddr, external: IpAddr, next: u16) {
        if let Some((_, turn)) = self.owned.get_mut(&(inner, external)) {
            *turn = next;
        }
    }

    /// Gives `inner` the first block of `external` that nobody has.
    pub(crate) fn take_block(
        &mut self,
        inner: IpAddr,
        external: IpAddr,
        range: PortRange,
        size: u16,
    ) -> Option<u16> {
        let size = u32::from(size.max(1));
        let count = range.len() / size;
        let first = |n: u32| u16::try_from(u32::from(range.first) + n * size).ok();
        let found = (0..count).filter_map(first).find(|at| !self.blocks.contains_key(&(external, *at)))?;
        let last = (u32::from(found) + size - 1) as u16;
        self.blocks.insert((external, found), Block { inner, last, mappings: 0 });
        self.owned.entry((inner, external)).or_default().0.push(found);
        //= rfc6888#4 REQ-14
        self.log.push(What::NatBlock { inside: inner, outside: external, first: found, last, taken: true });
        Some(found)
    }

    /// A mapping of a block is gone; the block goes with the last.
    pub(crate) fn leave_block(&mut self, (inner, external): (IpAddr, IpAddr), first: u16) {
        let Some(block) = self.blocks.get_mut(&(external, first)) else { return };
        block.mappings = block.mappings.saturating_sub(1);
        if block.mappings > 0 {
            return;
        }
        let (inside, last) = (block.inner, block.last);
        self.blocks.remove(&(external, first));
        if let Some((owned, _)) = self.owned.get_mut(&(inner, external)) {
            owned.retain(|at| *at != first);
            if owned.is_empty() {
                self.owned.remove(&(inner, external));
            }
        }
        self.log.push(What::NatBlock { inside, outside: external, first, last, taken: false });
    }

    // ---- all of them -------------------------------------------------------------------------------------------------

    /// The rules changed: mappings of rules that are gone serve their flows and let nobody else in.
    pub(crate) fn renumber(&mut self, new_index: impl Fn(u32) -> u32) {
        for mapping in &mut self.slots {
            mapping.rule = new_index(mapping.rule);
        }
    }

    /// From now on no inner end gets the port again that it has.
    pub(crate) fn remember_ports(&mut self) {
        let live = self.slots.iter().filter(|m| m.flows > 0);
        self.former = live.map(|m| ((m.protocol, m.inner), m.external.port())).collect();
    }

    /// For people to see; `expires` says when each slot's last flow does.
    pub(crate) fn shown(&self, expires: &BTreeMap<u32, Time>) -> Vec<NatEntry> {
        let shown = |(slot, expires): (&u32, &Time)| {
            let m = self.get(*slot);
            NatEntry {
                protocol: m.protocol,
                inside: m.inner,
                outside: m.external,
                remote: m.remote,
                rule: m.rule,
                made: m.made,
                expires: *expires,
                flows: m.flows,
            }
        };
        let mut entries: Vec<NatEntry> = expires.iter().map(shown).collect();
        entries.sort_by_key(|e| (e.protocol, e.outside, e.inside, e.remote));
        entries
    }
}

/// A new mapping, which nobody holds yet.
pub(crate) fn mapping(
    (protocol, inner, external): (u8, SocketAddr, SocketAddr),
    remote: (Option<IpAddr>, Option<u16>),
    (rule, behaviour): (u32, NatBehaviour),
    block: Option<u16>,
    made: Time,
) -> Mapping {
    Mapping { protocol, inner, external, remote, rule, behaviour, block, made, flows: 0 }
}
