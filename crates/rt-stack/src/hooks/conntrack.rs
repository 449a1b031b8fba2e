//! Connection tracking: which flow a packet belongs to, in which direction, and how that flow is rewritten.
//!
//! Not for deciding (that is `filter.rs`) nor for choosing addresses (`nat.rs`). Main type: [`Conntrack`], a slab of
//! entries that two keys point into, one for each direction. A [`Draft`] travels with the first packet of a flow and
//! becomes an entry only when that packet passes, as in netfilter. An entry has two halves: the [`Line`] that every packet
//! touches, and the [`Rest`].
//!
//! Simplified against Linux: TCP's numbers are not checked; a TCP flow must begin with a SYN (Linux: `nf_conntrack_tcp_loose`
//! set to 0) unless `tcp_loose` says otherwise; no helpers, so FTP's second connection is a new flow. A flow whose time is up is gone as
//! soon as somebody asks: a packet of it, or any packet that begins a flow.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{FixedMap, HookPoint, Nanos, PortId, Time};
use rt_rules::{ConntrackOptions, CtState};
use rt_wire::TcpFlags;

use super::expiry::Expiry;
use super::index::{Index, NUMBERS};
use super::line::{Key, Line};
use super::tcp_track::{Step, TcpTrack};
use super::tuple::ECHO_REQUEST;
pub(crate) use super::tuple::{DIRECTIONS, Direction, Tuple};
use crate::packet::protocol;
use crate::tables::{FlowEntry, FlowState};

/// A flow whose first packet is still on its way through the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Draft {
    /// As the first packet came.
    pub(crate) original: Tuple,
    /// As answers will come: NAT changes this one.
    pub(crate) reply: Tuple,
    /// The NAT mappings that it uses for its destination and for its source.
    pub(crate) holds: [Option<u32>; 2],
    /// It comes from inside for an external end: the outer interface that it would have gone out and come in by.
    pub(crate) hairpin: Option<Option<PortId>>,
    /// The NAT rules that changed its destination and its source.
    pub(crate) rules: [Option<u32>; 2],
    /// Where its TCP connection stands.
    tcp: Option<TcpTrack>,
    /// Bytes of the packet.
    len: u16,
    /// What the filter said that is good for the next packet as well.
    pub(crate) verdict: Option<CachedVerdict>,
}

/// What conntrack says of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Track {
    /// Nobody asked: this machine has no hooks, or the packet is its own ICMP error.
    #[default]
    Untracked,
    /// It is this machine's own word (an ICMP error, a reset) about a packet that is tracked, and needs no entry.
    Related,
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
            Track::Related => CtState::Related,
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
    /// Those TCP flags that rules look at.
    pub(crate) tcp_flags: u8,
    /// The rule that accepted, `u32::MAX` for the policy.
    pub(crate) rule: u32,
}

/// What only some packets of a flow touch.
#[derive(Clone, Debug)]
struct Rest {
    /// Some address or port is changed on the way.
    rewrites: bool,
    serial: u32,
    /// When it is looked at next; never later than it expires.
    queued: Time,
    /// Packets and bytes of each [`Direction`], beside those that the line has.
    counted: [(u64, u64); 2],
    verdicts: [Option<CachedVerdict>; 2],
    /// NAT mappings in use: see [`Draft`].
    holds: [Option<u32>; 2],
    began: Time,
    rules: [Option<u32>; 2],
}

/// Why a flow is not entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The connection table is full and nothing in it has expired.
    Full,
    /// Its source has as many flows as one may have.
    SourceLimit,
}

/// The connection table.
#[derive(Debug)]
pub(crate) struct Conntrack {
    lines: Vec<Line>,
    /// Beside each line.
    rests: Vec<Rest>,
    free: Vec<u32>,
    keys: Index,
    expiry: Expiry,
    /// Which flow of those that had the same place the next one is.
    serial: u32,
    options: ConntrackOptions,
    /// Flows begun by each source, where that is limited.
    sources: FixedMap<Ipv4Addr, u32>,
    /// NAT mappings whose flows are gone, with the other end's address; the caller gives them back.
    released: Vec<(u32, IpAddr)>,
}

