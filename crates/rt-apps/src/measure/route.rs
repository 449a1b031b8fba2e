//! The way to a target, router by router: traceroute (Van Jacobson's trick with the TTL).

use std::net::{IpAddr, SocketAddr};

use rt_base::{FigureUnit, Nanos, Wait};
use rt_stack::{Probe, ProbeAnswer, ProbeKind, ProbeVerdict, SocketError};

use super::{Report, ms};
use crate::net::Net;
use crate::step::StepResult;

/// The longest way that is looked for.
const MOST_HOPS: u8 = 30;
/// Probes to each hop.
const PROBES: usize = 3;
/// How long each is waited for.
const PATIENCE: Nanos = Nanos::from_secs(3);
/// IP length of a probe, as traceroute's.
const LENGTH: u16 = 60;
/// The first UDP port, as traceroute's: nobody listens there.
const FIRST_PORT: u16 = 33_434;

/// With which packets a route is traced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteOptions {
    /// Their kind.
    pub kind: ProbeKind,
    /// The port that SYNs go to (80 by default), or the first one for datagrams (33434).
    pub port: Option<u16>,
}

/// What came of one probe: who answered and when, or silence.
type Heard = Option<(ProbeAnswer, Nanos)>;

/// Finds the routers on the way to `target`.
pub async fn trace_route(net: Net, target: String, options: RouteOptions) -> StepResult {
    let mut report = Report::begin(&net, "traceroute", &target);
    let outcome = run(&net, &target, options, &mut report).await;
    report.end(outcome)
}

async fn run(net: &Net, target: &str, options: RouteOptions, report: &mut Report) -> Result<String, String> {
    let address = report.resolve(target).await?;
    let head = format!("traceroute to {target} ({address}), {MOST_HOPS} hops max, {LENGTH} byte packets");
    report.lines.push(head);
    let socket = net.probe(options.kind).map_err(|e| e.to_string())?;
    let mut sent: u16 = 0;
    let mut silent = 0;
    for ttl in 1..=MOST_HOPS {
        let mut heard: [Heard; PROBES] = [None; PROBES];
        for slot in &mut heard {
            sent += 1;
            let port = match (options.kind, options.port) {
                (ProbeKind::Udp, first) => first.unwrap_or(FIRST_PORT).wrapping_add(sent - 1).max(1),
                (_, port) => port.unwrap_or(80),
            };
            let to = SocketAddr::new(address, port);
            let (kind, own) = (options.kind, socket.own());
            let probe = Probe { kind, own, to, mark: sent, ttl, df: false, len: LENGTH };
            let begin = net.now();
            socket.send(probe).map_err(|e| format!("{target}: {e}"))?;
            let answer = net.timeout(PATIENCE, Wait::Timeout, socket.answer_to(probe)).await;
            *slot = answer.ok().map(|answer| (answer, net.now().since(begin)));
        }
        say(report, ttl, &heard);
        silent = if heard.iter().all(Option::is_none) { silent + 1 } else { 0 };
        if let Some(end) = verdict(address, ttl, &heard) {
            if end.is_ok() {
                report.figure("hops", u64::from(ttl), FigureUnit::Count);
            }
            return end;
        }
    }
    let last = match MOST_HOPS - silent {
        0 => "nobody answers at all".to_string(),
        after => format!("nobody behind hop {after} answers"),
    };
    Err(format!("{address} was not reached within {MOST_HOPS} hops; {last}"))
}

/// Whether this hop was the last one, and how it went.
fn verdict(address: IpAddr, ttl: u8, heard: &[Heard]) -> Option<Result<String, String>> {
    let hops = rt_base::count(u64::from(ttl), "hop");
    let all = heard.iter().flatten();
    let mut refusal = None;
    for (answer, time) in all {
        match answer.verdict {
            ProbeVerdict::Answered | ProbeVerdict::Closed => {
                return Some(Ok(format!("{address} reached after {hops}, {} ms", ms(*time))));
            }
            ProbeVerdict::Failed(SocketError::TtlExceeded) => {}
            ProbeVerdict::Failed(error) => refusal = Some((answer.from, error.say())),
            ProbeVerdict::TooBig { .. } => refusal = Some((answer.from, "the packet is too long")),
        }
    }
    refusal.map(|(from, why)| Err(format!("{address} cannot be reached: {from} says: {why}")))
}

/// One hop's line: an address before the first time of each answerer, `*` for silence.
fn say(report: &mut Report, ttl: u8, heard: &[Heard]) {
    let mut words: Vec<String> = Vec::new();
    let mut shown: Option<IpAddr> = None;
    let mut all: Vec<IpAddr> = Vec::new();
    for probe in heard {
        let Some((answer, time)) = probe else {
            words.push("*".into());
            continue;
        };
        if shown != Some(answer.from) {
            words.push(answer.from.to_string());
            shown = Some(answer.from);
            all.extend((!all.contains(&answer.from)).then_some(answer.from));
        }
        words.push(format!("{} ms{}", ms(*time), mark(answer.verdict)));
    }
    let times: Vec<String> =
        heard.iter().map(|p| p.map_or("*".to_string(), |(_, time)| time.0.to_string())).collect();
    let mut data = vec![("hop", ttl.to_string()), ("times_ns", times.join(","))];
    // More than one where probes take several ways.
    data.extend(all.into_iter().map(|address| ("address", address.to_string())));
    report.line("trace.hop", &format!("{ttl:>2}"), &words.join("  "), &data);
}

/// traceroute's letters for answers that are neither a router's nor the target's.
fn mark(verdict: ProbeVerdict) -> &'static str {
    match verdict {
        ProbeVerdict::Failed(SocketError::NetUnreachable) => " !N",
        ProbeVerdict::Failed(SocketError::HostUnreachable) => " !H",
        ProbeVerdict::Failed(SocketError::ProtocolUnreachable) => " !P",
        ProbeVerdict::Failed(SocketError::Prohibited) => " !X",
        ProbeVerdict::TooBig { .. } => " !F",
        _ => "",
    }
}
