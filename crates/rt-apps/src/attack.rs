//! What somebody does who builds packets by hand: a flood of SYNs, segments in another machine's name. They are real
//! packets, through this machine's own stack and cables, so that captures show what a victim would see.
//!
//! Not for: programs that behave. What is sent here belongs to no socket; answers to it are treated as any stray packet.
//! Simplified: a flood sends at an even pace, whole batches each millisecond when it is faster than that.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use rt_base::{AppRecord, Figure, Nanos, ReqId, ReqKind, Wait};
use rt_wire::{Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions};

use crate::dns::RecordType;
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

/// Guesses at a connection of two other machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spoof {
    /// RST or SYN.
    pub kind: SpoofKind,
    /// In whose name.
    pub from: SocketAddrV4,
    /// To whom.
    pub to: SocketAddrV4,
    /// The first sequence number that is tried.
    pub first: u32,
    /// From one guess to the next.
    pub stride: u32,
    /// How many guesses.
    pub count: u32,
    /// Guesses per second.
    pub rate: u64,
}

/// What a forged segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpoofKind {
    /// The connection is over.
    Rst,
    /// A connection begins.
    Syn,
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
    let (flags, name) = match spoof.kind {
        SpoofKind::Rst => (TcpFlags::RST, "RST"),
        SpoofKind::Syn => (TcpFlags::SYN, "SYN"),
    };
    let req = begin(&net, "spoof", format!("{name} {} → {}", spoof.from, spoof.to));
    let sent = paced(&net, u64::from(spoof.count), spoof.rate, |n| {
        let seq = spoof.first.wrapping_add(spoof.stride.wrapping_mul(n as u32));
        segment(spoof.from, spoof.to, flags, seq)
    });
    let sent = sent.await;
    let last = spoof.first.wrapping_add(spoof.stride.wrapping_mul(spoof.count.saturating_sub(1)));
    let seqs = if spoof.count > 1 { format!("{} to {last}", spoof.first) } else { last.to_string() };
    let forged = rt_base::count(sent, &format!("forged {name}"));
    let numbers = if spoof.count > 1 { "sequence numbers" } else { "sequence number" };
    let text = format!("{forged} in the name of {}, {numbers} {seqs}", spoof.from);
    end(&net, req, StepResult::ok(text).with_figures(vec![Figure::count("packets", sent)]))
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
