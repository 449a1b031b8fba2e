//! Neighbours: which MAC an address on a link has (ARP, RFC 826; host rules of RFC 1122, 2.3.2).
//!
//! Not for building frames (`nic.rs`). Main type: [`Neighbors`], one table for all interfaces. A packet for an unknown
//! neighbour waits here (RFC 1122: at least the newest must); three questions, one second apart, then it is given up,
//! as Linux does. Probes and announcements for address conflict detection (RFC 5227) are made and watched here too.
//!
//! Simplified: an entry is good for 20 minutes and then asked for anew (BSD); Linux's stale, delay and probe states do not
//! exist, so a neighbour that vanishes is noticed late, unless it comes back with another MAC and announces itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{EventId, MacAddr, Nanos, PortId, Time};
use rt_wire::{ArpOperation, ArpPacket};

use crate::hooks::EgressProof;
use crate::nic::Nic;
use crate::packet::{Packet, v4};
use crate::tables::{NeighborEntry, NeighborState};

const LIFETIME: Nanos = Nanos::from_secs(1_200);
const RETRY: Nanos = Nanos::from_secs(1);
const MOST_QUESTIONS: u8 = 3;
/// Packets that wait for one neighbour at most; beyond that the oldest goes.
const MOST_WAITING: usize = 64;
/// Packets that wait for all neighbours together at most.
const MOST_WAITING_ALL: usize = 4_096;
/// Neighbours at most; a scan of a large network must not fill the memory.
const MOST_ENTRIES: usize = 65_536;

/// A packet that waits for a MAC, with its leave to go.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) packet: Packet,
    pub(crate) proof: EgressProof,
}

#[derive(Debug)]
enum Entry {
    Known { mac: MacAddr, until: Time },
    Asked(Box<Question>),
}

#[derive(Debug)]
struct Question {
    waiting: VecDeque<Waiting>,
    asked: u8,
    next: Time,
    armed: (EventId, Time),
}

/// What became of a packet that had to wait.
#[derive(Debug)]
#[must_use]
pub(crate) enum Wait {
    /// It waits; `ask` says that a question is due now; `pushed_out` lost its place.
    Waits { ask: bool, pushed_out: Option<Box<Packet>> },
    /// The table is full.
    Full(Box<Packet>),
}

/// What an ARP packet taught.
#[derive(Debug, Default)]
pub(crate) struct Lesson {
    /// A MAC that was not known before.
    pub(crate) learned: Option<(IpAddr, MacAddr)>,
    /// Packets that can go now.
    pub(crate) released: VecDeque<Waiting>,
    /// The answer that is due.
    pub(crate) reply: Option<ArpPacket>,
}

/// A question whose time came.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) port: PortId,
    pub(crate) address: IpAddr,
    /// Since when its timer ran, and because of what.
    pub(crate) armed: (EventId, Time),
    /// `None`: ask again. Else nobody answered, and these waited.
    pub(crate) failed: Option<VecDeque<Waiting>>,
}

/// The neighbour table of a machine.
#[derive(Debug, Default)]
pub(crate) struct Neighbors {
    entries: BTreeMap<(PortId, IpAddr), Entry>,
    /// The last answer and until when it is good; dies with every change of a known entry.
    last: Option<((PortId, IpAddr), MacAddr, Time)>,
    /// The soonest moment at which a question may be due; never too late.
    deadline: Option<Time>,
    /// Questions under way, and packets that wait for them.
    asking: usize,
    waiting: usize,
    /// Addresses being probed or defended, and who else claimed them.
    watched: Vec<(PortId, Ipv4Addr, Option<MacAddr>)>,
}

impl Neighbors {
    /// The MAC of a neighbour, if known.
    #[inline]
    pub(crate) fn lookup(&mut self, now: Time, port: PortId, address: IpAddr) -> Option<MacAddr> {
        if let Some((key, mac, until)) = self.last
            && key == (port, address)
            && until > now
        {
            return Some(mac);
        }
        match self.entries.get(&(port, address)) {
            Some(Entry::Known { mac, until }) if *until > now => {
                self.last = Some(((port, address), *mac, *until));
                Some(*mac)
            }
            _ => None,
        }
    }

    /// Until when the neighbour that was looked up last is known.
    pub(crate) fn good_until(&self, port: PortId, address: IpAddr) -> Option<Time> {
        self.last.filter(|(key, ..)| *key == (port, address)).map(|(.., until)| until)
    }

