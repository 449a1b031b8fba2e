//! A packet script: one line per event, as in packetdrill but with whole sequence numbers, run against one connection
//! in virtual time.
//!
//! ```text
//! config sack=off mss=1000            what differs from the usual set-up (see `Setup::apply`)
//! 0      connect                      a call of the application: connect, listen, write N, read N, shutdown, close, abort
//! +0     > S 100:100(0) win 64240 <mss 1460>    what must leave now, exactly now
//! 0.1    < S. 300:300(0) ack 101 win 65535      what arrives
//! +0.2   > . 101:1101(1000) ack 301 why rto-retransmit
//! +0     is established               state, or: cwnd N, error Refused, readable N, finished
//! ```
//!
//! Times are seconds, `+` is relative to the line before. Our ISN is 100, the peer's is 300 as a rule. `win`, options and
//! `why` are compared when they are given. A segment that no line expects fails the script, also at its end.

use std::sync::Arc;

use rt_base::{ConnId, EventId, TcpPhase, Time};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use crate::tcp::{
    CongestionKind, Connection, Cx, Ecn, HystartKind, IcmpError, KeepaliveConfig, ListenOutcome, OpenParams,
    Outcome, Read, Segment, SocketOptions, TcpConfig, on_listen,
};

/// Runs a script; panics with the line that failed.
#[track_caller]
pub(super) fn check(script: &str) {
    let mut run = Run::default();
    for (number, line) in script.lines().enumerate() {
        let line = line.split("//").next().unwrap_or("").trim();
        if !line.is_empty()
            && let Err(why) = run.line(line)
        {
            panic!("line {}: {line}\n  {why}\n  at {}", number + 1, run.now);
        }
    }
    assert!(run.out.is_empty(), "nobody expected: {}", run.out.iter().map(show).collect::<String>());
}

struct Run {
    config: TcpConfig,
    mss: u16,
    isn: u32,
    conn: Option<Connection>,
    now: Time,
    out: Vec<Segment>,
    written: u64,
    read: u64,
    last: Option<Outcome>,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            config: TcpConfig {
                timestamps: false,
                window_scaling: false,
                push_bursts: false,
                ..TcpConfig::default()
            },
            mss: 1000,
            isn: 100,
            conn: None,
            now: Time::ZERO,
            out: Vec::new(),
            written: 0,
            read: 0,
            last: None,
        }
    }
}

type Step = Result<(), String>;

impl Run {
    fn line(&mut self, line: &str) -> Step {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match first {
            "config" => return self.configure(rest),
            // A client after a handshake of 100 ms, quiet.
            "established" => return self.macro_lines(&ESTABLISHED),
            "accepted" => return self.macro_lines(&ACCEPTED),
            _ => {}
        }
        let (relative, digits) = match first.strip_prefix('+') {
            Some(digits) => (true, digits),
            None => (false, first),
        };
        let nanos = (digits.parse::<f64>().map_err(|e| format!("time: {e}"))? * 1e9).round() as u64;
        let at = Time(if relative { self.now.0 + nanos } else { nanos });
        self.advance(at, rest.trim().starts_with('>'))?;
        let (verb, rest) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        match verb {
            "<" => self.inject(rest),
            ">" => self.expect(rest),
            "is" => self.is(rest),
            call => self.call(call, rest),
        }
    }

    fn macro_lines(&mut self, lines: &[&str]) -> Step {
        lines.iter().try_for_each(|l| self.line(l).map_err(|e| format!("{l}: {e}")))
    }

