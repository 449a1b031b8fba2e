//! A stream of sound or pictures: a frame every so often, each with a time to be played at, over UDP or TCP.
//!
//! The stream does not adapt: the same frames go out at the same times over both, which is what makes them comparable.

use std::io;
use std::net::SocketAddr;

use rt_base::{AppRecord, FigureUnit, Nanos, Time, Wait, count as counted};
use rt_stack::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::wire::{Hello, LONGEST_REPORT, Numbers, Piece};
use super::{Report, ms, rate};
use crate::net::Net;
use crate::step::StepResult;

/// Bytes of a datagram's payload at most, with the piece's own head.
const DATAGRAM: usize = 1_200;
/// How often the end is said until the report comes.
const ENDS: u32 = 10;
/// How long the report is waited for each time.
const PATIENCE: Nanos = Nanos::from_millis(250);

/// What is sent, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamOptions {
    /// The sink's port.
    pub port: u16,
    /// Over UDP, else over TCP.
    pub udp: bool,
    /// Payload bits per second.
    pub rate_bps: u64,
    /// How long.
    pub lasts: Nanos,
    /// From one frame to the next.
    pub frame: Nanos,
    /// A frame is played so long after it could have come at the earliest.
    pub playout: Nanos,
    /// Pins of the connection.
    pub connect: ConnectOptions,
}

impl StreamOptions {
    /// Frames, and the bytes of each.
    fn frames(&self) -> (u32, usize) {
        let count = self.lasts.0 / self.frame.0.max(1);
        let bytes = u128::from(self.rate_bps) * u128::from(self.frame.0) / 8_000_000_000;
        (u32::try_from(count).unwrap_or(u32::MAX), usize::try_from(bytes).unwrap_or_default().max(1))
    }
}

/// Sends a stream to a sink.
pub async fn stream(net: Net, target: String, options: StreamOptions) -> StepResult {
    let mut report = Report::begin(&net, "stream", &format!("{target}:{}", options.port));
    let outcome = run(&net, &target, options, &mut report).await;
    report.end(outcome)
}

async fn run(net: &Net, target: &str, options: StreamOptions, report: &mut Report) -> Result<String, String> {
    let remote = SocketAddr::new(report.resolve(target).await?, options.port);
    let (count, bytes) = options.frames();
    let over = if options.udp { "UDP" } else { "TCP" };
    let text = format!(
        "{} of {}, one every {}, to be played {} after it could have come; over {over}",
        counted(u64::from(count), "frame"),
        counted(bytes as u64, "byte"),
        options.frame,
        options.playout
    );
    report.line(
        "stream.plan",
        "plan",
        &text,
        &[("frames", count.to_string()), ("frame_bytes", bytes.to_string())],
    );
    let failed = |e: io::Error| format!("{remote}: {e}");
    let (numbers, again) = if options.udp {
        (over_udp(net, remote, options).await.map_err(failed)?, None)
    } else {
        let (numbers, again) = over_tcp(net, remote, options, report).await.map_err(failed)?;
        (numbers, Some(again))
    };
    say(report, &numbers, again);
    let n = |name| numbers.get(name);
    let lost = n("packets-sent").saturating_sub(n("packets")) * 1_000_000 / n("packets-sent").max(1);
    report.figure("datagrams-lost", lost, FigureUnit::Ppm);
    report.figure("jitter", n("jitter-ns"), FigureUnit::Nanos);
    for name in ["frames-lost", "frames-late", "stalls"] {
        report.figure(name, n(name), FigureUnit::Count);
    }
    report.figure("stalled", n("stalled-ns"), FigureUnit::Nanos);
    summary(&numbers, u64::from(count))
}