    /// Lets a packet wait for the neighbour.
    pub(crate) fn wait(
        &mut self,
        now: Time,
        cause: EventId,
        (port, address): (PortId, IpAddr),
        waiting: Waiting,
    ) -> Wait {
        if self.waiting >= MOST_WAITING_ALL {
            return Wait::Full(Box::new(waiting.packet));
        }
        let full = self.entries.len() >= MOST_ENTRIES;
        let question = match self.entries.get_mut(&(port, address)) {
            Some(Entry::Asked(question)) => question,
            None if full => return Wait::Full(Box::new(waiting.packet)),
            _ => return self.ask(now, cause, (port, address), waiting),
        };
        //= rfc1122#2.3.2.2 SHOULD
        question.waiting.push_back(waiting);
        self.waiting += 1;
        let pushed_out = match question.waiting.len() > MOST_WAITING {
            true => question.waiting.pop_front().map(|w| Box::new(w.packet)),
            false => None,
        };
        self.waiting -= usize::from(pushed_out.is_some());
        Wait::Waits { ask: false, pushed_out }
    }

    fn ask(&mut self, now: Time, cause: EventId, key: (PortId, IpAddr), waiting: Waiting) -> Wait {
        let next = now + RETRY;
        let question = Question { waiting: VecDeque::from([waiting]), asked: 1, next, armed: (cause, now) };
        self.last = None;
        self.asking += 1;
        self.waiting += 1;
        self.entries.insert(key, Entry::Asked(Box::new(question)));
        self.deadline = Some(self.deadline.map_or(next, |d| d.min(next)));
        Wait::Waits { ask: true, pushed_out: None }
    }

    /// When the next question is due.
    pub(crate) fn deadline(&self) -> Time {
        self.deadline.unwrap_or(Time::MAX)
    }

    /// The next question whose time has come, if there is one.
    pub(crate) fn due(&mut self, now: Time) -> Option<Due> {
        if self.deadline() > now {
            return None;
        }
        let asked = |entry: &Entry| match entry {
            Entry::Asked(question) => Some(question.next),
            Entry::Known { .. } => None,
        };
        let next = self.entries.iter().filter_map(|(key, entry)| Some((asked(entry)?, *key))).min();
        self.deadline = next.map(|(at, _)| at);
        let (at, key) = next?;
        if at > now {
            return None;
        }
        let Some(Entry::Asked(question)) = self.entries.get_mut(&key) else { return None };
        let armed = question.armed;
        let (port, address) = key;
        if question.asked < MOST_QUESTIONS {
            return Some(Due { port, address, armed, failed: None });
        }
        let failed = core::mem::take(&mut question.waiting);
        self.entries.remove(&key);
        self.answered(failed.len());
        Some(Due { port, address, armed, failed: Some(failed) })
    }

    /// A question is over, with so many packets that waited for it.
    fn answered(&mut self, waited: usize) {
        self.asking -= 1;
        self.waiting -= waited;
        if self.asking == 0 {
            self.deadline = None;
        }
    }

    /// Asked again, because of this.
    pub(crate) fn rearm(&mut self, now: Time, cause: EventId, port: PortId, address: IpAddr) {
        if let Some(Entry::Asked(question)) = self.entries.get_mut(&(port, address)) {
            question.asked += 1;
            question.next = now + RETRY;
            question.armed = (cause, now);
        }
    }

    /// Reads an ARP packet that arrived (RFC 826, "Packet Reception").
    pub(crate) fn receive(&mut self, now: Time, port: PortId, nic: &Nic, arp: &ArpPacket) -> Lesson {
        if arp.sender_mac == nic.mac || arp.sender_mac.is_group() {
            return Lesson::default();
        }
        self.watch(port, nic, arp);
        let for_us = nic.owns(arp.target_ip.into());
        let mut lesson = Lesson::default();
        let can_be_host = !arp.sender_ip.is_unspecified() && !arp.sender_ip.is_multicast();
        if can_be_host && !arp.sender_ip.is_broadcast() && !nic.owns(arp.sender_ip.into()) {
            lesson = self.learn(now, port, arp.sender_ip.into(), arp.sender_mac, for_us);
        }
        if for_us && arp.operation == ArpOperation::Request && arp.sender_ip != arp.target_ip {
            lesson.reply = Some(ArpPacket {
                operation: ArpOperation::Reply,
                sender_mac: nic.mac,
                sender_ip: arp.target_ip,
                target_mac: arp.sender_mac,
                target_ip: arp.sender_ip,
            });
        }
        lesson
    }

