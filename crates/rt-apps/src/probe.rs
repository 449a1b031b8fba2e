//! What a person types to see whether something is there: ping, a name look-up, a TCP connection.
//!
//! Each is the work of one step. The lines are those that the well-known tools print (`ping`, `dig +short`, `nc -vz`).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rt_base::{AppRecord, Nanos, ReqId, ReqKind, Time, Wait};
use rt_stack::{ConnectOptions, EchoAnswer, SocketError};

use crate::dns::{LookupError, Record, RecordType};
use crate::net::Net;
use crate::step::StepResult;

/// From one ping to the next.
const PING_INTERVAL: Nanos = Nanos::from_secs(1);

/// How long the last ping is waited for.
const PING_PATIENCE: Nanos = Nanos::from_secs(4);

/// Data bytes of a ping, as on Linux: 64 with the ICMP header, 84 with the IP header.
const PING_DATA: usize = 56;

/// Give up on a connection after this long. (TCP itself would try for more than two minutes.)
const CONNECT_PATIENCE: Nanos = Nanos::from_secs(30);

/// An answer to a datagram is waited for this long.
const DATAGRAM_PATIENCE: Nanos = Nanos::from_secs(5);

/// What a probe says that nothing came back to.
const SILENCE: &str = "no answer";

/// Pings `target` (a name or an address) `count` times, once a second.
pub async fn ping(net: Net, target: String, count: u32) -> StepResult {
    let req = begin(&net, "ping", &target);
    let result = run_ping(&net, &target, count, req).await;
    end(&net, req, &result);
    result
}

/// Pings sent and answers seen so far.
#[derive(Default)]
struct Tally {
    lines: Vec<String>,
    times: Vec<Nanos>,
    sent: Vec<Time>,
    errors: u32,
    unsent: u32,
    trouble: Option<String>,
    /// Sequence numbers that were answered: a second answer is a duplicate, not another answer.
    answered: BTreeSet<u16>,
    duplicates: u32,
}

async fn run_ping(net: &Net, target: &str, count: u32, req: ReqId) -> StepResult {
    let address = match resolve(net, target, req).await {
        Ok(address) => address,
        Err(error) => return StepResult::failed(error.to_string()),
    };
    // Sequence numbers have 16 bits; a step that wants more pings than that gets no more.
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    let id = (net.rng(&format!("ping.{}", req.0)).next_u32() >> 16) as u16;
    let data: Vec<u8> = (0..PING_DATA).map(|at| at as u8).collect();
    let mut tally = Tally::default();
    tally.lines.push(format!("PING {target} ({address}) {PING_DATA}({}) bytes of data.", PING_DATA + 28));
    let begin = net.now();
    for seq in 1..=count {
        tally.sent.push(net.now());
        if let Err(error) = net.echo(address, id, seq, &data) {
            tally.lines.push(format!("ping: sendmsg: {error}"));
            tally.trouble = Some(error.to_string());
            tally.unsent += 1;
        }
        let last = seq == count;
        let (patience, wait) =
            if last { (PING_PATIENCE, Wait::Timeout) } else { (PING_INTERVAL, Wait::Person) };
        let listening = async {
            // Until the next ping is due; after the last one, until there is nothing more to wait for.
            while !last || tally.waits() {
                let answer = net.echo_answer(id).await;
                tally.hear(net.now(), &answer);
            }
        };
        let _ = net.timeout(patience, wait, listening).await;
    }
    summarise(tally, target, net.now().since(begin))
}

impl Tally {
    /// Whether a ping is still without an answer.
    fn waits(&self) -> bool {
        self.sent.len() > self.times.len() + (self.errors + self.unsent) as usize
    }

    fn hear(&mut self, now: Time, answer: &EchoAnswer) {
        let EchoAnswer { from, seq, ttl, payload, error, .. } = answer;
        if let Some(error) = error {
            self.lines.push(format!("From {from} icmp_seq={seq} {}", complaint(*error)));
            self.trouble = Some(format!("{from} says: {error}"));
            self.errors += 1;
            return;
        }
        let Some(&sent) = self.sent.get(usize::from(*seq).wrapping_sub(1)) else { return };
        let time = now.since(sent);
        let (bytes, shown) = (payload.len() + 8, millis(time));
        let again = !self.answered.insert(*seq);
        let mark = if again { " (DUP!)" } else { "" };
        self.lines.push(format!("{bytes} bytes from {from}: icmp_seq={seq} ttl={ttl} time={shown} ms{mark}"));
        if again {
            self.duplicates += 1;
        } else {
            self.times.push(time);
        }
    }
}

