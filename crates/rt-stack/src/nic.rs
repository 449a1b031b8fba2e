//! An interface: its MAC, addresses and MTU, which frames it accepts, and the one way out of the machine.
//!
//! Not for queues or rates (those belong to the link, in `rt-sim`). Leaving takes an [`EgressProof`], which only the
//! hooks hand out: nobody can add a path that skips the firewall. What virtual interfaces do is in `wrap.rs`. Promiscuous mode does
//! not exist.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rt_base::{Frame, InterfaceKind, MacAddr, Outbox, PortId};
use rt_rules::ReversePath;
use rt_wire::{ArpPacket, EthernetHeader, ethertype, rewrite};

use crate::config::IfaceConfig;
use crate::hooks::EgressProof;

/// One interface.
#[derive(Clone, Debug)]
pub(crate) struct Nic {
    pub(crate) name: String,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u16,
    pub(crate) addresses: Vec<IpNet>,
    /// What it is, if it is no port with a cable.
    pub(crate) kind: InterfaceKind,
    pub(crate) reverse_path: ReversePath,
}

/// The interfaces with their reverse-path checks, which are off where none is given.
pub(crate) fn all(
    interfaces: Vec<IfaceConfig>,
    reverse_path: &[ReversePath],
    virtuals: &[(PortId, InterfaceKind)],
) -> Vec<Nic> {
    let checks = reverse_path.iter().copied().chain(core::iter::repeat(ReversePath::Off));
    let mut nics: Vec<Nic> =
        interfaces.into_iter().zip(checks).map(|(config, check)| Nic::new(config, check)).collect();
    for (port, kind) in virtuals {
        if let Some(nic) = nics.get_mut(port.index()) {
            nic.kind = *kind;
        }
    }
    nics
}

impl Nic {
    fn new(config: IfaceConfig, reverse_path: ReversePath) -> Nic {
        let IfaceConfig { name, mac, mtu, addresses } = config;
        Nic { name, mac, mtu, addresses, kind: InterfaceKind::Ethernet, reverse_path }
    }

    /// Whether a frame with this destination is for this station.
    pub(crate) fn accepts(&self, dst: MacAddr) -> bool {
        dst == self.mac || dst.is_group()
    }

    /// Whether `address` is one of its own.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == address)
    }

    /// Whether `address` is the broadcast address of one of its networks (RFC 919). A /31 or /32 has none (RFC 3021).
    pub(crate) fn is_broadcast(&self, address: IpAddr) -> bool {
        let broadcast =
            |net: &IpNet| net.prefix_len() < 31 && net.broadcast() == address && net.addr().is_ipv4();
        self.addresses.iter().any(broadcast)
    }

    /// The own address to use towards `peer`: the one that shares its network, else the first.
    pub(crate) fn address_towards(&self, peer: IpAddr) -> Option<Ipv4Addr> {
        let shared = self.addresses.iter().find(|net| net.contains(&peer));
        shared
            .or(self.addresses.iter().find(|net| net.addr().is_ipv4()))
            .and_then(|net| crate::packet::v4(net.addr()))
    }
}

/// Sends an IP packet that the hooks have passed over a cable.
pub(crate) fn transmit(
    mut frame: Frame,
    port: PortId,
    macs: (MacAddr, MacAddr),
    _passed: EgressProof,
    out: &mut Outbox,
) {
    rewrite::set_macs(&mut frame.bytes, macs.0, macs.1);
    out.send(port, frame);
}

/// An ARP packet: link-local, so no hook sees it (as netfilter's IP tables do not).
pub(crate) fn arp_frame(packet: &ArpPacket, dst: MacAddr, out: &mut Outbox) -> Frame {
    let mut bytes = out.buffer(EthernetHeader::LEN + ArpPacket::LEN);
    EthernetHeader { dst, src: packet.sender_mac, ethertype: ethertype::ARP }.emit(&mut bytes);
    packet.emit(&mut bytes);
    out.new_frame(bytes, rt_base::FrameId::NONE)
}
