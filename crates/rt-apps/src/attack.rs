//! What somebody does who builds packets by hand: a flood of SYNs, segments, datagrams and answers in another machine's name. They are real
//! packets, through this machine's own stack and cables, so that captures show what a victim would see.
//!
//! Not for: programs that behave. What is sent here belongs to no socket; answers to it are treated as any stray packet.
//! Simplified: a flood sends at an even pace, whole batches each millisecond when it is faster than that.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use rt_base::{AppRecord, Figure, Nanos, ReqId, ReqKind, Wait};
use rt_wire::{Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions, UdpHeader};

use crate::dns::RecordType;
use crate::dns::{Data, Message, Name, Record};
use crate::net::Net;
use crate::step::StepResult;

/// Batches of a fast flood leave so far apart.
const BATCH: Nanos = Nanos::from_millis(1);

/// A flood of SYNs from addresses that are not ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SynFlood {
    /// Name or address.
    pub target: String,
    /// TCP port.
    pub port: u16,
    /// SYNs per second.
    pub rate: u64,
    /// For so long.
    pub lasts: Nanos,
    /// The senders that it pretends to be: addresses of this network in turn.
    pub sources: Ipv4Net,
}

/// Guesses at a connection of two other machines, or at a question that one asked the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spoof {
    /// What it says.
    pub kind: SpoofKind,
    /// In whose name.
    pub from: SocketAddrV4,
    /// To whom.
    pub to: SocketAddrV4,
    /// The first sequence number, or id, that is tried.
    pub first: u32,
    /// From one guess to the next.
    pub stride: u32,
    /// How many guesses.
    pub count: u32,
    /// Guesses per second.
    pub rate: u64,
}

/// What a forged packet says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpoofKind {
    /// The connection is over.
    Rst,
    /// A connection begins.
    Syn,
    /// A datagram with a few words.
    Udp,
    /// The answer to somebody's question.
    Answer {
        /// The name that was asked for.
        name: String,
        /// The address that it is said to have.
        address: Ipv4Addr,
    },
}

