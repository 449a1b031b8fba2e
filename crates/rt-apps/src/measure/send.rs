//! As many bytes as TCP lets through, over one connection or several: iperf's task.
//!
//! Goodput is the bytes divided by the time from the first byte handed to an open connection to the last byte read by the
//! sink: the handshake does not count, the way of the first segment does. It is never above the speed of the path. Sender
//! and sink share the simulation's clock; two real machines could not measure it like that.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;

use rt_base::{AppRecord, FigureUnit, Nanos, Time, Wait, count as counted};
use rt_stack::{ConnectOptions, tcp::Info};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::wire::{Hello, LONGEST_REPORT, Numbers};
use super::{Report, bits_per_second, rate, size};
use crate::TcpStream;
use crate::net::Net;
use crate::step::StepResult;

/// Bytes written at a time.
const WRITE: usize = 65_536;
/// Reports at intervals, at most.
const MOST_LOOKS: usize = 2_000;

/// What is sent, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendOptions {
    /// The sink's port.
    pub port: u16,
    /// Bytes over all connections.
    pub bytes: u64,
    /// Connections at a time.
    pub connections: u32,
    /// How often the sender's state is looked at.
    pub every: Option<Nanos>,
    /// Pins of the first connection.
    pub connect: ConnectOptions,
}

/// What came of one connection.
struct Done {
    /// When the first byte was handed to the connection.
    begin: Time,
    sink: Numbers,
    info: Option<Info>,
    looks: Vec<Look>,
}

/// The sender's state at one moment.
struct Look {
    at: Nanos,
    acked: u64,
    info: Info,
}

/// Sends bytes to a sink.
pub async fn send(net: Net, target: String, options: SendOptions) -> StepResult {
    let mut report = Report::begin(&net, "send", &format!("{target}:{}", options.port));
    let outcome = run(&net, &target, options, &mut report).await;
    report.end(outcome)
}

async fn run(net: &Net, target: &str, options: SendOptions, report: &mut Report) -> Result<String, String> {
    let remote = SocketAddr::new(report.resolve(target).await?, options.port);
    let (begin, count) = (net.now(), u64::from(options.connections.max(1)));
    let mut flows = Vec::new();
    for index in 0..count {
        let share = options.bytes / count + u64::from(index < options.bytes % count);
        let (net, req) = (net.clone(), report.req);
        let connect = if index == 0 { options.connect } else { ConnectOptions::default() };
        let every = options.every;
        flows.push(net.clone().spawn(async move {
            let stream = net.tcp_connect(remote, connect).await?;
            let (local, protocol) = (stream.local_addr(), "tcp".to_string());
            net.say(AppRecord::UsesConnection { req, local, remote, reused: false, protocol });
            flow(&net, stream, share, every).await
        }));
    }
    let (mut bytes, mut again) = (0, 0);
    let (mut first, mut last) = (Time::MAX, Time::ZERO);
    for (index, one) in flows.into_iter().enumerate() {
        let done = one.await.map_err(|e| format!("{remote}: {e}"))?;
        say_looks(report, &done.looks);
        let (got, end) = (done.sink.get("bytes"), Time(done.sink.get("last-ns")));
        let span = end.since(done.begin);
        again += done.info.map_or(0, |i| i.total_retrans);
        bytes += got;
        (first, last) = (first.min(done.begin), last.max(end));
        let label = if count == 1 { "connection".to_string() } else { format!("connection {}", index + 1) };
        say_flow(report, &label, &done, (got, span));
    }
    // From the first byte written to any connection to the last that was read from any.
    let span = last.since(first);
    let goodput = bits_per_second(bytes, span);
    report.figure("goodput", goodput, FigureUnit::BitsPerSecond);
    let all = format!("{} in {span}: {}", size(bytes), rate(bytes, span));
    if count > 1 {
        let text = format!("{all} (from the beginning of the first connection to the end of the last)");
        let data = [
            ("bytes", bytes.to_string()),
            ("bits_per_s", goodput.to_string()),
            ("span_ns", span.0.to_string()),
        ];
        report.line("send.all", "all", &text, &data);
    }
    if bytes < options.bytes {
        return Err(format!("only {} of {} arrived", size(bytes), size(options.bytes)));
    }
    let segments = counted(u64::from(again), "segment");
    Ok(format!("{all}, {segments} sent again, {} from the first SYN", net.now().since(begin)))
}