    /// Lets time pass up to `at`, serving timers; when something is expected only what is due exactly at `at` may come.
    fn advance(&mut self, at: Time, expecting: bool) -> Step {
        if at < self.now {
            return Err(format!("time goes back from {}", self.now));
        }
        loop {
            if let Some(early) = self.out.first().filter(|_| self.now < at) {
                return Err(format!("unexpected at {}: {}", self.now, show(early)));
            }
            let Some(conn) = &mut self.conn else { break };
            let due = conn.deadline();
            // A call at the time of a timer goes first, a segment expected then needs the timer.
            if due > at || (due == at && !expecting) || (due == at && !self.out.is_empty()) {
                break;
            }
            self.now = self.now.max(due);
            let timer = conn.due(self.now).ok_or("a deadline without a timer")?;
            conn.on_timer(Cx::quiet(self.now), timer.kind);
            self.drain();
        }
        self.now = at;
        Ok(())
    }

    fn drain(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        while let Some(segment) = conn.next_segment(Cx::quiet(self.now)) {
            let text = conn.payload(&segment).collect::<Vec<_>>().concat();
            assert_eq!(text.len(), segment.len as usize, "payload of {}", show(&segment));
            for (i, &byte) in text.iter().enumerate() {
                assert_eq!(byte, pattern(segment.offset + i as u64), "content of {}", show(&segment));
            }
            self.out.push(segment);
            assert!(self.out.len() < 10_000, "segments without end");
        }
        conn.snd.flight.check();
    }

