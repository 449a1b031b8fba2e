//! UDP conversations: datagrams between two addresses, with DNS read where the port says so.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::dns::{DnsEnds, DnsTable};
use super::node::ordered;
use super::{DnsExchange, DnsTransport, Mark, Side, Span};

/// All datagrams between two socket addresses.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UdpConversation {
    /// The end that sent the first datagram seen.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Whether the first datagram left this node.
    pub outgoing: bool,
    /// Every datagram, in the order seen.
    pub datagrams: Vec<Datagram>,
    /// DNS exchanges, in order of their queries.
    pub dns: Vec<DnsExchange>,
    /// Payload bytes of the client.
    pub client_bytes: u64,
    /// Payload bytes of the server.
    pub server_bytes: u64,
}

/// One datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Datagram {
    /// Where it was seen (the last fragment, when it came in fragments).
    pub mark: Mark,
    /// Who sent it.
    pub from: Side,
    /// Payload bytes.
    pub len: u32,
}

/// The conversations while frames come.
#[derive(Debug, Default)]
pub(crate) struct UdpTable {
    index: BTreeMap<(SocketAddr, SocketAddr), usize>,
    all: Vec<(UdpConversation, DnsTable)>,
}

impl UdpTable {
    /// The next datagram; false when a limit forbids to keep it.
    pub(crate) fn push(
        &mut self,
        (src, dst): (SocketAddr, SocketAddr),
        payload: &[u8],
        mark: Mark,
        outgoing: bool,
        limit: usize,
    ) -> bool {
        let pair = ordered(src, dst);
        let index = match self.index.get(&pair) {
            Some(index) => *index,
            None if self.all.len() >= limit => return false,
            None => {
                // A late capture may see the answer first.
                let (client, server) =
                    if src.port() == 53 && dst.port() != 53 { (dst, src) } else { (src, dst) };
                let conversation = UdpConversation {
                    client,
                    server,
                    outgoing: outgoing == (client == src),
                    datagrams: Vec::new(),
                    dns: Vec::new(),
                    client_bytes: 0,
                    server_bytes: 0,
                };
                self.all.push((conversation, DnsTable::default()));
                self.index.insert(pair, self.all.len() - 1);
                self.all.len() - 1
            }
        };
        let (conversation, dns) = &mut self.all[index];
        let from = if src == conversation.client { Side::Client } else { Side::Server };
        let len = payload.len() as u64;
        match from {
            Side::Client => conversation.client_bytes += len,
            Side::Server => conversation.server_bytes += len,
        }
        if conversation.datagrams.len() >= limit {
            return false;
        }
        conversation.datagrams.push(Datagram { mark, from, len: payload.len() as u32 });
        if conversation.server.port() == 53 {
            let ends = DnsEnds {
                transport: DnsTransport::Udp,
                client: conversation.client,
                server: conversation.server,
                outgoing: conversation.outgoing,
            };
            dns.push(ends, payload, Span::of_frame(0, len, mark));
        }
        true
    }

    /// What was read.
    pub(crate) fn finish(self) -> Vec<UdpConversation> {
        self.all
            .into_iter()
            .map(|(mut conversation, dns)| {
                conversation.dns = dns.finish();
                conversation
            })
            .collect()
    }
}
