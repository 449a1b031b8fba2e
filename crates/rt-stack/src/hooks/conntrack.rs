//! Connection tracking: which flow a packet belongs to, in which direction, and how that flow is rewritten.
//!
//! Not for deciding (that is `filter.rs`) nor for choosing addresses (`nat.rs`). Main type: [`Conntrack`], a slab of
//! entries that two keys point into, one for each direction. A [`Draft`] travels with the first packet of a flow and
//! becomes an entry only when that packet passes, as in netfilter.
//!
//! Simplified against Linux: TCP windows are not checked; a TCP flow must begin with a SYN (Linux: `nf_conntrack_tcp_loose`
//! set to 0); no helpers, so FTP's second connection is a new flow; timeouts are Linux's defaults, of which only that of an idle
//! TCP connection can be set. Entries
//! expire when somebody looks: a packet of the flow, or the sweep that every new flow pays for.

use core::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use rt_base::{FixedMap, HookPoint, Nanos, PortId, Time};
use rt_rules::CtState;
use rt_wire::TcpFlags;

use super::nat::Mapping;
use crate::packet::protocol;

/// One direction of a flow. ICMP echo has its identifier in `sport` and type and code in `dport`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tuple {
    pub(crate) protocol: u8,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
}

impl Tuple {
    /// What an answer to it looks like.
    pub(crate) fn reversed(self) -> Tuple {
        let (sport, dport) = match self.protocol {
            protocol::ICMP => (self.sport, reversed_echo(self.dport)),
            _ => (self.dport, self.sport),
        };
        Tuple { protocol: self.protocol, src: self.dst, dst: self.src, sport, dport }
    }

    /// Of packets from `src` to `dst`.
    pub(crate) fn between(protocol: u8, src: SocketAddr, dst: SocketAddr) -> Tuple {
        Tuple { protocol, src: src.ip(), dst: dst.ip(), sport: src.port(), dport: dst.port() }
    }

    /// Source address and port.
    pub(crate) fn source(self) -> SocketAddr {
        SocketAddr::new(self.src, self.sport)
    }

    /// Destination address and port; for ICMP the port is the identifier, which belongs to both ends.
    pub(crate) fn destination(self) -> SocketAddr {
        let port = if self.protocol == protocol::ICMP { self.sport } else { self.dport };
        SocketAddr::new(self.dst, port)
    }

    /// Moves its source elsewhere.
    pub(crate) fn set_source(&mut self, to: SocketAddr) {
        (self.src, self.sport) = (to.ip(), to.port());
    }

    /// Moves its destination elsewhere.
    pub(crate) fn set_destination(&mut self, to: SocketAddr) {
        self.dst = to.ip();
        if self.protocol == protocol::ICMP {
            self.sport = to.port();
        } else {
            self.dport = to.port();
        }
    }
}

impl Hash for Tuple {
    /// Two words for IPv4: the derived hash would feed the hasher byte strings.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let low = (u64::from(self.sport) << 24) | (u64::from(self.dport) << 8) | u64::from(self.protocol);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                state.write_u64((u64::from(src.to_bits()) << 32) | u64::from(dst.to_bits()));
            }
            (src, dst) => {
                src.hash(state);
                dst.hash(state);
            }
        }
        state.write_u64(low);
    }
}

const ECHO_REQUEST: u16 = 8 << 8;
const ECHO_REPLY: u16 = 0;

fn reversed_echo(kind: u16) -> u16 {
    if kind == ECHO_REQUEST { ECHO_REPLY } else { ECHO_REQUEST }
}

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// As the first packet.
    Original,
    /// Back.
    Reply,
}

impl Direction {
    fn index(self) -> usize {
        self as usize
    }
}

/// A flow whose first packet is still on its way through the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Draft {
    /// As the first packet came.
    pub(crate) original: Tuple,
    /// As answers will come: NAT changes this one.
    pub(crate) reply: Tuple,
    /// The NAT port it holds.
    pub(crate) mapping: Option<Mapping>,
}

/// What conntrack says of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Track {
    /// Nobody asked: this machine has no hooks, or the packet is its own ICMP error.
    #[default]
    Untracked,
    /// It belongs to nothing known.
    Invalid,
    /// It begins a flow. (Boxed: every packet carries a `Track`, few begin a flow.)
    New(Box<Draft>),
    /// It belongs to this entry.
    Known { entry: u32, direction: Direction, state: CtState },
}

impl Track {
    /// The state that rules match on.
    pub(crate) fn state(&self) -> CtState {
        match self {
            Track::Untracked | Track::New(_) => CtState::New,
            Track::Invalid => CtState::Invalid,
            Track::Known { state, .. } => *state,
        }
    }
}

/// What conntrack needs to see of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    /// A packet of a flow; TCP flags where it is TCP.
    Packet(Tuple, Option<TcpFlags>),
    /// An ICMP error quoting a packet with this tuple.
    Error(Tuple),
    /// Something that cannot be tracked (other ICMP, cut short).
    Odd,
}