    fn configure(&mut self, rest: &str) -> Step {
        for word in rest.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or("key=value")?;
            let on = value == "on";
            let number = value.parse::<u32>().unwrap_or(0);
            let millis = rt_base::Nanos::from_millis(u64::from(number));
            match key {
                "personality" => {
                    let system = match value {
                        "freebsd" => TcpConfig::freebsd(),
                        "macos" => TcpConfig::macos(),
                        _ => TcpConfig::linux(),
                    };
                    self.config = TcpConfig { timestamps: false, window_scaling: false, ..system };
                }
                "user-timeout" => self.config.user_timeout = millis,
                "rfc1337" => self.config.time_wait_ignores_reset = on,
                "window-clamp" => self.config.window_clamp = Some(number),
                "rcvbuf" => self.config.recv_buffer_fixed = Some(number),
                "insecure-rst" => self.config.insecure.rst = on,
                "insecure-syn" => self.config.insecure.syn = on,
                "insecure-ack" => self.config.insecure.ack = on,
                "ts" => self.config.timestamps = on,
                "ws" => self.config.window_scaling = on,
                "push" => self.config.push_bursts = on,
                "pacing" => self.config.pacing = on,
                "hystart" => self.config.hystart = HystartKind::Classic,
                "tlp" => self.config.tail_probe = on,
                "rack" => self.config.rack = on,
                "frto" => self.config.frto = on,
                "idle-restart" => self.config.slow_start_after_idle = on,
                "sack" => self.config.sack = on,
                "nodelay" => self.config.nodelay = on,
                "mss" => self.mss = number as u16,
                "isn" => self.isn = number,
                "cc" if value == "reno" => self.config.congestion = CongestionKind::Reno,
                "iw" => self.config.initial_cwnd = number,
                "quick" => self.config.quickack_segments = number as u8,
                "recv" => self.config.recv_buffer = number,
                "window" => self.config.initial_window = number,
                "retries" => self.config.data_retries = number as u8,
                "syn-retries" => self.config.syn_retries = number as u8,
                "synack-retries" => self.config.synack_retries = number as u8,
                "fin-wait2" => self.config.fin_wait2 = millis,
                "time-wait" => self.config.time_wait = millis,
                "keepalive" => {
                    self.config.keepalive = Some(KeepaliveConfig {
                        idle: millis,
                        interval: rt_base::Nanos::from_secs(1),
                        count: 2,
                    });
                }
                _ => return Err(format!("no such option {key}")),
            }
        }
        Ok(())
    }

    fn open(&self) -> OpenParams {
        OpenParams {
            conn: ConnId(1),
            isn: Seq(self.isn),
            mss: self.mss,
            ts_offset: 0,
            nodelay: false,
            path_mtu: None,
        }
    }

    fn inject(&mut self, text: &str) -> Step {
        let (ecn, text) = match text.trim().strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or("[ecn]")?,
            None => ("noecn", text),
        };
        let ecn = ECN.iter().find(|e| e.1 == ecn).map(|e| e.0).ok_or("no such codepoint")?;
        let (header, len) = parse(text)?;
        let payload: Vec<u8> =
            (0..len).map(|i| pattern(u64::from((header.seq + i) - Seq(PEER_FIRST)))).collect();
        let cx = Cx::quiet(self.now);
        match &mut self.conn {
            Some(conn) => self.last = Some(conn.on_segment(cx, &header, &payload, ecn)),
            None => match on_listen(&header, len) {
                ListenOutcome::Open => {
                    let config = Arc::new(self.config.clone());
                    self.conn = Some(Connection::accept(cx, &config, &self.open(), &header));
                }
                ListenOutcome::SendReset(h) => self.out.push(bare(h)),
                ListenOutcome::Ignore => {}
            },
        }
        self.drain();
        Ok(())
    }

    fn expect(&mut self, text: &str) -> Step {
        if self.out.is_empty() {
            return Err("nothing was sent".into());
        }
        let segment = self.out.remove(0);
        let (actual, expected) = (show(&segment), normalise(text));
        let actual: Vec<&str> = words(&actual);
        let missing = words(&expected).into_iter().find(|w| !actual.contains(w));
        match missing {
            Some(word) => Err(format!("expected {word}\n  sent {}", show(&segment))),
            None => Ok(()),
        }
    }

    fn call(&mut self, verb: &str, rest: &str) -> Step {
        let cx = Cx::quiet(self.now);
        if verb == "connect" {
            let config = Arc::new(self.config.clone());
            self.conn = Some(Connection::connect(cx, &config, &self.open()));
        }
        let number = rest.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        let written = self.written;
        if verb == "listen" {
            return Ok(());
        }
        let conn = self.conn.as_mut().ok_or("no connection")?;
        match verb {
            "connect" => {}
            "write" => {
                let bytes: Vec<u8> = (0..number).map(|i| pattern(written + i)).collect();
                let n = conn.write(cx, &bytes).map_err(|e| format!("{e:?}"))?;
                self.written += n as u64;
                let want = rest.split_once("= ").map_or(number, |w| w.1.trim().parse().unwrap_or(0));
                same(n as u64, want)?;
            }
            "read" => {
                let mut buf = vec![0; number as usize];
                let result = format!("{:?}", conn.read(cx, &mut buf).map(|r| self.read_checked(r, &buf)));
                let want = rest.split_once("= ").map_or(format!("Ok(Data({number}))"), |w| w.1.trim().into());
                same(result, want)?;
            }
            "shutdown" => conn.shutdown(cx),
            "close" => conn.close(cx),
            "abort" => conn.abort(cx),
            "nodelay" => conn.set_nodelay(true),
            "congestion" => {
                let congestion = Some(if rest == "bbr" { CongestionKind::Bbr } else { CongestionKind::Reno });
                let options = SocketOptions { congestion, ..SocketOptions::default() };
                conn.set_options(cx, &Arc::new(self.config.clone()), options);
            }
            // As if the handshake had agreed on it.
            "ecn" => conn.ecn.ok = true,
            "icmp" => {
                let (kind, seq) = rest.split_once(" seq ").ok_or("icmp KIND seq N")?;
                let seq = Seq(seq.trim().parse().map_err(|e| format!("{e}"))?);
                let error = match kind {
                    "host" => IcmpError::HostUnreachable,
                    "port" => IcmpError::Refused,
                    mtu => IcmpError::TooBig { mtu: mtu.parse().map_err(|e| format!("{e}"))? },
                };
                conn.on_icmp(cx, seq, error);
            }
            _ => return Err(format!("no such call {verb}")),
        }
        self.drain();
        Ok(())
    }

    fn read_checked(&mut self, result: Read, buf: &[u8]) -> Read {
        if let Read::Data(n) = result {
            assert!(buf[..n].iter().enumerate().all(|(i, b)| *b == pattern(self.read + i as u64)));
            self.read += n as u64;
        }
        result
    }

    fn is(&mut self, rest: &str) -> Step {
        let conn = self.conn.as_ref().ok_or("no connection")?;
        let (what, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = value.parse::<u64>().unwrap_or(0);
        let info = conn.info();
        match what {
            "cwnd" => same(u64::from(info.cwnd), number),
            "ssthresh" => same(u64::from(info.ssthresh), number),
            "ca" => same(format!("{:?}", info.ca_state).to_lowercase(), value.to_string()),
            "packets" => same(format!("{}", conn.snd.flight.segments()), value.to_string()),
            "in-flight" => same(u64::from(info.in_flight), number),
            "rto" => same(info.rto.as_millis(), number),
            "srtt" => same(info.srtt.as_millis(), number),
            "mss" => same(u64::from(info.mss), number),
            "error" => same(format!("{:?}", conn.error()), format!("Some({value})")),
            "outcome" => same(format!("{:?}", self.last), format!("Some({value})")),
            "readable" => same(u64::from(conn.rcv.buf.readable()), number),
            "finished" => same(conn.finished(), true),
            state => same(format!("{:?}", conn.phase()).to_lowercase(), state.replace('-', "")),
        }
    }
}

