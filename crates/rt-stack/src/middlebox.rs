//! What a machine on the path does to what it does not know ([`rt_rules::Ossified`]): drops it, or takes it away. Part of
//! stage Mss, for packets that pass.
//!
//! Simplification: a ServerHello is looked for at the beginning of a segment, where servers write it.

use rt_base::{DropReason, HookPoint, Outbox, Place, What};
use rt_rules::{MssClamp, Newer, Ossified};
use rt_wire::checksum;

use crate::packet::{ETHERNET, Packet, protocol};
use crate::stack::{Stack, Step, Stop};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// ECE and CWR.
const ECN_FLAGS: u8 = 0xc0;
/// The ECN field of IP.
const ECN_BITS: u8 = 0x03;
/// No-operation, as an option.
const NOP: u8 = 1;

/// What is done to packets that pass, at stage Mss: one word for a machine that does nothing.
#[derive(Debug)]
pub(crate) struct Mangling {
    pub(crate) clamps: Vec<MssClamp>,
    ossified: Vec<Ossified>,
}

impl Mangling {
    pub(crate) fn of(clamps: Vec<MssClamp>, ossified: Vec<Ossified>) -> Option<Box<Mangling>> {
        (!clamps.is_empty() || !ossified.is_empty()).then(|| Box::new(Mangling { clamps, ossified }))
    }
}

/// What was found in a packet.
enum Found {
    /// An option: its first byte and its end.
    Option(usize, usize),
    /// ECN in TCP's flags, in IP, or both.
    Ecn,
    /// A ServerHello.
    Hello,
}

impl Stack {
    /// What this machine does not know goes no further, or not as it came.
    pub(crate) fn ossified(&mut self, packet: &mut Packet, out: &mut Outbox) -> Step {
        let Some(Mangling { ossified, .. }) = self.mangling.as_deref() else { return Step::On };
        if packet.in_port.is_none() || packet.ip.protocol != protocol::TCP || packet.ip.is_fragment() {
            return Step::On;
        }
        let flow = packet.flow();
        let start = ETHERNET + usize::from(packet.ip.header_len);
        for (index, rule) in ossified.iter().enumerate().filter(|(_, rule)| rule.is_for(&flow)) {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            while let Some(found) = find(rule.what, &packet.frame.bytes, start, rule.strips) {
                if !rule.strips || matches!(found, Found::Hello) {
                    let place = Place::Hook(HookPoint::Forward);
                    return Step::Stop(Stop::new(DropReason::Ossified, place).by(Some(number)));
                }
                strip(&mut packet.frame.bytes, start, &found);
                if matches!(found, Found::Ecn) {
                    packet.ip.dscp_ecn &= !ECN_BITS;
                }
                out.record(packet.frame.id, || What::Stripped { rule: number });
            }
        }
        Step::On
    }
}

fn find(what: Newer, bytes: &[u8], start: usize, strips: bool) -> Option<Found> {
    let head = bytes.get(start..start + 20)?;
    let flags = head[13];
    match what {
        Newer::TcpOption(_) | Newer::AnyTcpOption => {
            let end = (start + usize::from(head[12] >> 4) * 4).min(bytes.len());
            (flags & SYN != 0).then(|| option(what, bytes, start + 20, end)).flatten()
        }
        Newer::Ecn => {
            let asks = flags & SYN != 0 && flags & ECN_FLAGS != 0;
            let marked = bytes[ETHERNET + 1] & ECN_BITS != 0;
            let hit = if strips { asks || marked } else { asks && flags & ACK == 0 };
            hit.then_some(Found::Ecn)
        }
        Newer::Tls13 | Newer::BareTls13 => {
            let payload = bytes.get(start + usize::from(head[12] >> 4) * 4..)?;
            let bare = chooses_tls13(payload)?;
            (bare || what == Newer::Tls13).then_some(Found::Hello)
        }
    }
}

/// The first option that is not known.
fn option(what: Newer, bytes: &[u8], mut at: usize, end: usize) -> Option<Found> {
    while at < end {
        let kind = bytes[at];
        let len = match kind {
            0 => return None,
            NOP => 1,
            _ => usize::from(*bytes.get(at + 1)?).max(2),
        };
        if what.is_option(kind) && at + len <= end {
            return Some(Found::Option(at, at + len));
        }
        at += len;
    }
    None
}

