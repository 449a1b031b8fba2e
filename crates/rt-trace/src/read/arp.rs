//! ARP (RFC 826): questions, answers, announcements and probes (RFC 5227).

use std::net::Ipv4Addr;

use rt_base::MacAddr;
use rt_wire::{ArpOperation, ArpPacket};
use serde::{Deserialize, Serialize};

use super::Mark;

/// One ARP question with its answer, or an unasked-for announcement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArpExchange {
    /// Who asks (or announces).
    pub sender: Ipv4Addr,
    /// Its MAC.
    pub sender_mac: MacAddr,
    /// Whose MAC is asked for.
    pub target: Ipv4Addr,
    /// Whether the first frame left this node.
    pub outgoing: bool,
    /// Every copy of the question, first to last.
    pub asked: Vec<Mark>,
    /// Sender and target are the same, or an answer to no question: an announcement; sender 0.0.0.0: a probe whether
    /// the address is free.
    pub announcement: bool,
    /// The answer: the MAC and where it was seen.
    pub answer: Option<(MacAddr, Mark)>,
}

/// Questions that a later answer may still find.
const OPEN: usize = 256;

impl ArpExchange {
    /// Puts a packet into the exchange it belongs to, or starts one.
    pub(crate) fn take(exchanges: &mut Vec<ArpExchange>, packet: &ArpPacket, mark: Mark, outgoing: bool) {
        let mut open = exchanges.iter_mut().rev().take(OPEN).filter(|e| e.answer.is_none());
        if packet.operation == ArpOperation::Reply {
            let asked = open.find(|e| e.target == packet.sender_ip && e.sender == packet.target_ip);
            if let Some(exchange) = asked {
                exchange.answer = Some((packet.sender_mac, mark));
                return;
            }
        } else if let Some(same) = open.find(|e| {
            (e.sender, e.target, e.sender_mac) == (packet.sender_ip, packet.target_ip, packet.sender_mac)
        }) {
            same.asked.push(mark);
            return;
        }
        let announcement = packet.operation == ArpOperation::Reply
            || packet.sender_ip == packet.target_ip
            || packet.sender_ip.is_unspecified();
        exchanges.push(ArpExchange {
            sender: packet.sender_ip,
            sender_mac: packet.sender_mac,
            target: packet.target_ip,
            outgoing,
            asked: vec![mark],
            announcement,
            answer: None,
        });
    }
}