/// The peer's first byte.
const PEER_FIRST: u32 = 301;
const ESTABLISHED: [&str; 4] = [
    "0 connect",
    "0 > S 100:100(0)",
    "0.1 < S. 300:300(0) ack 101 win 65535 <mss 1000,sackOK>",
    "0.1 > . 101:101(0) ack 301",
];
const ACCEPTED: [&str; 4] = [
    "0 listen",
    "0 < S 300:300(0) win 65535 <mss 1000,sackOK>",
    "0 > S. 100:100(0) ack 301",
    "0.1 < . 301:301(0) ack 101 win 65535",
];

const ECN: [(Ecn, &str); 4] =
    [(Ecn::NotEct, "noecn"), (Ecn::Ect0, "ect0"), (Ecn::Ect1, "ect1"), (Ecn::Ce, "ce")];

/// Content by stream offset.
fn pattern(offset: u64) -> u8 {
    (offset ^ (offset >> 8)) as u8
}

fn same<T: PartialEq + std::fmt::Debug>(actual: T, expected: T) -> Step {
    if actual == expected { Ok(()) } else { Err(format!("is {actual:?}, expected {expected:?}")) }
}

fn bare(header: TcpHeader) -> Segment {
    let config = Arc::new(TcpConfig::default());
    let open =
        OpenParams { conn: ConnId(1), isn: Seq(0), mss: 1000, ts_offset: 0, nodelay: false, path_mtu: None };
    let mut conn = Connection::connect(Cx::quiet(Time::ZERO), &config, &open);
    let mut segment = conn.next_segment(Cx::quiet(Time::ZERO)).expect("a SYN");
    segment.header = header;
    segment.why = rt_base::SendWhy::Reset;
    assert_eq!((segment.origin, conn.phase()), (EventId::NONE, TcpPhase::SynSent));
    segment
}

/// As the script writes it, with everything.
fn show(s: &Segment) -> String {
    let h = &s.header;
    let mut text = format!("{} {}:{}({})", h.flags, h.seq, h.seq + s.len, s.len);
    if h.flags.has(TcpFlags::ACK) {
        text += &format!(" ack {}", h.ack);
    }
    let why = serde_name(s.why);
    let ecn = ECN.iter().find(|e| e.0 == s.ecn).map_or("", |e| e.1);
    format!("[{ecn}] {text} win {} <{}> why {why}", h.window, show_options(&h.options))
}

fn serde_name(why: rt_base::SendWhy) -> String {
    let mut name = String::new();
    for c in format!("{why:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(c.to_lowercase());
    }
    name
}

