//! The TCP/IP of one machine, sans-IO: frames and the time come in, frames, events and a wish to be woken go out.
//!
//! Not for: when frames arrive (`rt-sim`), what rules mean and in which order they run (`rt-rules`), byte formats
//! (`rt-wire`), anything that awaits (`rt-apps`). It has no clock, no sockets and no dice of its own, so the same stack runs
//! in virtual time and behind a TAP device.
//!
//! The main type is [`Stack`]. Start in `stack.rs`: `receive`, `send` and `walk` are the whole way of a packet.
//!
//! | module | what |
//! |---|---|
//! | `stack` | the spine |
//! | `stages`, `deliver`, `output`, `timers`, `api`, `inspect` | its leaves: stages of the pipeline, transports, own packets, time, calls |
//! | `nic`, `neighbor`, `ip`, `icmp`, `udp`, [`tcp`] | the layers |
//! | `hooks` | connection tracking, filters, NAT |
//! | `card` | the filters alone, of a machine that somebody else plays |
//! | `tables` | what is remembered, for people to see |
//! | `socket`, `ports`, `isn` | who a packet is for, and what new ones begin with |
//! | `unseen` | loops through machines that leave TTLs alone |
//! | `wrap` | virtual interfaces: VLANs, tunnels, PPPoE, tun |
//! | `shortcut` | what was done with the last forwarded packets, done again |
//!
//! Deliberate simplifications stand in each module's header. In short: IPv4 only (addresses are `IpAddr` everywhere, IPv6
//! frames are dropped as an unknown EtherType), no multicast membership, no redirects.

mod api;
mod api_tcp;
mod card;
mod config;
mod deliver;
mod error;
mod fast_open;
mod hold;
mod hooks;
mod icmp;
mod inspect;
mod ip;
mod isn;
mod listen;
mod middlebox;
mod mss;
mod neighbor;
mod nic;
mod output;
mod packet;
mod ports;
mod probes;
mod shortcut;
mod siphash;
mod socket;
mod stack;
mod stages;
mod syn_cookie;
mod tables;
pub mod tcp;
mod timers;
mod udp;
mod unseen;
mod wrap;

pub use api::{ConnectOptions, EchoAnswer, TcpRead};
pub use card::Card;
pub use config::{IfaceConfig, PortPolicy, StackConfig};
pub use error::SocketError;
pub use listen::ListenerQueues;
pub use packet::LOOPBACK;
pub use probes::{Probe, ProbeAnswer, ProbeKind, ProbeVerdict};
pub use socket::SocketId;
pub use stack::Stack;
pub use tables::{
    FilterCount, FlowEntry, FlowState, NatEntry, NatRuleEntry, NeighborEntry, NeighborState, RouteEntry,
    Tables,
};
pub use wrap::{CameBy, Carried};
