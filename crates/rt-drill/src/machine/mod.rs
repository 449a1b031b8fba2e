//! One host as a C program sees it: descriptors, socket calls, options, errno, sysctls, over `rt-stack`, with a virtual
//! clock and a wire on which IPv4 packets are put and taken.
//!
//! Both packetdrills (our interpreter and the original tool, through `rt-packetdrill`) drive it. Main type: [`Machine`].
//! Not for: what a script says (`language`), whether it came true (`runner`).
//!
//! # How to drive it
//!
//! - Time stands still unless [`Machine::run_until`] (or [`Machine::run_to_packet`]) moves it; on the way every timer fires
//!   at its own time.
//! - [`Machine::inject`] puts a packet on the wire towards the machine, now. What the machine sends can be taken with
//!   [`Machine::take_packet`], each with the time at which it left.
//! - Calls happen now. One that would block on a blocking descriptor says [`Call::Pending`] and has done what it could
//!   (part of a long write, the SYN of a connect): move time, inject, and call again with the same arguments.
//!
//! # Simplifications
//!
//! IPv4 only. Descriptors count up and are not used twice.

mod calls;
mod data;
mod descriptor;
mod errno;
pub mod numbers;
mod options;
mod poll;
mod settings;
mod sysctl;
mod tcp_info;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{EventId, FrameId, MacAddr, NodeId, Outbox, PortId, Time};
use rt_rules::{Origin, Route, RouteKind};
use rt_stack::{IfaceConfig, Stack, StackConfig};
use rt_wire::{EthernetHeader, ethertype};

use descriptor::Table;

pub use errno::Errno;
pub use poll::{EpollEvent, PollFd};
pub use settings::{Applied, Personality, SettingError, Settings};

/// A descriptor of the machine; the first is 3.
pub type Fd = i32;

/// How a call that may block ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Call<T> {
    /// It is over.
    Done(Result<T, Errno>),
    /// The descriptor is blocking and the call waits: call again, with the same arguments, when something has happened.
    Pending,
}

impl<T> Call<T> {
    /// The result of a call that must not wait: waiting is `EAGAIN`.
    ///
    /// # Errors
    /// What the call says, or `EAGAIN`.
    pub fn now(self) -> Result<T, Errno> {
        match self {
            Call::Done(result) => result,
            Call::Pending => Err(Errno::EAGAIN),
        }
    }
}

/// An IPv4 packet that the machine has sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emitted {
    /// When it left.
    pub at: Time,
    /// From the IPv4 header on.
    pub bytes: Vec<u8>,
}

/// What a receiving call found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes copied; 0 at the end of a stream. With `MSG_TRUNC` the whole length of a datagram.
    pub len: usize,
    /// Who sent it (datagrams only).
    pub from: Option<SocketAddrV4>,
}

/// One host with a virtual clock, a wire and descriptors.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    now: Time,
    stack: Stack,
    out: Outbox,
    counters: (u64, u64),
    packets: VecDeque<Emitted>,
    table: Table,
    /// Whether anything was opened yet: until then its address can still be another one.
    used: bool,
}

/// Its only interface.
const PORT: PortId = PortId(0);
/// Its own MAC, and that of the gateway behind which everybody else lives.
const OWN_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x02]);

/// The machine, its clock and its wire.
impl Machine {
    /// A machine that has just booted, at time zero.
    #[must_use]
    pub fn new(settings: Settings) -> Machine {
        let interface = IfaceConfig {
            name: "eth0".into(),
            mac: OWN_MAC,
            addresses: vec![host(settings.local_ip)],
            mtu: settings.mtu,
        };
        let way_out = Route {
            prefix: IpNet::V4(Ipv4Net::default()),
            via: Some(settings.gateway.into()),
            out: PORT,
            kind: RouteKind::Unicast,
            metric: 0,
            source: None,
            // Not learnt: what is learnt goes when an address goes.
            origin: Origin::Line { file: "the drill's wire".into(), line: 1 },
        };
        let config = StackConfig {
            interfaces: vec![interface],
            routes: vec![way_out],
            tcp: settings.tcp.clone(),
            ..StackConfig::default()
        };
        let mut stack = Stack::new(config, 1, "drill");
        stack.add_neighbor(PORT, settings.gateway.into(), GATEWAY_MAC);
        let mut machine = Machine {
            settings,
            now: Time::ZERO,
            stack,
            out: Outbox::new(false),
            counters: (0, 0),
            packets: VecDeque::new(),
            table: Table::default(),
            used: false,
        };
        machine.act(|_, _, _| ());
        machine
    }