fn show_options(o: &TcpOptions) -> String {
    let mut list = Vec::new();
    list.extend(o.mss.map(|m| format!("mss_{m}")));
    list.extend(o.sack_permitted.then(|| "sackOK".to_string()));
    list.extend(o.timestamps.map(|(v, e)| format!("TS_{v}_ecr_{e}")));
    list.extend(o.window_scale.map(|w| format!("wscale_{w}")));
    if !o.sack().is_empty() {
        let blocks: Vec<String> = o.sack().iter().map(|(a, b)| format!("{a}:{b}")).collect();
        list.push(format!("sack_{}", blocks.join("_")));
    }
    list.join(",")
}

/// Options as one word each, so that a line is a list of facts.
fn normalise(text: &str) -> String {
    let Some((head, rest)) = text.split_once('<') else {
        return text.to_string();
    };
    let (options, tail) = rest.split_once('>').unwrap_or((rest, ""));
    let options: Vec<String> = options.split(',').map(|o| o.trim().replace(' ', "_")).collect();
    let options: Vec<String> = options.into_iter().filter(|o| o != "nop").collect();
    format!("{head} <{}> {tail}", options.join(","))
}

/// `flags seq ack_N win_N <options> why_X` as separate facts.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let pair = ["ack ", "win ", "why "].iter().any(|k| rest.starts_with(k));
        let from = if pair { 4 } else { 0 };
        let end = rest[from..].find(' ').map_or(rest.len(), |i| i + from);
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

/// A line for `<`: the header and its payload's length.
fn parse(text: &str) -> Result<(TcpHeader, u32), String> {
    let text = normalise(text);
    let number = |s: &str| s.parse::<u32>().map_err(|e| format!("{s}: {e}"));
    let mut header = TcpHeader { window: 65_535, ..TcpHeader::default() };
    let mut len = 0;
    for (i, word) in words(&text).into_iter().enumerate() {
        match word.split_at_checked(4) {
            _ if i == 0 => header.flags = flags(word),
            Some(("ack ", n)) => header.ack = Seq(number(n)?),
            Some(("win ", n)) => header.window = number(n)? as u16,
            _ if word.starts_with('<') => header.options = options(word)?,
            _ => {
                let (seq, rest) = word.split_once(':').ok_or("seq:end(len)")?;
                let (end, size) = rest.trim_end_matches(')').split_once('(').ok_or("seq:end(len)")?;
                (header.seq, len) = (Seq(number(seq)?), number(size)?);
                same((header.seq + len).0, number(end)?)?;
            }
        }
    }
    Ok((header, len))
}

fn flags(word: &str) -> TcpFlags {
    let bits = "FSRP.UEW".chars().enumerate().filter(|(_, c)| word.contains(*c));
    TcpFlags(bits.map(|(bit, _)| 1 << bit).sum())
}

fn options(word: &str) -> Result<TcpOptions, String> {
    let mut o = TcpOptions::default();
    let number = |s: &str| s.parse::<u32>().map_err(|e| format!("{s}: {e}"));
    for option in word.trim_matches(['<', '>']).split(',').filter(|w| !w.is_empty()) {
        let parts: Vec<&str> = option.split('_').collect();
        match parts[..] {
            ["mss", n] => o.mss = Some(number(n)? as u16),
            ["sackOK"] => o.sack_permitted = true,
            ["wscale", n] => o.window_scale = Some(number(n)? as u8),
            ["TS", value, "ecr", echo] => o.timestamps = Some((number(value)?, number(echo)?)),
            ["sack", ..] => {
                for block in &parts[1..] {
                    let (a, b) = block.split_once(':').ok_or("sack a:b")?;
                    o.push_sack(Seq(number(a)?), Seq(number(b)?));
                }
            }
            _ => return Err(format!("no such option {option}")),
        }
    }
    Ok(o)
}