impl Conntrack {
    /// An empty table.
    pub(crate) fn new(options: ConntrackOptions) -> Conntrack {
        Conntrack {
            lines: Vec::new(),
            rests: Vec::new(),
            free: Vec::new(),
            keys: Index::default(),
            expiry: Expiry::default(),
            serial: 0,
            options,
            sources: FixedMap::default(),
            released: Vec::new(),
        }
    }

    /// A filter answered a packet of this flow with a reset (Linux's `nf_ct_set_closing`).
    pub(crate) fn close(&mut self, entry: u32) {
        let line = &mut self.lines[entry as usize];
        line.tcp = line.tcp.map(TcpTrack::closed);
    }

    /// Finds the flow of a packet of so many bytes, counts it and moves the flow's state on.
    pub(crate) fn track(&mut self, now: Time, sight: Sight, len: u16) -> Track {
        match sight {
            Sight::Odd => Track::Invalid,
            Sight::Error(quoted) => self.track_error(now, quoted),
            Sight::Packet(tuple, flags) => self.track_packet(now, tuple, flags, len),
        }
    }

    fn track_packet(&mut self, now: Time, tuple: Tuple, flags: Option<TcpFlags>, len: u16) -> Track {
        let Some((index, direction)) = self.find(now, &tuple) else {
            self.expire(now);
            return self.first_of_flow(tuple, flags, len);
        };
        let line = &mut self.lines[index as usize];
        let (mut believed, mut over) = (true, false);
        if let (Some(flags), Some(tcp)) = (flags, line.tcp) {
            match tcp.step(direction, flags) {
                Step::Invalid => return Track::Invalid,
                Step::Begins => {
                    self.remove(index);
                    return self.first_of_flow(tuple, flags.into(), len);
                }
                Step::Passes(tcp) => (line.tcp, believed) = (Some(tcp), false),
                // Refused at once: nothing of it needs to be remembered.
                Step::Goes(tcp) => (line.tcp, over) = (Some(tcp), tcp.was_reset() && !line.is_replied()),
            }
        }
        if direction == Direction::Reply && !line.is_replied() {
            line.reply();
        }
        let expires = match (over, believed) {
            (true, _) => now,
            (false, true) => now + timeout(line, &self.options),
            (false, false) => line.expires,
        };
        let state = if line.is_replied() { CtState::Established } else { CtState::New };
        self.count(index, direction, len);
        self.expire_at(index, expires);
        Track::Known { entry: index, direction, state }
    }

    #[inline]
    fn count(&mut self, index: u32, direction: Direction, len: u16) {
        let line = &mut self.lines[index as usize];
        if !line.count(direction, len) {
            self.rests[index as usize].add(line.take_counted());
            line.count(direction, len);
        }
    }

    /// Another end of its time; the queue learns of it only when it is sooner than before.
    #[inline]
    fn expire_at(&mut self, index: u32, at: Time) {
        let line = &mut self.lines[index as usize];
        let sooner = at < line.expires;
        line.expires = at;
        if sooner {
            let rest = &mut self.rests[index as usize];
            if at < rest.queued {
                rest.queued = at;
                self.expiry.push(at, (index, rest.serial));
            }
        }
    }

    /// The first packet of a flow, if it may be one.
    fn first_of_flow(&self, tuple: Tuple, flags: Option<TcpFlags>, len: u16) -> Track {
        let tcp = flags.and_then(|flags| TcpTrack::begin(flags, self.options.tcp_loose));
        let may_begin = match tuple.protocol {
            protocol::TCP => tcp.is_some(),
            protocol::ICMP => tuple.dport == ECHO_REQUEST,
            _ => true,
        };
        if !may_begin {
            return Track::Invalid;
        }
        let (original, reply) = (tuple, tuple.reversed());
        Track::New(Box::new(Draft {
            original,
            reply,
            holds: [None; 2],
            hairpin: None,
            rules: [None; 2],
            tcp,
            len,
            verdict: None,
        }))
    }

