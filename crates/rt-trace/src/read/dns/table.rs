//! Queries find their responses: by addresses and id over UDP, by order and id over TCP.

use std::net::SocketAddr;

use super::message::{self, Parsed};
use super::{DnsAnswer, DnsExchange, DnsTransport};
use crate::read::mark::Origins;
use crate::read::tcp::TcpConversation;
use crate::read::{Side, Span};

/// Exchanges without an answer that a late response may still find.
const OPEN: usize = 256;

/// The exchanges of one conversation.
#[derive(Debug, Default)]
pub(crate) struct DnsTable {
    exchanges: Vec<DnsExchange>,
}

/// Who talks, for the exchanges of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsEnds {
    pub(crate) transport: DnsTransport,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) outgoing: bool,
}

impl DnsTable {
    /// The next message; tells whether it was one.
    pub(crate) fn push(&mut self, ends: DnsEnds, bytes: &[u8], span: Span) -> bool {
        let Some(parsed) = message::parse(bytes) else { return false };
        if parsed.response {
            self.response(ends, parsed, span)
        } else {
            self.query(ends, parsed, span)
        }
        true
    }

    fn query(&mut self, ends: DnsEnds, parsed: Parsed, span: Span) {
        let again = self.exchanges.iter_mut().rev().take(OPEN).find(|e| {
            e.id == parsed.id && e.answer.is_none() && e.query.is_some() && e.questions == parsed.questions
        });
        match again {
            Some(known) => known.again.push(span.readable),
            None => self.exchanges.push(exchange(ends, &parsed, Some(span))),
        }
    }

    fn response(&mut self, ends: DnsEnds, parsed: Parsed, span: Span) {
        // A response may leave the question out; then the id alone must do.
        let open = self.exchanges.iter_mut().rev().take(OPEN).find(|e| {
            let same = parsed.questions.is_empty() || same_question(e, &parsed);
            e.id == parsed.id && e.answer.is_none() && same
        });
        let slot = match open {
            Some(known) => known,
            None => {
                self.exchanges.push(exchange(ends, &parsed, None));
                match self.exchanges.last_mut() {
                    Some(last) => last,
                    None => return,
                }
            }
        };
        let outcome = message::outcome(&parsed);
        slot.answer = Some(DnsAnswer {
            span,
            rcode: parsed.rcode,
            rcode_name: parsed.rcode_name,
            outcome,
            authoritative: parsed.authoritative,
            truncated: parsed.truncated,
            recursion_available: parsed.recursion_available,
            answers: parsed.answers,
            authority: parsed.authority,
            additional: parsed.additional,
        });
    }

    pub(crate) fn finish(self) -> Vec<DnsExchange> {
        self.exchanges
    }
}

/// Names compare without regard to case (RFC 4343; clients may mix it).
fn same_question(exchange: &DnsExchange, parsed: &Parsed) -> bool {
    exchange.questions.len() == parsed.questions.len()
        && exchange
            .questions
            .iter()
            .zip(&parsed.questions)
            .all(|(a, b)| a.rtype == b.rtype && a.name.eq_ignore_ascii_case(&b.name))
}

fn exchange(ends: DnsEnds, parsed: &Parsed, query: Option<Span>) -> DnsExchange {
    DnsExchange {
        transport: ends.transport,
        client: ends.client,
        server: ends.server,
        outgoing: ends.outgoing,
        id: parsed.id,
        questions: parsed.questions.clone(),
        recursion_desired: parsed.recursion_desired,
        edns_size: if query.is_some() { parsed.edns_size } else { None },
        query,
        again: Vec::new(),
        answer: None,
    }
}

/// DNS over a stream: each message after its length (RFC 1035, 4.2.2).
#[derive(Debug, Default)]
pub(crate) struct DnsStream {
    halves: [Half; 2],
    messages: Vec<(Side, Vec<u8>, Span)>,
}

#[derive(Debug, Default)]
struct Half {
    buf: Vec<u8>,
    base: u64,
    origins: Origins,
}

impl DnsStream {
    /// The next bytes of one side.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        let half = &mut self.halves[from.index()];
        half.origins.push(bytes.len() as u64, span);
        half.buf.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(&[hi, lo]) = half.buf[used..].first_chunk::<2>() {
            let end = used + 2 + usize::from(u16::from_be_bytes([hi, lo]));
            let Some(message) = half.buf.get(used + 2..end) else { break };
            let span = half.origins.span(half.base + used as u64, half.base + end as u64);
            self.messages.push((from, message.to_vec(), span));
            used = end;
        }
        half.buf.drain(..used);
        half.base += used as u64;
    }

    /// Puts what was read into the conversation.
    pub(crate) fn finish(self, into: &mut TcpConversation) {
        let ends = DnsEnds {
            transport: DnsTransport::Tcp,
            client: into.client,
            server: into.server,
            outgoing: into.outgoing,
        };
        let mut table = DnsTable::default();
        let bad = self.messages.iter().filter(|(_, bytes, span)| !table.push(ends, bytes, *span)).count();
        if bad > 0 {
            into.problems.push(format!("{bad} DNS messages could not be read"));
        }
        into.dns = table.finish();
    }
}