/// An ICMP error in ping's words.
fn complaint(error: SocketError) -> &'static str {
    match error {
        SocketError::NetUnreachable => "Destination Net Unreachable",
        SocketError::HostUnreachable => "Destination Host Unreachable",
        SocketError::ProtocolUnreachable => "Destination Protocol Unreachable",
        SocketError::Refused => "Destination Port Unreachable",
        SocketError::Prohibited => "Packet filtered",
        SocketError::TtlExceeded => "Time to live exceeded",
        other => other.say(),
    }
}

/// As `ping` prints it: three digits behind the point below 1 ms, two below 10, one below 100, none above.
fn millis(time: Nanos) -> String {
    let ms = Duration::from_nanos(time.0).as_secs_f64() * 1e3;
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}"),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn summarise(mut tally: Tally, target: &str, took: Nanos) -> StepResult {
    let (sent, got) = (tally.sent.len() as u32, tally.times.len() as u32);
    let loss = u64::from(sent.saturating_sub(got)) * 100 / u64::from(sent.max(1));
    tally.lines.push(String::new());
    tally.lines.push(format!("--- {target} ping statistics ---"));
    let errors = if tally.errors > 0 { format!("+{} errors, ", tally.errors) } else { String::new() };
    let duplicates =
        if tally.duplicates > 0 { format!("+{} duplicates, ", tally.duplicates) } else { String::new() };
    let took = took.as_millis();
    tally.lines.push(format!(
        "{sent} packets transmitted, {got} received, {duplicates}{errors}{loss}% packet loss, time {took}ms"
    ));
    let counted = format!("{got} of {sent} answered");
    if got == 0 {
        let why = tally.trouble.unwrap_or_else(|| "no answer".into());
        return StepResult::failed(format!("{counted}: {why}")).with_lines(tally.lines);
    }
    let mean = tally.times.iter().map(|t| t.0).sum::<u64>() / u64::from(got);
    let variance =
        tally.times.iter().map(|t| u128::from(t.0.abs_diff(mean)).pow(2)).sum::<u128>() / u128::from(got);
    let (least, most) = (tally.times.iter().min(), tally.times.iter().max());
    let ms = |n: u64| format!("{}.{:03}", n / 1_000_000, n / 1_000 % 1_000);
    let (least, most) = (least.map_or(0, |t| t.0), most.map_or(0, |t| t.0));
    let deviation = ms(variance.isqrt() as u64);
    tally.lines.push(format!(
        "rtt min/avg/max/mdev = {}/{}/{}/{deviation} ms",
        ms(least),
        ms(mean),
        ms(most)
    ));
    StepResult::ok(format!("{counted}, {} ms on average", ms(mean))).with_lines(tally.lines)
}

/// Resolves a name; `rtype` is `A`, `MX` and so on.
pub async fn lookup(net: Net, name: String, rtype: String) -> StepResult {
    let Ok(rtype) = rtype.to_uppercase().parse::<RecordType>() else {
        return StepResult::failed(format!("{rtype}: no such record type"));
    };
    match net.lookup(&name, rtype, ReqId(0)).await {
        Ok(answer) => {
            let lines: Vec<String> = if answer.records.is_empty() {
                answer.addresses.iter().map(ToString::to_string).collect()
            } else {
                answer.records.iter().map(ToString::to_string).collect()
            };
            let wanted = answer.records.iter().filter(|r| r.rtype() == rtype);
            let mut data: Vec<String> = wanted.map(Record::shown).collect();
            if data.is_empty() {
                data = answer.addresses.iter().map(ToString::to_string).collect();
            }
            StepResult::ok(format!("{name} {rtype}: {}", data.join(", "))).with_lines(lines)
        }
        Err(error) => StepResult::failed(error.to_string()),
    }
}

/// Connects to a TCP port and closes: can it be reached? `options` may pin the source port or the first sequence number.
pub async fn tcp_probe(net: Net, target: String, port: u16, options: ConnectOptions) -> StepResult {
    let req = begin(&net, "connect", &format!("{target}:{port}"));
    let result = run_probe(&net, &target, port, options, req).await;
    end(&net, req, &result);
    result
}