    /// An error about a packet travels against it: the quoted packet's answer is its own direction.
    fn track_error(&mut self, now: Time, quoted: Tuple) -> Track {
        match self.find(now, &quoted.reversed()) {
            Some((entry, direction)) => Track::Known { entry, direction, state: CtState::Related },
            None => Track::Invalid,
        }
    }

    fn find(&mut self, now: Time, tuple: &Tuple) -> Option<(u32, Direction)> {
        let (index, direction) = self.look_up(Key::of(tuple))?;
        if self.lines[index as usize].expires <= now {
            self.remove(index);
            return None;
        }
        Some((index, direction))
    }

    /// The flow that packets with this key belong to, unless it has expired unseen.
    #[inline]
    pub(crate) fn look_up(&self, key: Key) -> Option<(u32, Direction)> {
        let is = |number: u32| self.lines[number as usize / 2].direction(key).is_some();
        let index = self.keys.find(key.hash(), is)? / 2;
        Some((index, self.lines[index as usize].direction(key)?))
    }

    /// The destination that the first packet of a flow had, whose answers leave this machine with `answer`.
    pub(crate) fn original_destination(&self, answer: &Tuple) -> Option<SocketAddr> {
        let (index, _) = self.look_up(Key::of(answer))?;
        Some(self.tuple(index, Direction::Original).destination())
    }

    /// Whether an answer with this tuple would already belong to a flow.
    pub(crate) fn knows(&self, tuple: &Tuple) -> bool {
        self.look_up(Key::of(tuple)).is_some()
    }

    /// Makes the entry of a flow whose first packet passed.
    pub(crate) fn confirm(&mut self, now: Time, draft: Draft) -> Result<u32, Refusal> {
        self.expire(now);
        if let Some(refusal) = self.refusal(&draft) {
            return Err(refusal);
        }
        if self.options.per_source.is_some() {
            *self.sources.entry(draft.original.src).or_insert(0) += 1;
        }
        let keys = [Key::of(&draft.original), Key::of(&draft.reply)];
        let mut line = Line::new(keys, draft.tcp, now);
        line.expires = now + timeout(&line, &self.options);
        line.count(Direction::Original, draft.len);
        let (queued, serial) = (line.expires, self.serial);
        let rest = Rest {
            rewrites: draft.reply != draft.original.reversed(),
            serial,
            queued,
            counted: [(0, 0); 2],
            verdicts: [draft.verdict, None],
            holds: draft.holds,
            began: now,
            rules: draft.rules,
        };
        self.serial = self.serial.wrapping_add(1);
        let index = match self.free.pop() {
            Some(index) => {
                (self.lines[index as usize], self.rests[index as usize]) = (line, rest);
                index
            }
            None => {
                self.lines.push(line);
                self.rests.push(rest);
                u32::try_from(self.lines.len() - 1).expect("invariant: max is below 2^32")
            }
        };
        self.expiry.push(queued, (index, serial));
        let (lines, rests) = (&self.lines, &self.rests);
        self.expiry.tidy(lines.len() - self.free.len(), |at, (index, serial)| {
            lines[index as usize].is_live() && rests[index as usize].is_queued(at, serial)
        });
        self.enter(index, keys);
        Ok(index)
    }

    /// From now on packets with these keys belong to this entry, but for those that already belong to another. One number does for
    /// both directions of a flow that is not rewritten.
    fn enter(&mut self, index: u32, keys: [Key; 2]) {
        let mut entered = None;
        for (key, direction) in keys.into_iter().zip(DIRECTIONS) {
            if self.look_up(key).is_some() {
                continue;
            }
            self.lines[index as usize].own(direction);
            if entered != Some(key.hash()) {
                let lines = &self.lines;
                self.keys.insert(key.hash(), number(index, direction), |number| hash_of(lines, number));
            }
            entered = Some(key.hash());
        }
    }