/// Whether these bytes begin with a ServerHello that chooses TLS 1.3 (RFC 8446, 4.1.3 and 4.2.1), and if so, whether it echoes no
/// session id.
fn chooses_tls13(payload: &[u8]) -> Option<bool> {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    const SUPPORTED_VERSIONS: [u8; 2] = [0, 43];
    if *payload.first()? != HANDSHAKE || *payload.get(5)? != SERVER_HELLO {
        return None;
    }
    let session = usize::from(*payload.get(43)?);
    // Suite and compression lie between.
    let at = 44 + session + 3;
    let len = usize::from(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    let mut rest = payload.get(at + 2..(at + 2 + len).min(payload.len()))?;
    while let [a, b, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (value, next) = tail.split_at(len);
        if [*a, *b] == SUPPORTED_VERSIONS {
            return (value == [3, 4]).then_some(session == 0);
        }
        rest = next;
    }
    None
}

fn strip(bytes: &mut [u8], start: usize, found: &Found) {
    match *found {
        Found::Option(at, end) => patch(bytes, (start, start + 16), (at, end), |part| part.fill(NOP)),
        Found::Ecn => {
            if bytes[start + 13] & SYN != 0 {
                patch(bytes, (start, start + 16), (start + 13, start + 14), |part| part[0] &= !ECN_FLAGS);
            }
            let sum = (ETHERNET, ETHERNET + 10);
            patch(bytes, sum, (ETHERNET + 1, ETHERNET + 2), |part| part[0] &= !ECN_BITS);
        }
        Found::Hello => {}
    }
}

/// Changes a part and mends the checksum at `sum` of the header that begins at `start`: words are counted from there.
fn patch(
    bytes: &mut [u8],
    (start, sum): (usize, usize),
    (at, end): (usize, usize),
    change: impl FnOnce(&mut [u8]),
) {
    let first = at - (at - start) % 2;
    let last = end + (end - start) % 2;
    let words = |bytes: &[u8]| -> Vec<u16> {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes.get(at + 1).copied().unwrap_or(0)]);
        (first..last).step_by(2).map(word).collect()
    };
    let before = words(bytes);
    change(&mut bytes[at..end]);
    let after = words(bytes);
    let mut value = u16::from_be_bytes([bytes[sum], bytes[sum + 1]]);
    for (old, new) in before.into_iter().zip(after) {
        value = checksum::update(value, old, new);
    }
    bytes[sum..sum + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ServerHello with this session id and these extensions.
    fn hello(session: &[u8], extensions: &[u8]) -> Vec<u8> {
        let mut bytes = vec![22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3];
        bytes.extend([7; 32]);
        bytes.push(session.len() as u8);
        bytes.extend(session);
        bytes.extend([0x13, 0x01, 0]);
        bytes.extend((extensions.len() as u16).to_be_bytes());
        bytes.extend(extensions);
        bytes
    }

    #[test]
    fn a_server_hello_says_which_tls_it_is() {
        let key_share = [0, 51, 0, 2, 9, 9];
        let tls13 = [&key_share[..], &[0, 43, 0, 2, 3, 4]].concat();
        assert_eq!(chooses_tls13(&hello(&[5; 32], &tls13)), Some(false), "compatibility mode");
        assert_eq!(chooses_tls13(&hello(&[], &tls13)), Some(true), "without it");
        assert_eq!(chooses_tls13(&hello(&[5; 32], &key_share)), None, "TLS 1.2");
        for cut in 0..hello(&[], &tls13).len() {
            assert_eq!(chooses_tls13(&hello(&[], &tls13)[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn only_newer_options_are_found() {
        let syn = [2, 4, 5, 180, 1, 3, 3, 7, 34, 2, 1, 1];
        let at = |what| match option(what, &syn, 0, syn.len()) {
            Some(Found::Option(at, end)) => Some((at, end)),
            _ => None,
        };
        assert_eq!(at(Newer::AnyTcpOption), Some((8, 10)));
        assert_eq!(at(Newer::TcpOption(34)), Some((8, 10)));
        assert_eq!(at(Newer::TcpOption(253)), None);
        assert_eq!(at(Newer::TcpOption(3)), Some((5, 8)));
        // A length that leads out of the header, and none at all.
        for bad in [&[34, 40, 0, 0][..], &[34], &[253, 0, 1, 1]] {
            assert!(option(Newer::AnyTcpOption, bad, 0, bad.len()).is_none() || bad[1] == 0);
        }
    }
}