async fn flow(net: &Net, mut stream: TcpStream, bytes: u64, every: Option<Nanos>) -> std::io::Result<Done> {
    let (begin, id, mut looks) = (net.now(), stream.id(), Vec::new());
    let answer = {
        let mut transfer = pin!(transfer(&mut stream, bytes));
        let mut watcher = every.map(|every| Box::pin(watch(net, id, (begin, every), &mut looks)));
        // The watcher only looks on: it ends with the transfer, whatever it waits for.
        poll_fn(|cx| {
            let outcome = transfer.as_mut().poll(cx);
            let over = outcome.is_ready()
                || watcher.as_mut().is_some_and(|watcher| watcher.as_mut().poll(cx).is_ready());
            if over {
                watcher = None;
            }
            outcome
        })
        .await?
    };
    let info = net.tcp_info(&stream);
    let sink = Numbers::parse(&answer).ok_or(std::io::ErrorKind::InvalidData)?;
    stream.closed().await;
    Ok(Done { begin, sink, info, looks })
}

/// Sends all the bytes and the FIN; gives what the sink answers.
async fn transfer(stream: &mut TcpStream, bytes: u64) -> std::io::Result<Vec<u8>> {
    stream.write_all(&Hello::Bulk.emit()).await?;
    let zeros = vec![0; WRITE];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(WRITE as u64) as usize;
        let written = stream.write(&zeros[..part]).await?;
        left -= written as u64;
    }
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_REPORT as u64).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Looks at a connection at regular times, as long as there is one.
async fn watch(net: &Net, id: crate::SocketId, (begin, every): (Time, Nanos), looks: &mut Vec<Look>) {
    let mut at = begin + every;
    while looks.len() < MOST_LOOKS {
        net.sleep_until(at, Wait::Housekeeping).await;
        let Some(info) = net.tcp_info_of(id) else { break };
        looks.push(Look { at: at.since(begin), acked: info.bytes_acked, info });
        at += every;
    }
}

fn say_looks(report: &mut Report, looks: &[Look]) {
    let mut before = (Nanos::ZERO, 0);
    for look in looks {
        let fresh = look.acked.saturating_sub(before.1);
        let i = &look.info;
        let (flight, cwnd) = (i.unacked_segments, i.cwnd_segments);
        let text = format!(
            "{} acknowledged, window {}, {flight} in flight, round trip {}, {} sent again",
            size(fresh),
            counted(u64::from(cwnd), "segment"),
            super::ms(i.srtt) + " ms",
            i.total_retrans
        );
        let label = format!("{} to {} s", seconds(before.0), seconds(look.at));
        let data = [
            ("until_ns", look.at.0.to_string()),
            ("acked_bytes", fresh.to_string()),
            ("cwnd_segments", cwnd.to_string()),
            ("in_flight_segments", flight.to_string()),
            ("srtt_ns", i.srtt.0.to_string()),
            ("retransmissions", i.total_retrans.to_string()),
        ];
        report.line("send.look", &label, &text, &data);
        before = (look.at, look.acked);
    }
}

fn seconds(span: Nanos) -> String {
    format!("{}.{:02}", span.0 / 1_000_000_000, span.0 % 1_000_000_000 / 10_000_000)
}

fn say_flow(report: &mut Report, label: &str, done: &Done, (got, span): (u64, Nanos)) {
    let mut text = format!("{} in {span}: {}", size(got), rate(got, span));
    let mut data = vec![
        ("bytes", got.to_string()),
        ("span_ns", span.0.to_string()),
        ("bits_per_s", bits_per_second(got, span).to_string()),
    ];
    if let Some(i) = done.info {
        text.push_str(&format!(
            " · {} sent again · window at the end {} ({}) · round trip {} ms",
            i.total_retrans,
            counted(u64::from(i.cwnd_segments), "segment"),
            size(u64::from(i.cwnd)),
            super::ms(i.srtt)
        ));
        data.push(("retransmissions", i.total_retrans.to_string()));
        data.push(("cwnd_segments", i.cwnd_segments.to_string()));
        data.push(("cwnd_bytes", i.cwnd.to_string()));
        data.push(("srtt_ns", i.srtt.0.to_string()));
    }
    report.line("send.flow", label, &text, &data);
}
