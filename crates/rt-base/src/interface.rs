//! What an interface is: a port with a cable, or something that wraps packets and hands them to another one.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::PortId;

/// The kind of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// A port with a cable.
    #[default]
    Ethernet,
    /// A VLAN on another interface (IEEE 802.1Q): its frames bear a tag.
    Vlan {
        /// The interface below.
        parent: PortId,
        /// 1 to 4094.
        id: u16,
    },
    /// IP in GRE (RFC 2784; with a key RFC 2890).
    Gre {
        /// This end.
        local: Ipv4Addr,
        /// The other end.
        remote: Ipv4Addr,
        /// Tells tunnels between the same ends apart.
        key: Option<u32>,
    },
    /// IP in IP (RFC 2003).
    Ipip {
        /// This end.
        local: Ipv4Addr,
        /// The other end.
        remote: Ipv4Addr,
    },
    /// Ethernet in UDP (RFC 7348).
    Vxlan {
        /// The network's number, 24 bits.
        vni: u32,
        /// This end.
        local: Ipv4Addr,
        /// The other end.
        remote: Ipv4Addr,
        /// UDP port of both ends (4789).
        port: u16,
    },
    /// PPP over Ethernet (RFC 2516) on another interface.
    Pppoe {
        /// The interface below.
        parent: PortId,
        /// Whether this end is the access concentrator, which waits for a client.
        server: bool,
    },
    /// Packets go to a program of the machine and come from it (Linux: a TUN device).
    Tun,
}

/// The VLANs of a switch's port (IEEE 802.1Q). A port without this passes frames as they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchPort {
    /// Frames without tag, all of this VLAN.
    Access(u16),
    /// Frames with tags.
    Trunk {
        /// Of these VLANs; empty for all.
        allowed: Vec<u16>,
        /// The VLAN of frames without tag; `None` refuses them.
        native: Option<u16>,
    },
}

impl SwitchPort {
    /// The VLAN of a frame that arrives with this tag; `None` when the port does not take it.
    #[must_use]
    pub fn vlan_in(&self, tag: Option<u16>) -> Option<u16> {
        match (self, tag) {
            (SwitchPort::Access(vlan), None) => Some(*vlan),
            (SwitchPort::Access(_), Some(_)) => None,
            (SwitchPort::Trunk { native, .. }, None) => *native,
            (SwitchPort::Trunk { allowed, .. }, Some(tag)) => {
                (allowed.is_empty() || allowed.contains(&tag)).then_some(tag)
            }
        }
    }

    /// The tag with which a frame of this VLAN leaves (`Some(None)`: without); `None` when the port does not carry it.
    #[must_use]
    pub fn tag_out(&self, vlan: u16) -> Option<Option<u16>> {
        match self {
            SwitchPort::Access(own) => (*own == vlan).then_some(None),
            SwitchPort::Trunk { native, .. } if *native == Some(vlan) => Some(None),
            SwitchPort::Trunk { allowed, .. } => {
                (allowed.is_empty() || allowed.contains(&vlan)).then_some(Some(vlan))
            }
        }
    }
}

impl InterfaceKind {
    /// Bytes that it puts around an IP packet and that count against the MTU below.
    #[must_use]
    pub fn overhead(self) -> u16 {
        match self {
            // The tag is no part of the payload of the frame: links carry it on top of their MTU.
            InterfaceKind::Ethernet | InterfaceKind::Vlan { .. } | InterfaceKind::Tun => 0,
            InterfaceKind::Gre { key: None, .. } => 24,
            InterfaceKind::Gre { key: Some(_), .. } => 28,
            InterfaceKind::Ipip { .. } => 20,
            InterfaceKind::Vxlan { .. } => 50,
            InterfaceKind::Pppoe { .. } => 8,
        }
    }

    /// Whether a cable can end at it.
    #[must_use]
    pub fn is_physical(self) -> bool {
        self == InterfaceKind::Ethernet
    }

    /// Whether there is one neighbour at most, which needs no MAC.
    #[must_use]
    pub fn is_point_to_point(self) -> bool {
        !matches!(self, InterfaceKind::Ethernet | InterfaceKind::Vlan { .. } | InterfaceKind::Vxlan { .. })
    }

    /// The two ends of a tunnel over IP.
    #[must_use]
    pub fn ends(self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match self {
            InterfaceKind::Gre { local, remote, .. }
            | InterfaceKind::Ipip { local, remote }
            | InterfaceKind::Vxlan { local, remote, .. } => Some((local, remote)),
            _ => None,
        }
    }

    /// What people call it.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            InterfaceKind::Ethernet => "Ethernet",
            InterfaceKind::Vlan { .. } => "VLAN",
            InterfaceKind::Gre { .. } => "GRE",
            InterfaceKind::Ipip { .. } => "IP-in-IP",
            InterfaceKind::Vxlan { .. } => "VXLAN",
            InterfaceKind::Pppoe { .. } => "PPPoE",
            InterfaceKind::Tun => "tun",
        }
    }
}