    /// Why this flow may not be entered, as things stand.
    fn refusal(&self, draft: &Draft) -> Option<Refusal> {
        if self.len() >= (self.options.max as usize).min(NUMBERS / 2) {
            return Some(Refusal::Full);
        }
        let most = self.options.per_source?;
        let begun = self.sources.get(&draft.original.src).copied().unwrap_or(0);
        (begun >= most).then_some(Refusal::SourceLimit)
    }

    /// Forgets every flow whose time is up.
    fn expire(&mut self, now: Time) {
        while let Some((at, (index, serial))) = self.expiry.pop_due(now) {
            let (line, rest) = (&self.lines[index as usize], &mut self.rests[index as usize]);
            if !line.is_live() || !rest.is_queued(at, serial) {
                continue;
            }
            if line.expires <= now {
                self.remove(index);
            } else {
                rest.queued = line.expires;
                self.expiry.push(line.expires, (index, serial));
            }
        }
    }

    fn remove(&mut self, index: u32) {
        let line = &mut self.lines[index as usize];
        if !line.is_live() {
            return;
        }
        line.end();
        let tuples = DIRECTIONS.map(|direction| line.tuple(direction));
        let numbers = DIRECTIONS.map(|direction| (line.key(direction).hash(), number(index, direction)));
        self.released.extend(held(self.rests[index as usize].holds, &tuples));
        if let Some(begun) = self.sources.get_mut(&tuples[0].src) {
            *begun -= 1;
            if *begun == 0 {
                self.sources.remove(&tuples[0].src);
            }
        }
        // Those that it has: see `enter`.
        for (hash, number) in numbers {
            self.keys.remove(hash, number, |number| hash_of(&self.lines, number));
        }
        self.free.push(index);
    }

    /// NAT mappings whose flows ended since the last call, with the other end's address.
    pub(crate) fn released(&mut self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.released.drain(..)
    }

    /// How packets of this direction go on; 0 for the long way.
    #[inline]
    pub(crate) fn way(&self, entry: u32, direction: Direction) -> u32 {
        self.lines[entry as usize].ways[direction.index()]
    }

    /// Remembers how packets of this direction go on, as long as the flow is in this state.
    pub(crate) fn set_way(&mut self, entry: u32, direction: Direction, state: CtState, way: u32) {
        let line = &mut self.lines[entry as usize];
        if line.is_live() && line.is_replied() == (state == CtState::Established) {
            line.ways[direction.index()] = way;
        }
    }

    /// As [`Conntrack::track`] for a packet whose flow was looked up before; `None`, and nothing is done, when the flow's time is
    /// up or the packet changes more than a counter. What the packet must leave with.
    #[inline]
    pub(crate) fn go_on(
        &mut self,
        now: Time,
        (entry, direction): (u32, Direction),
        (flags, len): (Option<TcpFlags>, u16),
    ) -> Option<Key> {
        let line = self.lines.get_mut(entry as usize).filter(|line| line.expires > now)?;
        if let (Some(flags), Some(tcp)) = (flags, line.tcp) {
            // Anything out of the ordinary goes the long way.
            match tcp.step(direction, flags) {
                Step::Goes(tcp) if !tcp.was_reset() => line.tcp = Some(tcp),
                _ => return None,
            }
        }
        let (left, expires) = (line.left(direction), now + timeout(line, &self.options));
        self.count(entry, direction, len);
        self.expire_at(entry, expires);
        Some(left)
    }

    /// How a packet that came as `direction` of this entry must look when it leaves.
    pub(crate) fn target(&self, entry: u32, direction: Direction) -> Tuple {
        self.tuple(entry, direction.opposite()).reversed()
    }

    /// Whether NAT changes anything in this flow.
    pub(crate) fn rewrites(&self, entry: u32) -> bool {
        self.rests[entry as usize].rewrites
    }

    /// How packets of this direction come in.
    pub(crate) fn tuple(&self, entry: u32, direction: Direction) -> Tuple {
        self.lines[entry as usize].tuple(direction)
    }

    /// The verdict kept for this direction.
    pub(crate) fn cached(&self, entry: u32, direction: Direction) -> Option<CachedVerdict> {
        self.rests[entry as usize].verdicts[direction.index()]
    }