    /// What it is set to.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A sysctl while it runs. As on a real machine most concern connections that begin later.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<Applied, SettingError> {
        let applied = self.settings.set(name, value)?;
        if applied == Applied::Yes {
            self.stack.set_tcp_config(self.settings.tcp.clone());
        }
        Ok(applied)
    }

    /// Gives the machine an address. Before the first connection, listener or datagram socket it takes the place of the
    /// one that it was made with; afterwards it is a further one.
    pub fn add_address(&mut self, address: Ipv4Addr) {
        if self.stack.addresses_of(PORT).contains(&host(address)) {
            return;
        }
        if !self.used {
            // The way out was written, not learnt: it stays. Neighbours are forgotten.
            self.stack.remove_addresses(PORT);
            self.stack.add_neighbor(PORT, self.settings.gateway.into(), GATEWAY_MAC);
            self.settings.local_ip = address;
        }
        self.stack.add_address(PORT, host(address));
        self.act(|_, _, _| ());
    }

    /// Whether `address` is one of the machine's own.
    #[must_use]
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.stack.addresses_of(PORT).contains(&host(address))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// When the next timer is due; `Time::MAX` for never. It may be early, never late.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        self.stack.next_deadline()
    }

    /// Moves time to `until`. Every timer on the way fires at its own time.
    pub fn run_until(&mut self, until: Time) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Moves time to the next timer and fires it, if it is due before or at `limit`; else leaves the time alone and says
    /// so.
    pub fn step(&mut self, limit: Time) -> bool {
        let due = self.stack.next_deadline();
        if due > limit || due == Time::MAX {
            return false;
        }
        self.now = self.now.max(due);
        self.act(|stack, now, out| stack.fire_next(now, out));
        true
    }

    /// Moves time until there is a packet to take, at most to `limit`; says whether there is one. Without one the time
    /// is `limit` afterwards, or, when no timer is left at all, that of the last timer.
    pub fn run_to_packet(&mut self, limit: Time) -> bool {
        while self.packets.is_empty() {
            if !self.step(limit) {
                if self.next_deadline() != Time::MAX {
                    self.now = self.now.max(limit);
                }
                return false;
            }
        }
        true
    }

    /// An IPv4 packet arrives, now. Anything may be in it.
    pub fn inject(&mut self, packet: &[u8]) {
        let ethernet = EthernetHeader { dst: OWN_MAC, src: GATEWAY_MAC, ethertype: ethertype::IPV4 };
        let mut bytes = Vec::with_capacity(EthernetHeader::LEN + packet.len());
        ethernet.emit(&mut bytes);
        bytes.extend_from_slice(packet);
        self.act(|stack, now, out| {
            let frame = out.new_frame(bytes, FrameId::NONE);
            stack.receive(now, PORT, frame, out);
        });
        self.discard_unwanted();
    }

    /// The next packet that the machine has sent, in order.
    pub fn take_packet(&mut self) -> Option<Emitted> {
        self.packets.pop_front()
    }

    /// The same without taking it.
    #[must_use]
    pub fn peek_packet(&self) -> Option<&Emitted> {
        self.packets.front()
    }

    /// One input of the stack; what it says to it is on the wire afterwards.
    fn act<T>(&mut self, what: impl FnOnce(&mut Stack, Time, &mut Outbox) -> T) -> T {
        self.out.begin(NodeId(0), self.now, EventId::NONE, self.counters);
        self.stack.begin(&self.out);
        let result = what(&mut self.stack, self.now, &mut self.out);
        for _ in 0..SEND_ROUNDS {
            self.stack.send(self.now, &mut self.out);
            if !self.stack.has_work() {
                break;
            }
        }
        self.counters = self.out.counters();
        self.out.signals.clear();
        let (at, packets) = (self.now, &mut self.packets);
        for (_, frame) in self.out.frames.drain(..) {
            if let Ok((ethernet, rest)) = EthernetHeader::parse(&frame.bytes)
                && ethernet.ethertype == ethertype::IPV4
            {
                packets.push_back(Emitted { at, bytes: rest.to_vec() });
            }
        }
        self.stack.take_woken(&mut self.table.woken);
        self.table.note_woken();
        result
    }

    /// An application's call.
    fn app<T>(&mut self, what: impl FnOnce(&mut Stack) -> T) -> T {
        self.act(|stack, _, _| what(stack))
    }
}

/// A `send` is bounded; what it leaves (only a machine that talks to itself for ever does) waits for the next input.
const SEND_ROUNDS: usize = 4;

/// An address as a network of one: everybody else is behind the gateway.
fn host(address: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::from(address))
}