/// A verdict kept in the flow: valid for the same rules, hook, state and interfaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CachedVerdict {
    pub(crate) generation: u32,
    pub(crate) hook: HookPoint,
    pub(crate) state: CtState,
    pub(crate) in_port: Option<PortId>,
    pub(crate) out_port: Option<PortId>,
    /// The rule that accepted, `u32::MAX` for the policy.
    pub(crate) rule: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    live: bool,
    replied: bool,
    /// Some address or port is changed on the way.
    rewrites: bool,
    tcp: TcpTrack,
    expires: Time,
    /// Indexed by [`Direction`].
    tuples: [Tuple; 2],
    verdicts: [Option<CachedVerdict>; 2],
    mapping: Option<Mapping>,
}

/// The connection table is full and nothing in it has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableFull;

/// Entries looked at for every new flow, so that dead ones go without a timer.
const SWEEP: usize = 4;

/// The connection table.
#[derive(Debug)]
pub(crate) struct Conntrack {
    entries: Vec<Entry>,
    free: Vec<u32>,
    keys: FixedMap<Tuple, (u32, Direction)>,
    cursor: usize,
    max: usize,
    /// How long an open TCP connection is remembered on which nothing is said.
    tcp_idle: Nanos,
    /// When every entry was last looked at.
    swept: Option<Time>,
    /// NAT ports whose flows are gone; the caller gives them back.
    released: Vec<Mapping>,
}

impl Conntrack {
    /// An empty table for at most `max` flows.
    pub(crate) fn new(max: usize, tcp_idle: Nanos) -> Conntrack {
        Conntrack {
            entries: Vec::new(),
            free: Vec::new(),
            keys: FixedMap::default(),
            cursor: 0,
            max,
            tcp_idle,
            swept: None,
            released: Vec::new(),
        }
    }

    /// Finds the packet's flow and moves its state on.
    pub(crate) fn track(&mut self, now: Time, sight: Sight) -> Track {
        match sight {
            Sight::Odd => Track::Invalid,
            Sight::Error(quoted) => self.track_error(now, quoted),
            Sight::Packet(tuple, flags) => self.track_packet(now, tuple, flags),
        }
    }

    fn track_packet(&mut self, now: Time, tuple: Tuple, flags: Option<TcpFlags>) -> Track {
        let Some((index, direction)) = self.find(now, &tuple) else { return first_of_flow(tuple, flags) };
        let entry = &mut self.entries[index as usize];
        let opens = flags.is_some_and(|f| f.has(TcpFlags::SYN) && !f.has(TcpFlags::ACK));
        if opens && direction == Direction::Original && entry.tcp.is_over() {
            self.remove(index);
            return first_of_flow(tuple, flags);
        }
        entry.replied |= direction == Direction::Reply;
        if let Some(flags) = flags {
            entry.tcp = entry.tcp.after(direction, flags);
        }
        entry.expires = now + entry.timeout(self.tcp_idle);
        let state = if entry.replied { CtState::Established } else { CtState::New };
        Track::Known { entry: index, direction, state }
    }

    /// An error about a packet travels against it: the quoted packet's answer is its own direction.
    fn track_error(&mut self, now: Time, quoted: Tuple) -> Track {
        match self.find(now, &quoted.reversed()) {
            Some((entry, direction)) => Track::Known { entry, direction, state: CtState::Related },
            None => Track::Invalid,
        }
    }

    fn find(&mut self, now: Time, tuple: &Tuple) -> Option<(u32, Direction)> {
        let &(index, direction) = self.keys.get(tuple)?;
        if self.entries[index as usize].expires <= now {
            self.remove(index);
            return None;
        }
        Some((index, direction))
    }

    /// The destination that the first packet of a flow had, whose answers leave this machine with `answer`.
    pub(crate) fn original_destination(&self, answer: &Tuple) -> Option<SocketAddr> {
        let &(index, _) = self.keys.get(answer)?;
        Some(self.tuple(index, Direction::Original).destination())
    }

    /// Whether an answer with this tuple would already belong to a flow.
    pub(crate) fn knows(&self, tuple: &Tuple) -> bool {
        self.keys.contains_key(tuple)
    }

