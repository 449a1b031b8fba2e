//! Stage Mss: lowers the MSS option of SYNs that pass ([`rt_rules::MssClamp`]). A SYN without the option stays without, as on
//! Linux for forwarded ones.

use rt_base::{Outbox, PortId, What};
use rt_wire::checksum;

use crate::middlebox::Mangling;
use crate::packet::{ETHERNET, Packet, protocol};
use crate::stack::Stack;

const SYN: u8 = 0x02;
/// The option's kind.
const MSS: u8 = 2;

impl Stack {
    /// Stage Mss.
    pub(crate) fn clamp_mss(&mut self, packet: &mut Packet, out: &mut Outbox) {
        let Some(Mangling { clamps, .. }) = self.mangling.as_deref() else { return };
        let start = ETHERNET + usize::from(packet.ip.header_len);
        let Some(at) = option_at(packet, start) else { return };
        let flow = packet.flow();
        let mtu = |port: Option<PortId>| {
            port.and_then(|port| self.nics.get(port.index())).map_or(u16::MAX, |nic| nic.mtu)
        };
        let narrow = mtu(packet.in_port).min(mtu(packet.hop.map(|hop| hop.out)));
        let limits =
            clamps.iter().enumerate().filter_map(|(rule, clamp)| Some((clamp.limit(&flow, narrow)?, rule)));
        let Some((to, rule)) = limits.min() else { return };
        let bytes = &mut packet.frame.bytes;
        let from = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if from <= to {
            return;
        }
        write(bytes, start, at, to);
        let rule = u32::try_from(rule).unwrap_or(u32::MAX);
        out.record(packet.frame.id, || What::MssClamped { rule, from, to });
    }
}

/// Where the value of the MSS option stands in the frame, if this is a SYN that has one.
fn option_at(packet: &Packet, start: usize) -> Option<usize> {
    if packet.ip.protocol != protocol::TCP || packet.ip.is_fragment() {
        return None;
    }
    let bytes = &packet.frame.bytes;
    let head = bytes.get(start..start + 20)?;
    if head[13] & SYN == 0 {
        return None;
    }
    let end = (start + usize::from(head[12] >> 4) * 4).min(bytes.len());
    let mut at = start + 20;
    while at < end {
        let len = match bytes[at] {
            0 => return None,
            1 => 1,
            _ => usize::from(*bytes.get(at + 1)?).max(2),
        };
        if bytes[at] == MSS && len == 4 && at + 4 <= end {
            return Some(at + 2);
        }
        at += len;
    }
    None
}

/// Writes the value and mends TCP's checksum. An option may begin at an odd byte (after a NOP): then two words change.
fn write(bytes: &mut [u8], start: usize, at: usize, value: u16) {
    let first = at - (at - start) % 2;
    let last = if first == at { at + 2 } else { at + 3 };
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let before: Vec<u16> = (first..last).step_by(2).map(|at| word(bytes, at)).collect();
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    let mut sum = word(bytes, start + 16);
    for (index, old) in before.into_iter().enumerate() {
        sum = checksum::update(sum, old, word(bytes, first + 2 * index));
    }
    bytes[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
}
