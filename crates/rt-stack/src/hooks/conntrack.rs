//! Connection tracking: which flow a packet belongs to, in which direction, and how that flow is rewritten.
//!
//! Not for deciding (that is `filter.rs`) nor for choosing addresses (`nat.rs`). Main type: [`Conntrack`], a slab of
//! entries that two keys point into, one for each direction. A [`Draft`] travels with the first packet of a flow and
//! becomes an entry only when that packet passes, as in netfilter.
//!
//! Simplified against Linux: TCP's numbers are not checked; a TCP flow must begin with a SYN (Linux: `nf_conntrack_tcp_loose`
//! set to 0) unless `tcp_loose` says otherwise; no helpers, so FTP's second connection is a new flow. A flow whose time is up is gone as
//! soon as somebody asks: a packet of it, or any packet that begins a flow.

use std::net::{IpAddr, SocketAddr};

use rt_base::{FixedMap, HookPoint, Nanos, PortId, Time};
use rt_rules::{ConntrackOptions, CtState};
use rt_wire::TcpFlags;

use super::expiry::Expiry;
use super::known::Known;
use super::tcp_track::{Step, TcpTrack};
use super::tuple::ECHO_REQUEST;
pub(crate) use super::tuple::{Direction, Tuple};
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

#[derive(Clone, Debug)]
struct Entry {
    live: bool,
    replied: bool,
    /// Some address or port is changed on the way.
    rewrites: bool,
    tcp: Option<TcpTrack>,
    expires: Time,
    /// When it is looked at next.
    queued: Time,
    serial: u32,
    /// Packets and bytes of each [`Direction`].
    counted: [(u64, u64); 2],
    /// Indexed by [`Direction`].
    tuples: [Tuple; 2],
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
    entries: Vec<Entry>,
    free: Vec<u32>,
    keys: FixedMap<Tuple, (u32, Direction)>,
    expiry: Expiry,
    /// Which flow of those that had the same place the next one is.
    serial: u32,
    options: ConntrackOptions,
    /// Flows begun by each source, where that is limited.
    sources: FixedMap<IpAddr, u32>,
    /// NAT mappings whose flows are gone, with the other end's address; the caller gives them back.
    released: Vec<(u32, IpAddr)>,
}

impl Conntrack {
    /// An empty table.
    pub(crate) fn new(options: ConntrackOptions) -> Conntrack {
        Conntrack {
            entries: Vec::new(),
            free: Vec::new(),
            keys: FixedMap::default(),
            expiry: Expiry::default(),
            serial: 0,
            options,
            sources: FixedMap::default(),
            released: Vec::new(),
        }
    }

