//! What a machine's stack is told when it is made. Plain values: `rt-lab` fills them from the lowered model.

use ipnet::IpNet;
use rt_base::{InterfaceKind, MacAddr, PortId};
use rt_rules::{
    Chain, ConntrackOptions, MssClamp, NatRule, Ossified, PortRange, ReversePath, Route, RoutePolicy,
};

use crate::tcp::TcpConfig;

/// A machine's stack before it runs.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Its interfaces; `interfaces[0]` is `PortId(0)`.
    pub interfaces: Vec<IfaceConfig>,
    /// What interfaces are that are no ports with a cable.
    pub virtuals: Vec<(PortId, InterfaceKind)>,
    /// Routes. Connected ones that are missing for an address are added behind these.
    pub routes: Vec<Route>,
    /// Other tables of routes, which policies choose; `tables[0]` is the table 1.
    pub tables: Vec<Vec<Route>>,
    /// Rules that lower the MSS of SYNs.
    pub clamps: Vec<MssClamp>,
    /// What it does not know, and treats as an error in packets that pass.
    pub ossified: Vec<Ossified>,
    /// Rules of policy routing, in order.
    pub policies: Vec<RoutePolicy>,
    /// Filter chains; a hook without one accepts everything.
    pub chains: Vec<Chain>,
    /// The reverse-path checks by interface; those not given are off.
    pub reverse_path: Vec<ReversePath>,
    /// NAT rules, first match wins.
    pub nat: Vec<NatRule>,
    /// Whether packets for others are passed on.
    pub forwarding: bool,
    /// Passes packets on unseen: takes nothing from their TTL, answers no ping, and complains only of packets that are too long.
    pub transparent: bool,
    /// How ephemeral ports are chosen.
    pub port_policy: PortPolicy,
    /// The ephemeral ports.
    pub ports: PortRange,
    /// TTL of own packets.
    pub ttl: u8,
    /// TCP options and buffers.
    pub tcp: TcpConfig,
    /// Initial sequence numbers of the first passive opens, in order; by RFC 6528 afterwards.
    pub listen_isns: Vec<u32>,
    /// Bytes that may wait in one UDP socket.
    pub udp_buffer: usize,
    /// How filters and NAT remember flows: limits and timeouts.
    pub conntrack: ConntrackOptions,
}

impl Default for StackConfig {
    /// A host without interfaces: Linux's ephemeral range (32768 to 60999) at random, TTL 64, 208 KiB of UDP buffer.
    fn default() -> StackConfig {
        StackConfig {
            interfaces: Vec::new(),
            virtuals: Vec::new(),
            routes: Vec::new(),
            tables: Vec::new(),
            policies: Vec::new(),
            clamps: Vec::new(),
            ossified: Vec::new(),
            chains: Vec::new(),
            reverse_path: Vec::new(),
            nat: Vec::new(),
            forwarding: false,
            transparent: false,
            port_policy: PortPolicy::Random,
            ports: PortRange { first: 32_768, last: 60_999 },
            ttl: 64,
            tcp: TcpConfig::default(),
            listen_isns: Vec::new(),
            udp_buffer: 212_992,
            conntrack: ConntrackOptions::default(),
        }
    }
}

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IfaceConfig {
    /// `eth0`, `wan`.
    pub name: String,
    /// Its MAC; never a group address.
    pub mac: MacAddr,
    /// Addresses with their prefix lengths; more can come at run time.
    pub addresses: Vec<IpNet>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

/// How ephemeral ports are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PortPolicy {
    /// The next one of one counter that UDP and TCP share.
    Sequential,
    /// By seeded dice (RFC 6056, 3.3.1).
    #[default]
    Random,
}