    /// Keeps a verdict.
    pub(crate) fn cache(&mut self, entry: u32, direction: Direction, verdict: CachedVerdict) {
        self.rests[entry as usize].verdicts[direction.index()] = Some(verdict);
    }

    /// Ends every flow that NAT rewrites, whatever its state.
    pub(crate) fn forget_rewritten(&mut self) {
        for index in 0..self.rests.len() {
            if self.rests[index].rewrites {
                self.remove(index as u32);
            }
        }
    }

    /// The flows that are alive, as tables show them, in the order of their places.
    pub(crate) fn shown(&self, now: Time) -> impl Iterator<Item = (FlowEntry, [Option<u32>; 2])> {
        let all = self.lines.iter().zip(&self.rests);
        let live = all.filter(move |(line, _)| line.is_live() && line.expires > now);
        live.map(|(line, rest)| (shown(line, rest), rest.holds))
    }

    /// Flows in the table (some may have expired unseen).
    pub(crate) fn len(&self) -> usize {
        self.lines.len() - self.free.len()
    }
}

/// The mappings that a flow uses, each with the address of the other end: of whoever comes in through one, of whoever answers
/// to the other.
pub(crate) fn held(holds: [Option<u32>; 2], tuples: &[Tuple; 2]) -> impl Iterator<Item = (u32, IpAddr)> {
    let ends = [tuples[0].src, tuples[1].src];
    holds.into_iter().zip(ends).filter_map(|(slot, end)| Some((slot?, end.into())))
}

/// How the index calls a direction of an entry.
fn number(entry: u32, direction: Direction) -> u32 {
    entry << 1 | direction.index() as u32
}

fn hash_of(lines: &[Line], number: u32) -> u64 {
    lines[number as usize / 2].key(DIRECTIONS[number as usize % 2]).hash()
}

impl Rest {
    /// Whether it is the flow that was put into the queue so, and was not put there anew.
    fn is_queued(&self, at: Time, serial: u32) -> bool {
        self.serial == serial && self.queued == at
    }

    /// Adds packets and bytes.
    fn add(&mut self, counted: [(u64, u64); 2]) {
        for (sum, (packets, bytes)) in self.counted.iter_mut().zip(counted) {
            *sum = (sum.0 + packets, sum.1 + bytes);
        }
    }
}

/// How long a flow in this state may be silent.
#[inline]
fn timeout(line: &Line, options: &ConntrackOptions) -> Nanos {
    match line.protocol() {
        protocol::TCP => match shown_tcp(line) {
            FlowState::SynSent => options.tcp_syn_sent,
            FlowState::SynReceived => options.tcp_syn_received,
            FlowState::FinWait => options.tcp_fin_wait,
            FlowState::LastAck => options.tcp_last_ack,
            FlowState::TimeWait => options.tcp_time_wait,
            FlowState::Closed => options.tcp_closed,
            _ => options.tcp_established,
        },
        protocol::UDP if line.is_replied() => options.udp_answered,
        protocol::UDP => options.udp,
        protocol::ICMP => options.icmp,
        _ => options.other,
    }
}

fn shown_tcp(line: &Line) -> FlowState {
    line.tcp.map_or(FlowState::Established, TcpTrack::shown)
}

fn shown(line: &Line, rest: &Rest) -> FlowEntry {
    let [original, reply] = DIRECTIONS.map(|direction| line.tuple(direction));
    let state = match (original.protocol, line.is_replied()) {
        (protocol::TCP, _) => shown_tcp(line),
        (_, true) => FlowState::Answered,
        (_, false) => FlowState::Unanswered,
    };
    let mut all = rest.clone();
    all.add(line.counted());
    FlowEntry {
        protocol: original.protocol,
        state,
        original: (original.source(), original.destination()),
        reply: (reply.source(), reply.destination()),
        began: rest.began,
        expires: line.expires,
        packets: all.counted.map(|(packets, _)| packets),
        bytes: all.counted.map(|(_, bytes)| bytes),
        destination_rule: rest.rules[0],
        source_rule: rest.rules[1],
    }
}

#[cfg(test)]
mod tests;