/// One line about the whole stream; an error when a player had nothing to play.
fn summary(numbers: &Numbers, count: u64) -> Result<String, String> {
    let n = |name| numbers.get(name);
    let all = counted(count, "frame");
    if n("packets") == 0 {
        return Err(format!("nothing arrived: all of {all} lost"));
    }
    if n("frames-lost") >= count {
        let came = counted(n("packets"), "packet");
        return Err(format!("no frame arrived whole, only {came} of them: nothing to play of {all}"));
    }
    let waits = match n("stalls") {
        0 => "would never stand still".to_string(),
        1 => format!("would stand still once, for {}", numbers.span("stalled-ns")),
        stalls => format!("would stand still {stalls} times, {} in all", numbers.span("stalled-ns")),
    };
    Ok(format!("{} of {all} lost, {} late; a player that waits {waits}", n("frames-lost"), n("frames-late")))
}

/// Every frame cut into datagrams at its time.
async fn over_udp(net: &Net, remote: SocketAddr, options: StreamOptions) -> io::Result<Numbers> {
    let socket = net.udp_bind(None, 0, None)?;
    let (count, bytes) = options.frames();
    let room = DATAGRAM - Piece::LEN;
    let parts = u8::try_from(bytes.div_ceil(room)).unwrap_or(u8::MAX);
    let begin = net.now();
    let mut packet = 0;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    for frame in 0..count {
        net.sleep_until(frame_time(begin, options, frame), Wait::Pace).await;
        for part in 0..parts {
            let (interval, playout, sent) = (options.frame, options.playout, net.now().since(begin));
            datagram.clear();
            Piece { end: false, part, parts, frame, packet, sent, interval, playout }.emit(&mut datagram);
            let rest = bytes - usize::from(part) * room;
            datagram.resize(Piece::LEN + rest.min(room), 0);
            socket.send_to(&datagram, remote)?;
            packet += 1;
        }
    }
    let (interval, playout) = (options.frame, options.playout);
    let sent = net.now().since(begin);
    let end = Piece { end: true, part: 0, parts: 0, frame: count, packet, sent, interval, playout };
    // The last frame may still be on its way.
    net.sleep(options.playout, Wait::Pace).await;
    for _ in 0..ENDS {
        datagram.clear();
        end.emit(&mut datagram);
        socket.send_to(&datagram, remote)?;
        if let Ok(answer) = net.timeout(PATIENCE, Wait::Timeout, socket.recv_from()).await
            && let Some(numbers) = Numbers::parse(&answer?.0)
        {
            return Ok(numbers);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the sink does not report"))
}

/// The same frames one after the other in a connection.
async fn over_tcp(
    net: &Net,
    remote: SocketAddr,
    options: StreamOptions,
    report: &Report,
) -> io::Result<(Numbers, u32)> {
    let connect = ConnectOptions { nodelay: true, ..options.connect };
    let mut stream = net.tcp_connect(remote, connect).await?;
    let (req, local, protocol) = (report.req, stream.local_addr(), "tcp".to_string());
    net.say(AppRecord::UsesConnection { req, local, remote, reused: false, protocol });
    let (interval, playout) = (options.frame, options.playout);
    stream.write_all(&Hello::Frames { interval, playout }.emit()).await?;
    let (count, bytes) = options.frames();
    let mut frame = u32::try_from(bytes).unwrap_or_default().to_be_bytes().to_vec();
    frame.resize(4 + bytes, 0);
    let begin = net.now();
    for number in 0..count {
        net.sleep_until(frame_time(begin, options, number), Wait::Pace).await;
        stream.write_all(&frame).await?;
    }
    stream.shutdown().await?;
    let mut answer = Vec::new();
    (&mut stream).take(LONGEST_REPORT as u64).read_to_end(&mut answer).await?;
    let again = net.tcp_info(&stream).map_or(0, |info| info.total_retrans);
    stream.closed().await;
    Ok((Numbers::parse(&answer).ok_or(io::ErrorKind::InvalidData)?, again))
}

fn frame_time(begin: Time, options: StreamOptions, frame: u32) -> Time {
    begin + Nanos(options.frame.0.saturating_mul(u64::from(frame)))
}

fn say(report: &mut Report, numbers: &Numbers, again: Option<u32>) {
    let n = |name| numbers.get(name);
    let data = |names: &[&'static str]| -> Vec<(&'static str, String)> {
        names.iter().map(|name| (*name, n(name).to_string())).collect()
    };
    let span = numbers.span("span-ns");
    let got = match n("packets") {
        0 => "nothing arrived".to_string(),
        // A single packet has no rate.
        1 => format!("{} arrived", super::size(n("bytes"))),
        _ => format!("{} arrived, {}", super::size(n("bytes")), rate(n("bytes"), span)),
    };
    let packets = match again {
        None => {
            let (sent, came) = (n("packets-sent"), n("packets"));
            let lost = sent.saturating_sub(came);
            let share = lost * 10_000 / sent.max(1);
            let jitter = ms(numbers.span("jitter-ns"));
            let all = counted(sent, "datagram");
            let lost = format!("{lost} of {all} lost ({}.{:02} %)", share / 100, share % 100);
            let rest = if came > 1 {
                format!(", {} overtaken, jitter {jitter} ms", n("overtaken"))
            } else {
                String::new()
            };
            format!("{got}; {lost}{rest}")
        }
        Some(again) => {
            format!("{got}; nothing lost for good, {} sent again", counted(u64::from(again), "segment"))
        }
    };
    let mut values = data(&["packets-sent", "packets", "bytes", "overtaken", "jitter-ns"]);
    values.extend(again.map(|again| ("retransmissions", again.to_string())));
    report.line("stream.packets", "network", &packets, &values);
    if n("frames-lost") >= n("frames") {
        return;
    }
    let late = match n("frames-late") {
        0 => "none late".to_string(),
        late => format!("{late} late (the worst by {} ms)", ms(numbers.span("worst-ns"))),
    };
    let gaps = if n("frames-lost") + n("frames-late") > 0 { ": gaps in the sound" } else { ": no gap" };
    let skip = format!("{} lost, {late}{gaps}", counted(n("frames-lost"), "frame"));
    report.line(
        "stream.skip",
        "a player that skips",
        &skip,
        &data(&["frames-lost", "frames-late", "worst-ns"]),
    );
    let wait = match n("stalls") {
        0 => "never stands still".to_string(),
        stalls => format!("{}, {} ms in all", counted(stalls, "stall"), ms(numbers.span("stalled-ns"))),
    };
    report.line("stream.wait", "one that waits", &wait, &data(&["stalls", "stalled-ns"]));
}

#[cfg(test)]
mod tests {
    use super::{Numbers, summary};

    fn numbers(all: &[(&'static str, u64)]) -> Numbers {
        let mut numbers = Numbers::default();
        for (name, value) in all {
            numbers.set(name, *value);
        }
        numbers
    }

    #[test]
    fn a_stream_of_which_nothing_arrives_has_no_player() {
        let none = numbers(&[("frames-lost", 500)]);
        assert_eq!(summary(&none, 500), Err("nothing arrived: all of 500 frames lost".into()));
        let parts = numbers(&[("frames-lost", 5), ("packets", 1)]);
        let said = "no frame arrived whole, only 1 packet of them: nothing to play of 5 frames";
        assert_eq!(summary(&parts, 5), Err(said.into()));
    }

    #[test]
    fn once_is_not_one_times() {
        let one = numbers(&[("packets", 9), ("frames-late", 1), ("stalls", 1), ("stalled-ns", 3_000_000)]);
        let said = "0 of 9 frames lost, 1 late; a player that waits would stand still once, for 3.000 ms";
        assert_eq!(summary(&one, 9), Ok(said.into()));
        let never = numbers(&[("packets", 9)]);
        assert!(summary(&never, 9).unwrap().ends_with("a player that waits would never stand still"));
    }
}