    /// A filter answered a packet of this flow with a reset (Linux's `nf_ct_set_closing`).
    pub(crate) fn close(&mut self, entry: u32) {
        let entry = &mut self.entries[entry as usize];
        entry.tcp = entry.tcp.map(TcpTrack::closed);
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
        let entry = &mut self.entries[index as usize];
        let (mut believed, mut over) = (true, false);
        if let (Some(flags), Some(tcp)) = (flags, entry.tcp) {
            match tcp.step(direction, flags) {
                Step::Invalid => return Track::Invalid,
                Step::Begins => {
                    self.remove(index);
                    return self.first_of_flow(tuple, flags.into(), len);
                }
                Step::Passes(tcp) => (entry.tcp, believed) = (Some(tcp), false),
                // Refused at once: nothing of it needs to be remembered.
                Step::Goes(tcp) => (entry.tcp, over) = (Some(tcp), tcp.was_reset() && !entry.replied),
            }
        }
        let counted = &mut entry.counted[direction.index()];
        *counted = (counted.0 + 1, counted.1 + u64::from(len));
        entry.replied |= direction == Direction::Reply;
        if over {
            entry.expires = now;
        } else if believed {
            entry.expires = now + entry.timeout(&self.options);
        }
        if entry.expires < entry.queued {
            entry.queued = entry.expires;
            self.expiry.push(entry.expires, (index, entry.serial));
        }
        let state = if entry.replied { CtState::Established } else { CtState::New };
        Track::Known { entry: index, direction, state }
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
    pub(crate) fn confirm(&mut self, now: Time, draft: Draft) -> Result<u32, Refusal> {
        self.expire(now);
        if let Some(refusal) = self.refusal(&draft) {
            return Err(refusal);
        }
        if self.options.per_source.is_some() {
            *self.sources.entry(draft.original.src).or_insert(0) += 1;
        }
        let mut entry = Entry {
            live: true,
            replied: false,
            rewrites: draft.reply != draft.original.reversed(),
            tcp: draft.tcp,
            expires: now,
            queued: now,
            serial: self.serial,
            counted: [(1, u64::from(draft.len)), (0, 0)],
            tuples: [draft.original, draft.reply],
            verdicts: [None; 2],
            holds: draft.holds,
            began: now,
            rules: draft.rules,
        };
        entry.expires = now + entry.timeout(&self.options);
        entry.queued = entry.expires;
        let (queued, serial) = (entry.queued, entry.serial);
        self.serial = self.serial.wrapping_add(1);
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
        self.expiry.push(queued, (index, serial));
        let entries = &self.entries;
        self.expiry.tidy(entries.len() - self.free.len(), |at, (index, serial)| {
            entries[index as usize].is_queued(at, serial)
        });
        // What already belongs to a flow goes on belonging to it.
        self.keys.entry(draft.original).or_insert((index, Direction::Original));
        self.keys.entry(draft.reply).or_insert((index, Direction::Reply));
        Ok(index)
    }

    /// Why this flow may not be entered, as things stand.
    fn refusal(&self, draft: &Draft) -> Option<Refusal> {
        if self.len() >= self.options.max as usize {
            return Some(Refusal::Full);
        }
        let most = self.options.per_source?;
        let begun = self.sources.get(&draft.original.src).copied().unwrap_or(0);
        (begun >= most).then_some(Refusal::SourceLimit)
    }

    /// Forgets every flow whose time is up.
    fn expire(&mut self, now: Time) {
        while let Some((at, (index, serial))) = self.expiry.pop_due(now) {
            let entry = &mut self.entries[index as usize];
            if !entry.is_queued(at, serial) {
                continue;
            }
            if entry.expires <= now {
                self.remove(index);
            } else {
                entry.queued = entry.expires;
                self.expiry.push(entry.expires, (index, serial));
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
        self.released.extend(held(entry.holds, &tuples));
        if let Some(begun) = self.sources.get_mut(&tuples[0].src) {
            *begun -= 1;
            if *begun == 0 {
                self.sources.remove(&tuples[0].src);
            }
        }
        for tuple in tuples {
            // A flow whose two tuples clash with another's must not take that one's key with it.
            if self.keys.get(&tuple).is_some_and(|(at, _)| *at == index) {
                self.keys.remove(&tuple);
            }
        }
        self.free.push(index);
    }

    /// NAT mappings whose flows ended since the last call, with the other end's address.
    pub(crate) fn released(&mut self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.released.drain(..)
    }

    /// Which flow of those that had this place is there, and whether it was answered.
    pub(crate) fn identity(&self, entry: u32) -> (u32, bool) {
        let entry = &self.entries[entry as usize];
        (entry.serial, entry.replied)
    }

    /// Whether this flow is still there.
    pub(crate) fn is_there(&self, index: u32, serial: u32) -> bool {
        self.entries.get(index as usize).is_some_and(|entry| entry.live && entry.serial == serial)
    }

    /// As [`Conntrack::track`] for a packet whose flow was found another way; false, and nothing is done, when the flow is gone
    /// or no longer where it was.
    #[inline]
    pub(crate) fn go_on(&mut self, now: Time, known: &Known, flags: Option<TcpFlags>, len: u16) -> bool {
        let Some(entry) = self.entries.get_mut(known.entry as usize) else { return false };
        let same = entry.live && entry.serial == known.serial && entry.replied == known.answered;
        if !same || entry.expires <= now {
            return false;
        }
        if let (Some(flags), Some(tcp)) = (flags, entry.tcp) {
            // Anything out of the ordinary goes the long way.
            match tcp.step(known.direction, flags) {
                Step::Goes(tcp) if !tcp.was_reset() => entry.tcp = Some(tcp),
                _ => return false,
            }
        }
        let counted = &mut entry.counted[known.direction.index()];
        *counted = (counted.0 + 1, counted.1 + u64::from(len));
        entry.expires = now + entry.timeout(&self.options);
        if entry.expires < entry.queued {
            entry.queued = entry.expires;
            self.expiry.push(entry.expires, (known.entry, entry.serial));
        }
        true
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

    /// Ends every flow that NAT rewrites, whatever its state.
    pub(crate) fn forget_rewritten(&mut self) {
        for index in 0..self.entries.len() {
            if self.entries[index].rewrites {
                self.remove(index as u32);
            }
        }
    }

    /// The flows that are alive, as tables show them, in the order of their places.
    pub(crate) fn shown(&self, now: Time) -> impl Iterator<Item = (FlowEntry, [Option<u32>; 2])> {
        let live = self.entries.iter().filter(move |entry| entry.live && entry.expires > now);
        live.map(|entry| (entry.shown(), entry.holds))
    }

    /// Flows in the table (some may have expired unseen).
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

/// The mappings that a flow uses, each with the address of the other end: of whoever comes in through one, of whoever answers
/// to the other.
pub(crate) fn held(holds: [Option<u32>; 2], tuples: &[Tuple; 2]) -> impl Iterator<Item = (u32, IpAddr)> {
    let ends = [tuples[0].src, tuples[1].src];
    holds.into_iter().zip(ends).filter_map(|(slot, end)| Some((slot?, end)))
}

impl Entry {
    /// Whether it is the flow that was put into the queue so, and was not put there anew.
    fn is_queued(&self, at: Time, serial: u32) -> bool {
        self.live && self.serial == serial && self.queued == at
    }

    fn timeout(&self, options: &ConntrackOptions) -> Nanos {
        match self.tuples[0].protocol {
            protocol::TCP => match self.shown_tcp() {
                FlowState::SynSent => options.tcp_syn_sent,
                FlowState::SynReceived => options.tcp_syn_received,
                FlowState::FinWait => options.tcp_fin_wait,
                FlowState::LastAck => options.tcp_last_ack,
                FlowState::TimeWait => options.tcp_time_wait,
                FlowState::Closed => options.tcp_closed,
                _ => options.tcp_established,
            },
            protocol::UDP if self.replied => options.udp_answered,
            protocol::UDP => options.udp,
            protocol::ICMP => options.icmp,
            _ => options.other,
        }
    }

    fn shown_tcp(&self) -> FlowState {
        self.tcp.map_or(FlowState::Established, TcpTrack::shown)
    }

    fn shown(&self) -> FlowEntry {
        let [original, reply] = self.tuples;
        let state = match (original.protocol, self.replied) {
            (protocol::TCP, _) => self.shown_tcp(),
            (_, true) => FlowState::Answered,
            (_, false) => FlowState::Unanswered,
        };
        FlowEntry {
            protocol: original.protocol,
            state,
            original: (original.source(), original.destination()),
            reply: (reply.source(), reply.destination()),
            began: self.began,
            expires: self.expires,
            packets: self.counted.map(|(packets, _)| packets),
            bytes: self.counted.map(|(_, bytes)| bytes),
            destination_rule: self.rules[0],
            source_rule: self.rules[1],
        }
    }
}

#[cfg(test)]
mod tests;