/// Sends the flood.
pub async fn syn_flood(net: Net, flood: SynFlood) -> StepResult {
    let target = format!("{}:{}", flood.target, flood.port);
    let req = begin(&net, "flood", target.clone());
    let address = match flood.target.parse() {
        Ok(address) => Ok(address),
        Err(_) => match net.lookup(&flood.target, RecordType::A, req).await {
            Ok(answer) => answer.addresses.first().copied().ok_or_else(|| "it has no address".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    };
    let result = match address {
        Ok(IpAddr::V4(to)) => {
            let to = SocketAddrV4::new(to, flood.port);
            let mut rng = net.rng(&format!("flood.{}", req.0));
            let hosts =
                u64::from(u32::MAX.checked_shr(flood.sources.prefix_len().into()).unwrap_or(0)).max(1);
            let base = u32::from(flood.sources.network());
            let total = flood.lasts.0.saturating_mul(flood.rate) / 1_000_000_000;
            let sent = paced(&net, total, flood.rate, |_| {
                let host = (rng.below(hosts) as u32).max(u32::from(hosts > 1));
                let port = 1_024 + rng.below(64_000) as u16;
                let from = SocketAddrV4::new(Ipv4Addr::from(base.wrapping_add(host)), port);
                segment(from, to, TcpFlags::SYN, rng.next_u32())
            });
            let sent = sent.await;
            let sent_words = rt_base::count(sent, "SYN");
            let text = format!("{sent_words} to {target} in the name of addresses of {}", flood.sources);
            StepResult::ok(text).with_figures(vec![Figure::count("packets", sent)])
        }
        Ok(IpAddr::V6(_)) => StepResult::failed("only IPv4 is spoken here"),
        Err(why) => StepResult::failed(why),
    };
    end(&net, req, result)
}

/// Sends the guesses.
pub async fn spoof(net: Net, spoof: Spoof) -> StepResult {
    let (name, numbers) = match &spoof.kind {
        SpoofKind::Rst => ("RST", "sequence number"),
        SpoofKind::Syn => ("SYN", "sequence number"),
        SpoofKind::Udp => ("datagram", ""),
        SpoofKind::Answer { .. } => ("answer", "id"),
    };
    let req = begin(&net, "spoof", format!("{name} {} → {}", spoof.from, spoof.to));
    let answer = match &spoof.kind {
        SpoofKind::Answer { name, address } => match forged_answer(name, *address) {
            Some(bytes) => bytes,
            None => return end(&net, req, StepResult::failed(format!("{name} is not a name"))),
        },
        _ => Vec::new(),
    };
    let number = |n: u64| spoof.first.wrapping_add(spoof.stride.wrapping_mul(n as u32));
    let sent = paced(&net, u64::from(spoof.count), spoof.rate, |n| match spoof.kind {
        SpoofKind::Rst => segment(spoof.from, spoof.to, TcpFlags::RST, number(n)),
        SpoofKind::Syn => segment(spoof.from, spoof.to, TcpFlags::SYN, number(n)),
        SpoofKind::Udp => datagram(spoof.from, spoof.to, FORGED_WORDS),
        SpoofKind::Answer { .. } => {
            let mut guess = answer.clone();
            guess[..2].copy_from_slice(&(number(n) as u16).to_be_bytes());
            datagram(spoof.from, spoof.to, &guess)
        }
    });
    let sent = sent.await;
    let (first, last) = (number(0), number(u64::from(spoof.count.saturating_sub(1))));
    let tried = match (spoof.count, numbers) {
        (_, "") => String::new(),
        (0 | 1, numbers) => format!(", {numbers} {first}"),
        (_, numbers) => format!(", {numbers}s {first} to {last}"),
    };
    let forged = rt_base::count(sent, &format!("forged {name}"));
    let text = format!("{forged} in the name of {}{tried}", spoof.from);
    end(&net, req, StepResult::ok(text).with_figures(vec![Figure::count("packets", sent)]))
}

/// What a forged datagram says.
const FORGED_WORDS: &[u8] = b"not from whom you think";

/// The answer to a question for the address of `name`, with the id 0.
fn forged_answer(name: &str, address: Ipv4Addr) -> Option<Vec<u8>> {
    let name: Name = name.trim_end_matches('.').parse::<Name>().ok()?;
    let mut message = Message::query(0, name.clone(), RecordType::A).reply();
    let data = Data::A(domain::rdata::A::new(address));
    message.answer.push(Record { name, ttl: FORGED_TTL, data });
    Some(message.emit(512))
}

/// A forger wants to be believed for long.
const FORGED_TTL: u32 = 86_400;

fn datagram(from: SocketAddrV4, to: SocketAddrV4, text: &[u8]) -> (Ipv4Header, Vec<u8>) {
    let len = UdpHeader::LEN + text.len();
    let mut payload = Vec::with_capacity(len);
    UdpHeader { src: from.port(), dst: to.port(), len: len as u16, checksum: 0 }.emit(&mut payload);
    payload.extend_from_slice(text);
    (Ipv4Header::new(*from.ip(), *to.ip(), 17, 64, len), payload)
}

/// Sends `total` packets at `rate` a second; returns how many.
async fn paced(net: &Net, total: u64, rate: u64, mut make: impl FnMut(u64) -> (Ipv4Header, Vec<u8>)) -> u64 {
    let (begin, rate) = (net.now(), rate.max(1));
    let due = |at: Nanos| (at.0.saturating_mul(rate) / 1_000_000_000).saturating_add(1).min(total);
    let mut sent = 0;
    while sent < total {
        let until = due(net.now().since(begin));
        while sent < until {
            let (ip, payload) = make(sent);
            net.raw_send(ip, payload);
            sent += 1;
        }
        let next = Nanos(sent.saturating_mul(1_000_000_000).div_ceil(rate));
        let next = (begin + next).max(net.now() + BATCH);
        if sent < total {
            net.sleep_until(next, Wait::Attack).await;
        }
    }
    sent
}

fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: TcpFlags, seq: u32) -> (Ipv4Header, Vec<u8>) {
    let mut options = TcpOptions::default();
    if flags == TcpFlags::SYN {
        options.mss = Some(1_460);
    }
    let window = if flags == TcpFlags::SYN { 65_535 } else { 0 };
    let header = TcpHeader {
        src: from.port(),
        dst: to.port(),
        seq: Seq(seq),
        ack: Seq(0),
        flags,
        window,
        options,
        ..TcpHeader::default()
    };
    let mut payload = Vec::with_capacity(header.emit_len());
    header.emit(&mut payload);
    let ip = Ipv4Header::new(*from.ip(), *to.ip(), 6, 64, payload.len());
    (ip, payload)
}

fn begin(net: &Net, method: &str, target: String) -> ReqId {
    let req = net.new_req();
    let (method, kind, parent) = (method.to_owned(), ReqKind::Probe, ReqId(0));
    net.say(AppRecord::RequestBegin { req, parent, kind, method, target });
    req
}

fn end(net: &Net, req: ReqId, result: StepResult) -> StepResult {
    let note = result.summary.clone();
    net.say(AppRecord::RequestEnd { req, status: 0, ok: result.ok, body_bytes: 0, note });
    result
}