    /// Known neighbours are brought up to date by any packet; new ones are entered when they talk to us.
    fn learn(&mut self, now: Time, port: PortId, address: IpAddr, mac: MacAddr, for_us: bool) -> Lesson {
        let known = self.entries.get_mut(&(port, address));
        if known.is_none() && (!for_us || self.entries.len() >= MOST_ENTRIES) {
            return Lesson::default();
        }
        self.last = None;
        let old = self.entries.insert((port, address), Entry::Known { mac, until: now + LIFETIME });
        let (new, released) = match old {
            Some(Entry::Known { mac: old, until }) => (old != mac || until <= now, VecDeque::new()),
            Some(Entry::Asked(question)) => {
                self.answered(question.waiting.len());
                (true, question.waiting)
            }
            None => (true, VecDeque::new()),
        };
        Lesson { learned: new.then_some((address, mac)), released, reply: None }
    }

    /// Enters a neighbour for good. Packets that wait for its answer go on waiting for it.
    pub(crate) fn enter(&mut self, port: PortId, address: IpAddr, mac: MacAddr) {
        self.last = None;
        let entry = self.entries.entry((port, address)).or_insert(Entry::Known { mac, until: Time::MAX });
        if let Entry::Known { .. } = entry {
            *entry = Entry::Known { mac, until: Time::MAX };
        }
    }

    /// Notes who else uses, or probes for, an address that we probe for or own.
    fn watch(&mut self, port: PortId, nic: &Nic, arp: &ArpPacket) {
        let probes = arp.operation == ArpOperation::Request && arp.sender_ip.is_unspecified();
        for (_, address, claimed) in self.watched.iter_mut().filter(|(p, ..)| *p == port) {
            let both_probe = probes && arp.target_ip == *address && !nic.owns((*address).into());
            if arp.sender_ip == *address || both_probe {
                *claimed = Some(arp.sender_mac);
            }
        }
    }

    /// Watches an address for conflicts from now on.
    pub(crate) fn watch_address(&mut self, port: PortId, address: Ipv4Addr) {
        if !self.watched.iter().any(|(p, a, _)| (*p, *a) == (port, address)) {
            self.watched.push((port, address, None));
        }
    }

    /// Who claimed a watched address since the last call.
    pub(crate) fn take_conflict(&mut self, port: PortId, address: Ipv4Addr) -> Option<MacAddr> {
        let watched = self.watched.iter_mut().find(|(p, a, _)| (*p, *a) == (port, address))?;
        watched.2.take()
    }

    /// The table at `now`, for people to see.
    pub(crate) fn shown(&self, now: Time) -> Vec<NeighborEntry> {
        let shown = |(&(port, address), entry): (&(PortId, IpAddr), &Entry)| {
            let state = match entry {
                Entry::Known { until, .. } if *until <= now => return None,
                Entry::Known { mac, until } => NeighborState::Known { mac: *mac, until: *until },
                Entry::Asked(question) => {
                    NeighborState::Asked { questions: question.asked, waiting: question.waiting.len() }
                }
            };
            Some(NeighborEntry { port, address, state })
        };
        self.entries.iter().filter_map(shown).collect()
    }

    /// Forgets the MACs known on an interface; questions under way go on.
    pub(crate) fn forget_known(&mut self, port: PortId) {
        self.last = None;
        self.entries.retain(|(p, _), entry| *p != port || matches!(entry, Entry::Asked(_)));
        self.watched.retain(|(p, ..)| *p != port);
    }
}

/// The question "who has `target`?", asked by everybody's leave with `source`.
pub(crate) fn question(nic: &Nic, source: Ipv4Addr, target: IpAddr) -> Option<ArpPacket> {
    Some(ArpPacket {
        operation: ArpOperation::Request,
        sender_mac: nic.mac,
        sender_ip: source,
        target_mac: MacAddr([0; 6]),
        target_ip: v4(target)?,
    })
}

/// The MAC of an IPv4 multicast group (RFC 1112, 6.4).
pub(crate) fn group_mac(group: Ipv4Addr) -> MacAddr {
    let [_, b, c, d] = group.octets();
    MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}
