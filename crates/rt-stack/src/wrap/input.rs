//! What arrives wrapped: VLAN tags and PPPoE in frames, GRE, IP-in-IP and VXLAN in packets for this machine.

use rt_base::{DropReason, Frame, InterfaceKind, Outbox, Place, PortId, Time, Way, What};
use rt_wire::{Ipv4Header, checksum, ethertype};

use super::{GRE, VXLAN_LEN};
use crate::deliver::{Delivered, stop};
use crate::icmp::Complaint;
use crate::packet::{EMPTY_ETHERNET, ETHERNET, LOOPBACK, Packet};
use crate::stack::{NOBODY, Stack};

/// Congestion experienced (RFC 3168, 5).
const CE: u8 = 3;

impl Stack {
    /// Whether frames of this type are for a virtual interface on this one.
    pub(crate) fn unwraps(&self, port: PortId, kind: u16) -> bool {
        self.virtuals.is_some()
            && self.nics.iter().any(|nic| match nic.kind {
                InterfaceKind::Vlan { parent, .. } => kind == ethertype::VLAN && parent == port,
                InterfaceKind::Pppoe { parent, .. } => {
                    matches!(kind, ethertype::PPPOE_DISCOVERY | ethertype::PPPOE_SESSION) && parent == port
                }
                _ => false,
            })
    }

    /// A frame for a virtual interface on this one ([`Stack::unwraps`]).
    pub(crate) fn receive_wrapped(
        &mut self,
        now: Time,
        port: PortId,
        kind: u16,
        mut frame: Frame,
        out: &mut Outbox,
    ) {
        if kind != ethertype::VLAN {
            return self.receive_pppoe(now, port, kind, frame, out);
        }
        let Some(tag) = frame.bytes.get(14..18) else {
            return out.drop_frame(frame, DropReason::Malformed, Place::Ingress, port, None);
        };
        let wanted = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
        let fits =
            |kind| matches!(kind, InterfaceKind::Vlan { parent, id } if parent == port && id == wanted);
        let Some(vlan) = self.virtual_port(|nic| fits(nic.kind)).filter(|_| self.is_cable(port)) else {
            return out.drop_frame(frame, DropReason::NoTunnel, Place::Ingress, port, None);
        };
        frame.bytes.drain(12..16);
        let event = out.record(frame.id, || What::Unwrapped { port: vlan, overhead: 4 });
        out.show_inside(vlan, Way::In, &frame, event);
        match self.accept_frame(vlan, &frame) {
            Err(reason) => out.drop_frame(frame, reason, Place::Ingress, vlan, None),
            Ok((ethertype::ARP, _)) => self.receive_arp(now, vlan, frame, out),
            Ok((ethertype::IPV4, from_group)) => self.receive_ip(now, vlan, frame, from_group, out),
            Ok((kind, _)) => self.receive_pppoe(now, vlan, kind, frame, out),
        }
    }

    /// GRE or IP-in-IP for this machine.
    pub(crate) fn unwrap_ip(&mut self, packet: &Packet, _out: &mut Outbox) -> Delivered {
        let nobody = || stop(DropReason::NoTunnel).complaining(Complaint::Port);
        let payload = packet.payload();
        let (key, inner) = match packet.ip.protocol {
            GRE => {
                let (flags, rest) = payload.split_at_checked(4).ok_or_else(|| stop(DropReason::Malformed))?;
                match (flags, rest) {
                    ([0, 0, 8, 0], inner) => (None, inner),
                    ([0x20, 0, 8, 0], [a, b, c, d, inner @ ..]) => {
                        (Some(u32::from_be_bytes([*a, *b, *c, *d])), inner)
                    }
                    _ => return Err(nobody()),
                }
            }
            _ => (None, payload),
        };
        let (is_gre, ends) = (packet.ip.protocol == GRE, (packet.ip.dst, packet.ip.src));
        let port = self.virtual_port(|nic| match nic.kind {
            InterfaceKind::Gre { local, remote, key: own } => is_gre && (local, remote) == ends && own == key,
            InterfaceKind::Ipip { local, remote } => !is_gre && (local, remote) == ends,
            _ => false,
        });
        let port = port.ok_or_else(nobody)?;
        self.push_inner(packet, port, inner)
    }

    /// The packet inside waits until the outer one is delivered.
    fn push_inner(&mut self, packet: &Packet, port: PortId, inner: &[u8]) -> Delivered {
        let mut bytes = Vec::with_capacity(ETHERNET + inner.len());
        bytes.extend_from_slice(&EMPTY_ETHERNET);
        bytes.extend_from_slice(inner);
        self.push_unwrapped(packet, port, bytes, false)
    }