    /// Makes the entry of a flow whose first packet passed.
    pub(crate) fn confirm(&mut self, now: Time, draft: Draft) -> Result<u32, TableFull> {
        self.sweep(now, SWEEP);
        let full = |table: &Conntrack| table.entries.len() - table.free.len() >= table.max;
        if full(self) {
            self.sweep_all(now);
        }
        if full(self) {
            return Err(TableFull);
        }
        let mut entry = Entry {
            live: true,
            replied: false,
            rewrites: draft.reply != draft.original.reversed(),
            tcp: TcpTrack::SynSent,
            expires: now,
            tuples: [draft.original, draft.reply],
            verdicts: [None; 2],
            mapping: draft.mapping,
        };
        entry.expires = now + entry.timeout(self.tcp_idle);
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("invariant: max is below 2^32")
            }
        };
        self.keys.insert(draft.original, (index, Direction::Original));
        self.keys.insert(draft.reply, (index, Direction::Reply));
        Ok(index)
    }

    /// Looks at every entry, at most once a second (a flood must not make each packet cost that); whether it did.
    pub(crate) fn sweep_all(&mut self, now: Time) -> bool {
        let due = self.swept.is_none_or(|at| now.since(at) >= Nanos::from_secs(1));
        if due {
            self.swept = Some(now);
            self.sweep(now, self.entries.len());
        }
        due
    }

    fn sweep(&mut self, now: Time, steps: usize) {
        for _ in 0..steps.min(self.entries.len()) {
            self.cursor = (self.cursor + 1) % self.entries.len();
            let entry = &self.entries[self.cursor];
            if entry.live && entry.expires <= now {
                self.remove(self.cursor as u32);
            }
        }
    }

    fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if !entry.live {
            return;
        }
        entry.live = false;
        let tuples = entry.tuples;
        self.released.extend(entry.mapping.take());
        for tuple in tuples {
            // A flow whose two tuples clash with another's must not take that one's key with it.
            if self.keys.get(&tuple).is_some_and(|(at, _)| *at == index) {
                self.keys.remove(&tuple);
            }
        }
        self.free.push(index);
    }

    /// NAT ports whose flows ended since the last call.
    pub(crate) fn released(&mut self) -> impl Iterator<Item = Mapping> {
        self.released.drain(..)
    }

    /// How a packet that came as `direction` of this entry must look when it leaves.
    pub(crate) fn target(&self, entry: u32, direction: Direction) -> Tuple {
        self.entries[entry as usize].tuples[1 - direction.index()].reversed()
    }

    /// Whether NAT changes anything in this flow.
    pub(crate) fn rewrites(&self, entry: u32) -> bool {
        self.entries[entry as usize].rewrites
    }

    /// How packets of this direction come in.
    pub(crate) fn tuple(&self, entry: u32, direction: Direction) -> Tuple {
        self.entries[entry as usize].tuples[direction.index()]
    }

    /// The verdict kept for this direction.
    pub(crate) fn cached(&self, entry: u32, direction: Direction) -> Option<CachedVerdict> {
        self.entries[entry as usize].verdicts[direction.index()]
    }

    /// Keeps a verdict.
    pub(crate) fn cache(&mut self, entry: u32, direction: Direction, verdict: CachedVerdict) {
        self.entries[entry as usize].verdicts[direction.index()] = Some(verdict);
    }

    /// Flows in the table (some may have expired unseen).
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

/// The first packet of a flow, if it may be one.
fn first_of_flow(tuple: Tuple, flags: Option<TcpFlags>) -> Track {
    let may_begin = match (tuple.protocol, flags) {
        (protocol::TCP, Some(f)) => f.has(TcpFlags::SYN) && !f.has(TcpFlags::ACK) && !f.has(TcpFlags::RST),
        (protocol::ICMP, _) => tuple.dport == ECHO_REQUEST,
        _ => true,
    };
    if !may_begin {
        return Track::Invalid;
    }
    Track::New(Box::new(Draft { original: tuple, reply: tuple.reversed(), mapping: None }))
}

/// A TCP flow as seen from the middle (Linux `nf_conntrack_proto_tcp.c`, without windows).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TcpTrack {
    SynSent,
    SynReceived,
    Established,
    /// One side has sent FIN.
    FinWait(Direction),
    /// Both have.
    LastAck,
    TimeWait,
    Closed,
}

impl TcpTrack {
    fn after(self, direction: Direction, flags: TcpFlags) -> TcpTrack {
        let has = |flag| flags.has(flag);
        if has(TcpFlags::RST) {
            return TcpTrack::Closed;
        }
        match self {
            TcpTrack::SynSent if direction == Direction::Reply && has(TcpFlags::SYN) => TcpTrack::SynReceived,
            TcpTrack::SynReceived if direction == Direction::Original && has(TcpFlags::ACK) => {
                TcpTrack::Established
            }
            TcpTrack::SynReceived | TcpTrack::Established if has(TcpFlags::FIN) => {
                TcpTrack::FinWait(direction)
            }
            TcpTrack::FinWait(first) if first != direction && has(TcpFlags::FIN) => TcpTrack::LastAck,
            TcpTrack::LastAck if !has(TcpFlags::FIN) => TcpTrack::TimeWait,
            same => same,
        }
    }

    fn is_over(self) -> bool {
        matches!(self, TcpTrack::TimeWait | TcpTrack::Closed | TcpTrack::LastAck)
    }
}

impl Entry {
    /// Linux's defaults (`nf_conntrack_*_timeout*`).
    fn timeout(&self, tcp_idle: Nanos) -> Nanos {
        let seconds = match self.tuples[0].protocol {
            protocol::TCP => match self.tcp {
                TcpTrack::SynSent | TcpTrack::FinWait(_) | TcpTrack::TimeWait => 120,
                TcpTrack::SynReceived => 60,
                TcpTrack::Established => return tcp_idle,
                TcpTrack::LastAck => 30,
                TcpTrack::Closed => 10,
            },
            protocol::UDP if self.replied => 120,
            protocol::UDP | protocol::ICMP => 30,
            _ => 600,
        };
        Nanos::from_secs(seconds)
    }
}

#[cfg(test)]
mod tests;