async fn run_probe(net: &Net, target: &str, port: u16, options: ConnectOptions, req: ReqId) -> StepResult {
    let address = match resolve(net, target, req).await {
        Ok(address) => address,
        Err(error) => return StepResult::failed(error.to_string()),
    };
    let remote = SocketAddr::new(address, port);
    let begin = net.now();
    match net.timeout(CONNECT_PATIENCE, Wait::Timeout, net.tcp_connect(remote, options)).await {
        Ok(Ok(mut stream)) => {
            let took = net.now().since(begin);
            let local = stream.local_addr();
            let protocol = "tcp".into();
            net.say(AppRecord::UsesConnection { req, local, remote, reused: false, protocol });
            farewell(net, &mut stream).await;
            StepResult::ok(format!("{remote} is open ({} ms)", millis(took)))
        }
        Ok(Err(error)) => StepResult::failed(probe_words(remote, &error)),
        Err(_) => StepResult::failed(format!("{remote}: {SILENCE} within {CONNECT_PATIENCE}")),
    }
}

/// Sends one datagram and waits whether anything comes of it. Silence counts as failure here,
/// although a program may take a datagram without a word: who sees the other end knows better.
pub async fn udp_probe(net: Net, target: String, port: u16) -> StepResult {
    let req = begin(&net, "datagram", &format!("{target}:{port}"));
    let result = run_udp_probe(&net, &target, port, req).await;
    end(&net, req, &result);
    result
}

async fn run_udp_probe(net: &Net, target: &str, port: u16, req: ReqId) -> StepResult {
    let address = match resolve(net, target, req).await {
        Ok(address) => address,
        Err(error) => return StepResult::failed(error.to_string()),
    };
    let remote = SocketAddr::new(address, port);
    let begin = net.now();
    let socket = match net.udp_bind(None, 0, None) {
        Ok(socket) => socket,
        Err(error) => return StepResult::failed(format!("{remote}: {error}")),
    };
    if let Err(error) = socket.send_to(b"is anybody there?", remote) {
        return StepResult::failed(probe_words(remote, &error));
    }
    match net.timeout(DATAGRAM_PATIENCE, Wait::Timeout, socket.recv_from()).await {
        Ok(Ok(_)) => StepResult::ok(format!("{remote} answered ({} ms)", millis(net.now().since(begin)))),
        Ok(Err(error)) => StepResult::failed(probe_words(remote, &error)),
        Err(_) => StepResult::failed(format!("{remote}: {SILENCE} within {DATAGRAM_PATIENCE}")),
    }
}

/// FIN both ways, if the other side plays along within a second.
async fn farewell(net: &Net, stream: &mut crate::TcpStream) {
    use tokio::io::AsyncWriteExt;
    if stream.shutdown().await.is_ok() {
        let _ = net.timeout(Nanos::from_secs(1), Wait::Housekeeping, stream.closed()).await;
    }
}

fn probe_words(remote: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{remote} is closed (connection refused)"),
        _ => format!("{remote}: {error}"),
    }
}

async fn resolve(net: &Net, target: &str, parent: ReqId) -> Result<IpAddr, LookupError> {
    let answer = net.lookup(target, RecordType::A, parent).await?;
    answer.addresses.first().copied().ok_or_else(|| LookupError::NoData(target.into(), RecordType::A))
}

fn begin(net: &Net, method: &str, target: &str) -> ReqId {
    let req = net.new_req();
    let (method, target) = (method.to_string(), target.to_string());
    net.say(AppRecord::RequestBegin { req, parent: ReqId(0), kind: ReqKind::Probe, method, target });
    req
}

fn end(net: &Net, req: ReqId, result: &StepResult) {
    let note = result.summary.clone();
    net.say(AppRecord::RequestEnd { req, status: 0, ok: result.ok, body_bytes: 0, note });
}

#[cfg(test)]
mod tests {
    use rt_base::{Nanos, Time};

    use super::{Tally, millis, summarise};

    #[test]
    fn numbers_look_like_pings() {
        let cases = [(123_456, "0.123"), (9_500_000, "9.50"), (24_020_000, "24.0"), (241_306_000, "241")];
        for (nanos, text) in cases {
            assert_eq!(millis(Nanos(nanos)), text);
        }
        let tally = Tally {
            sent: vec![Time::ZERO; 3],
            times: vec![Nanos(1_000_000), Nanos(3_000_000)],
            ..Tally::default()
        };
        let result = summarise(tally, "b", Nanos::from_millis(2003));
        assert_eq!(result.summary, "2 of 3 answered, 2.000 ms on average");
        assert_eq!(result.lines[2], "3 packets transmitted, 2 received, 33% packet loss, time 2003ms");
        assert_eq!(result.lines[3], "rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms");
    }
}