    fn push_unwrapped(
        &mut self,
        outer: &Packet,
        port: PortId,
        mut bytes: Vec<u8>,
        from_group: bool,
    ) -> Delivered {
        let (mut ip, _) = Ipv4Header::parse(&bytes[ETHERNET..]).map_err(|error| {
            stop(if error.is_checksum() { DropReason::BadChecksum } else { DropReason::Malformed })
        })?;
        let marked = ecn_inside(ip.dscp_ecn & 3, outer.ip.dscp_ecn & 3)
            .ok_or_else(|| stop(DropReason::CongestionUnsayable))?;
        if marked != ip.dscp_ecn & 3 {
            let word = |bytes: &[u8]| u16::from_be_bytes([bytes[ETHERNET], bytes[ETHERNET + 1]]);
            let before = word(&bytes);
            ip.dscp_ecn = ip.dscp_ecn & !3 | marked;
            bytes[ETHERNET + 1] = ip.dscp_ecn;
            let at = ETHERNET + 10;
            let sum = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let mended = checksum::update(sum, before, word(&bytes));
            bytes[at..at + 2].copy_from_slice(&mended.to_be_bytes());
        }
        let frame = Frame { id: outer.frame.id, parent: outer.frame.parent, bytes };
        self.loopback.push_back(Packet::arrived(frame, ip, port, from_group));
        Ok(NOBODY)
    }

    /// VXLAN for this machine; `None` when nobody here speaks it on that port.
    pub(crate) fn unwrap_vxlan(
        &mut self,
        packet: &Packet,
        at: u16,
        payload: &[u8],
        out: &mut Outbox,
    ) -> Option<Delivered> {
        self.virtuals.as_ref()?;
        let speaks = |kind| matches!(kind, InterfaceKind::Vxlan { port, .. } if port == at);
        self.virtual_port(|nic| speaks(nic.kind))?;
        let [0x08, _, _, _, a, b, c, _, inner @ ..] = payload else {
            return Some(Err(stop(DropReason::Malformed)));
        };
        debug_assert_eq!(payload.len() - inner.len(), VXLAN_LEN);
        let (wanted, ends) = (u32::from_be_bytes([0, *a, *b, *c]), (packet.ip.dst, packet.ip.src));
        let fits = |kind| match kind {
            InterfaceKind::Vxlan { vni, local, remote, port } => {
                vni == wanted && (local, remote) == ends && port == at
            }
            _ => false,
        };
        let Some(port) = self.virtual_port(|nic| fits(nic.kind)) else {
            return Some(Err(stop(DropReason::NoTunnel)));
        };
        let frame = Frame { id: packet.frame.id, parent: packet.frame.parent, bytes: inner.to_vec() };
        Some(match self.accept_frame(port, &frame) {
            Err(reason) => Err(stop(reason)),
            Ok((ethertype::ARP, _)) => {
                let overhead = InterfaceKind::overhead(self.nics[port.index()].kind);
                let event = out.record(frame.id, || What::Unwrapped { port, overhead });
                out.show_inside(port, Way::In, &frame, event);
                self.receive_arp(self.cx.now, port, frame, out);
                Ok(NOBODY)
            }
            Ok((_, from_group)) => self.push_unwrapped(packet, port, frame.bytes, from_group),
        })
    }

    /// A packet that waited to arrive: from this machine itself, or unwrapped.
    pub(crate) fn note_unwrapped(&self, packet: &Packet, out: &mut Outbox) {
        let Some(port) = packet.in_port.filter(|port| *port != LOOPBACK) else { return };
        if let Some(nic) = self.nics.get(port.index()).filter(|nic| nic.kind.overhead() > 0) {
            let overhead = nic.kind.overhead();
            let event = out.record(packet.frame.id, || What::Unwrapped { port, overhead });
            out.show_inside(port, Way::In, &packet.frame, event);
        }
    }
}

/// RFC 6040, 4.2: the ECN field of the packet inside after it was unwrapped; `None` when it must be dropped.
fn ecn_inside(inner: u8, outer: u8) -> Option<u8> {
    //= rfc6040#4.2 MUST
    match (inner, outer) {
        (0, CE) => None,
        (0, _) | (CE, _) => Some(inner),
        (_, CE) => Some(CE),
        // ECT(1) outside is carried over to ECT(0) inside.
        (2, 1) => Some(1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 6040, figure 4; rows are the packet inside (Not-ECT, ECT(0), ECT(1), CE), columns the outside.
    #[test]
    fn ecn_as_in_rfc_6040() {
        let [not, ect0, ect1] = [0u8, 2, 1];
        let rows = [
            (not, [Some(not), Some(not), Some(not), None]),
            (ect0, [Some(ect0), Some(ect0), Some(ect1), Some(CE)]),
            (ect1, [Some(ect1), Some(ect1), Some(ect1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in rows {
            for (outer, expected) in [not, ect0, ect1, CE].into_iter().zip(row) {
                assert_eq!(ecn_inside(inner, outer), expected, "{inner} in {outer}");
            }
        }
    }
}
