//! Which connection at one machine is which at another: by the frame of its SYN.
//!
//! Not for what a connection carries on ([`super::relay`]).

use std::collections::BTreeMap;

use rt_base::{Event, FixedMap, FrameId, NodeId, What};

use super::view::{Conn, End};
use crate::Trace;
use crate::read::NodeExchanges;

/// Client ends with the server ends that saw the same SYN. A machine that passes packets on, and has programs too, sees the
/// connections of others: those it neither opens nor takes, whatever it writes into them as their sender.
pub(super) fn join(trace: &Trace, read: &BTreeMap<NodeId, NodeExchanges>) -> Vec<Conn> {
    let ends = || {
        read.iter().flat_map(|(&node, exchanges)| {
            exchanges.tcp.iter().enumerate().map(move |(index, tcp)| (End { node, index }, tcp))
        })
    };
    let opened = ends().filter(|(end, tcp)| tcp.outgoing && tcp.syn_frame().node() == end.node);
    let makers: FixedMap<FrameId, NodeId> = opened.map(|(end, tcp)| (tcp.syn_frame(), end.node)).collect();
    let passed_on = |end: End, frame| makers.get(&frame).is_some_and(|maker| *maker != end.node);
    let taken = |end: End, frame| {
        let here = |e: &Event| e.node() == end.node && matches!(e.what, What::Deliver { .. });
        trace.events_of(frame).any(here)
    };
    let mut servers: FixedMap<FrameId, End> = FixedMap::default();
    let mut conns = Vec::new();
    for (end, tcp) in ends() {
        if tcp.outgoing {
            if !passed_on(end, tcp.syn_frame()) {
                conns.push(Conn { client: end, server: None, forged: false });
            }
        } else if !tcp.syn_frame().is_none() {
            // Each copy of a lost SYN is a frame of its own; any of them may be the one that arrived.
            let again = tcp.syn.iter().flat_map(|s| &s.again).map(|mark| mark.frame);
            for frame in std::iter::once(tcp.syn_frame()).chain(again) {
                if !servers.contains_key(&frame) || taken(end, frame) {
                    servers.insert(frame, end);
                }
            }
        }
    }
    for conn in &mut conns {
        let tcp = &read[&conn.client.node].tcp[conn.client.index];
        let mut copies = tcp.syn.iter().flat_map(|s| std::iter::once(&s.mark).chain(&s.again));
        conn.server = copies.find_map(|mark| servers.get(&mark.frame).copied());
    }
    conns
}
