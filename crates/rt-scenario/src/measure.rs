//! Steps that measure: `traces the route to`, `finds the path MTU to`, `sends`, `streams`.

use rt_base::Nanos;

use crate::apps::SINK_PORT;
use crate::diag::Code;
use crate::model::{TraceBy, Transport, Verb};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// From one frame of a stream to the next unless it says otherwise.
pub(crate) const FRAME: Nanos = Nanos::from_millis(20);
/// How long after its earliest time a frame is played unless the stream says otherwise.
pub(crate) const PLAYOUT: Nanos = Nanos::from_millis(150);
/// Longest step.
const LONGEST: Nanos = Nanos::from_secs(900);
/// Most bytes of one step: a packet costs memory as long as its run is kept.
pub(crate) const MOST_BYTES: u64 = 4_000_000_000;
/// Most bytes of one frame of a stream.
const MOST_FRAME: u64 = 64 * 1_200;
/// Most frames of one stream.
const MOST_FRAMES: u64 = 1_000_000;

impl World<'_, '_> {
    /// Verb and target of a step that measures.
    pub(crate) fn measurement(
        &mut self,
        sentence: &Value,
        words: &[&str],
        item: &Value,
    ) -> Option<(Verb, String)> {
        match *words {
            ["traces", "the", "route", "to", target, ref with @ ..] => self.trace(sentence, target, with),
            ["finds", "the", "path", "MTU", "to", target] => {
                self.check_host(sentence, target)?;
                Some((Verb::PathMtu { target: target.to_owned() }, target.to_owned()))
            }
            ["sends", size, "to", target, "over", ref over @ ..] => {
                let connections = match *over {
                    ["TCP" | "tcp"] => 1,
                    [n, "TCP" | "tcp", "connections" | "connection"] => {
                        self.number(sentence, n, (1, 64))? as u32
                    }
                    _ => {
                        return self
                            .misput(sentence, "bytes are sent `over TCP` or `over 4 TCP connections`");
                    }
                };
                let bytes = units::size(size).and_then(|n| within(n, 1, MOST_BYTES));
                let bytes = self.good(sentence, size, bytes)?;
                let (target, port) = self.with_port(sentence, target)?;
                let every = item.duration_at("every");
                if let (Some(Nanos(0..1_000_000)), Some(at)) = (every, item.get("every")) {
                    let message = "a sender is looked at every millisecond at most";
                    self.problems
                        .add(Code::BadNumber, at.span, message, "too often")
                        .help("write `every: 100ms`");
                }
                Some((Verb::Send { target: target.clone(), port, bytes, connections, every }, target))
            }
            ["streams", rate, "for", span, "to", target, "over", over] => {
                let over = match over {
                    "UDP" | "udp" => Transport::Udp,
                    "TCP" | "tcp" => Transport::Tcp,
                    _ => return self.misput(sentence, "streams go over UDP or TCP"),
                };
                let frame = item.duration_at("frame").unwrap_or(FRAME);
                let playout = item.duration_at("playout").unwrap_or(PLAYOUT);
                let rate_bps = self.good(sentence, rate, units::rate(rate))?;
                let lasts = self.good(sentence, span, units::duration(span).and_then(within_a_step))?;
                self.good(sentence, rate, frames(rate_bps, lasts, frame))?;
                let (target, port) = self.with_port(sentence, target)?;
                Some((
                    Verb::Stream { target: target.clone(), port, over, rate_bps, lasts, frame, playout },
                    target,
                ))
            }
            ["sends", ..] => self.misput(sentence, "write `sends 10MB to HOST over TCP`"),
            _ => self.misput(sentence, "write `streams 2Mbit/s for 10s to HOST over UDP`"),
        }
    }

    fn trace(&mut self, sentence: &Value, target: &str, with: &[&str]) -> Option<(Verb, String)> {
        let (by, port) = match *with {
            [] => (TraceBy::Udp, None),
            ["using", word] => (self.trace_by(sentence, word)?, None),
            ["using", word, "port", port] => {
                (self.trace_by(sentence, word)?, Some(self.good(sentence, port, units::port(port))?))
            }
            _ => return self.misput(sentence, "write `traces the route to HOST using tcp port 443`"),
        };
        self.check_host(sentence, target)?;
        Some((Verb::Trace { target: target.to_owned(), by, port }, target.to_owned()))
    }

    fn trace_by(&mut self, sentence: &Value, word: &str) -> Option<TraceBy> {
        match word {
            "udp" | "UDP" => Some(TraceBy::Udp),
            "icmp" | "ICMP" => Some(TraceBy::Icmp),
            "tcp" | "TCP" => Some(TraceBy::Tcp),
            _ => self.misput(sentence, "routes are traced using udp, icmp or tcp"),
        }
    }

    /// Host and port of `HOST[:PORT]`.
    fn with_port(&mut self, sentence: &Value, target: &str) -> Option<(String, u16)> {
        let (host, port) = match target.rsplit_once(':') {
            Some((host, port)) => (host, self.good(sentence, port, units::port(port))?),
            None => (target, SINK_PORT),
        };
        self.check_host(sentence, host)?;
        Some((host.to_owned(), port))
    }

    fn number(&mut self, sentence: &Value, word: &str, (low, high): (u64, u64)) -> Option<u64> {
        let number = word.parse::<u64>().map_err(|_| "it is not a number".to_owned());
        self.good(sentence, word, number.and_then(|n| within(n, low, high)))
    }

    fn good<T>(&mut self, sentence: &Value, word: &str, value: Result<T, String>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(why) => {
                let at = self.part(sentence, word);
                self.problems.add(Code::BadNumber, at, format!("`{word}`: {why}"), "cannot be");
                None
            }
        }
    }

    fn misput<T>(&mut self, sentence: &Value, how: &str) -> Option<T> {
        let message = "this step cannot be understood";
        self.problems.add(Code::BadStep, sentence.span, message, "not understood").help(how);
        None
    }
}

/// A step that lasts longer is cut off.
pub(crate) fn within_a_step(span: Nanos) -> Result<Nanos, String> {
    if span <= LONGEST { Ok(span) } else { Err("no step lasts longer than 900s".to_owned()) }
}

fn within(n: u64, low: u64, high: u64) -> Result<u64, String> {
    if (low..=high).contains(&n) { Ok(n) } else { Err(format!("it is not from {low} to {high}")) }
}

/// Whether a stream has sensible frames.
fn frames(rate_bps: u64, lasts: Nanos, frame: Nanos) -> Result<(), String> {
    if frame < Nanos::from_millis(1) {
        return Err("frames come at most every millisecond".to_owned());
    }
    let bytes = u128::from(rate_bps) * u128::from(frame.0) / 8_000_000_000;
    if bytes > u128::from(MOST_FRAME) {
        return Err(format!(
            "a frame would have {bytes} bytes; {MOST_FRAME} at most: write a shorter `frame:`"
        ));
    }
    match lasts.0 / frame.0 {
        0 => Err("not even one frame long".to_owned()),
        n if n > MOST_FRAMES => Err(format!("{n} frames; {MOST_FRAMES} at most")),
        _ => Ok(()),
    }
}
