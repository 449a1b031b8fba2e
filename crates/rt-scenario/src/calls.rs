//! Steps of callers and attackers: `calls`, `floods`, `spoofs`.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::Nanos;

use crate::diag::Code;
use crate::measure::{MOST_BYTES, within_a_step};
use crate::model::{App, Connections, Forgery, Verb};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// Port of a call server unless it says otherwise.
pub(crate) const RPC_PORT: u16 = 7_000;
/// Length of a call or a reply unless it says otherwise.
pub(crate) const MESSAGE: u32 = 100;
/// The longest call or reply.
pub(crate) const LONGEST_MESSAGE: u64 = 64 << 20;
/// Connections that may wait to be accepted by a call server.
pub(crate) const BACKLOG: u32 = 128;
/// A caller gives up after this unless it says otherwise.
pub(crate) const PATIENCE: Nanos = Nanos::from_secs(30);
/// Addresses that floods pretend to come from: the network set aside for benchmarks (RFC 2544).
pub(crate) const SOURCES: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15));
/// Guesses a second of a blind attacker.
const GUESS_RATE: u64 = 10_000;
/// Most packets of one flood: each is kept as long as its run is.
const MOST_PACKETS: u64 = 1_000_000;

/// `rpc:` in a machine's `run:` list.
pub(crate) fn read_rpc(value: &Value) -> App {
    let size = |key: &str| value.str_at(key).and_then(|t| units::size(t).ok());
    App::Rpc {
        port: value.str_at("port").and_then(|t| units::port(t).ok()).unwrap_or(RPC_PORT),
        reply: size("reply").map_or(MESSAGE, narrow),
        think: value.duration_at("think").unwrap_or(Nanos::ZERO),
        closes: value.str_at("closes-first") == Some("server"),
        backlog: value.whole_at("backlog").map_or(BACKLOG, narrow),
        writes: value.whole_at("writes").map_or(1, narrow),
        no_delay: value.flag_at("no-delay").unwrap_or(false),
        quick_ack: value.flag_at("quick-ack").unwrap_or(false),
    }
}

/// Whether a number is larger than it can be used.
fn more(value: &Value, than: u64) -> bool {
    value.text().and_then(|t| t.parse::<u64>().ok()).is_some_and(|n| n > than)
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl World<'_, '_> {
    /// Verb and target of a step that calls, floods or forges.
    pub(crate) fn calling(
        &mut self,
        sentence: &Value,
        words: &[&str],
        item: &Value,
    ) -> Option<(Verb, String)> {
        match *words {
            ["calls", to, ..] if to.contains("://") => self.call_grpc(sentence, words, item),
            ["calls", to] => self.call(sentence, to, 1, item),
            ["calls", to, "once"] => self.call(sentence, to, 1, item),
            ["calls", to, count, "times"] => {
                let number = count.parse::<u32>().ok().filter(|n| (1..=100_000).contains(n));
                let Some(number) = number else {
                    let at = self.part(sentence, count);
                    let message = format!("`{count}` is not from 1 to 100000");
                    self.problems.add(Code::BadNumber, at, message, "out of its limits");
                    return None;
                };
                self.call(sentence, to, number, item)
            }
            ["floods", to, "with", "SYNs", "at", rate, "for", span] => {
                self.flood(sentence, to, (rate, span), item)
            }
            ["spoofs", what @ ("RST" | "SYN" | "UDP"), "from", from, "to", to] => {
                let what = match what {
                    "RST" => Forgery::Rst,
                    "SYN" => Forgery::Syn,
                    _ => Forgery::Udp,
                };
                self.forge(sentence, what, (from, to), item)
            }
            ["spoofs", "answer", name, "is", address, "from", from, "to", to]
                if address.parse::<Ipv4Addr>().is_ok() =>
            {
                let address = address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
                self.forge(sentence, Forgery::Answer { name: name.to_owned(), address }, (from, to), item)
            }
            ["calls", ..] => {
                self.bad_step(sentence.span, "calls look like `calls HOST:PORT 20 times`");
                None
            }
            ["floods", ..] => {
                self.bad_step(
                    sentence.span,
                    "a flood looks like `floods HOST:PORT with SYNs at 1000/s for 2s`",
                );
                None
            }
            _ => {
                self.bad_step(
                    sentence.span,
                    "a forgery looks like `spoofs RST|SYN|UDP from 10.0.0.1:40000 to 10.0.0.2:80` or `spoofs answer NAME is ADDRESS from 10.0.0.53:53 to 10.0.0.2:40000`",
                );
                None
            }
        }
    }

    /// A flood of SYNs.
    fn flood(
        &mut self,
        sentence: &Value,
        to: &str,
        (rate_text, span): (&str, &str),
        item: &Value,
    ) -> Option<(Verb, String)> {
        let (target, port) = self.host_and_port(sentence, to)?;
        let per_second = rate_text.strip_suffix("/s").and_then(|n| n.parse::<u64>().ok());
        let lasts = units::duration(span).ok();
        let (Some(rate), Some(lasts)) = (per_second, lasts) else {
            self.bad_step(sentence.span, "a flood looks like `floods HOST:PORT with SYNs at 1000/s for 2s`");
            return None;
        };
        let packets = u128::from(rate) * u128::from(lasts.0) / 1_000_000_000;
        if !(1..=u128::from(MOST_PACKETS)).contains(&packets) {
            let message = format!("a flood has from 1 to {MOST_PACKETS} packets, not {packets}");
            let at = self.part(sentence, rate_text);
            self.problems
                .add(Code::BadNumber, at, message, "out of its limits")
                .help("packets are the rate times the span: write `at 1000/s for 2s`");
            return None;
        }
        if let Err(why) = within_a_step(lasts) {
            let at = self.part(sentence, span);
            self.problems
                .add(Code::BadNumber, at, format!("`{span}`: {why}"), "out of its limits")
                .help("write `900s` at most");
            return None;
        }
        let sources = item.str_at("sources").and_then(|t| t.parse().ok()).unwrap_or(SOURCES);
        Some((Verb::Flood { target: target.clone(), port, rate, lasts, sources }, target))
    }

    /// A forged segment, datagram or answer.
    fn forge(
        &mut self,
        sentence: &Value,
        what: Forgery,
        (from, to): (&str, &str),
        item: &Value,
    ) -> Option<(Verb, String)> {
        let ends = (from.parse::<SocketAddr>(), to.parse::<SocketAddr>());
        let (Ok(from), Ok(to)) = ends else {
            self.bad_step(sentence.span, "both ends of a forged segment are written as `address:port`");
            return None;
        };
        let stride = if matches!(what, Forgery::Rst | Forgery::Syn) { 65_535 } else { 1 };
        let guesses = item.get("guesses");
        let number = |key: &str, usual: u64| guesses.and_then(|g| g.whole_at(key)).unwrap_or(usual);
        let verb = Verb::Spoof {
            what,
            from,
            to,
            first: narrow(number("first", 0)),
            stride: narrow(number("stride", stride)),
            count: narrow(number("count", 1)),
            rate: number("rate", GUESS_RATE),
        };
        Some((verb, to.ip().to_string()))
    }

    fn call(&mut self, sentence: &Value, to: &str, count: u32, item: &Value) -> Option<(Verb, String)> {
        let (target, port) = self.host_and_port(sentence, to)?;
        let connections = match item.str_at("connections") {
            Some("each") => Connections::Each,
            Some("warmed") => Connections::Warmed,
            _ => Connections::Kept,
        };
        let request = item.str_at("request").and_then(|t| units::size(t).ok());
        let at_once = item.whole_at("at-once").map_or(1, narrow);
        self.refuse_masses(item, u64::from(count), request.unwrap_or(u64::from(MESSAGE)));
        self.warn_of_idle_callers(item, count, request);
        let verb = Verb::Call {
            target: target.clone(),
            port,
            count,
            request: request.map_or(MESSAGE, narrow),
            connections,
            at_once,
            every: item.duration_at("every").unwrap_or(Nanos::ZERO),
            timeout: item.duration_at("timeout").unwrap_or(PATIENCE),
            writes: item.whole_at("writes").map_or(1, narrow),
            no_delay: item.flag_at("no-delay").unwrap_or(false),
            quick_ack: item.flag_at("quick-ack").unwrap_or(false),
        };
        Some((verb, target))
    }

    /// Requests that are more than a run can keep.
    fn refuse_masses(&mut self, item: &Value, count: u64, request: u64) {
        let all = count.saturating_mul(request);
        let Some(at) = item.get("request").filter(|_| all > MOST_BYTES && request <= LONGEST_MESSAGE) else {
            return;
        };
        let message = format!("{count} requests of {request} bytes are {all} bytes; {MOST_BYTES} at most");
        self.problems
            .add(Code::BadNumber, at.span, message, "too much")
            .help("call less often, or ask for less");
    }

    /// Callers without a call, pieces without a byte.
    fn warn_of_idle_callers(&mut self, item: &Value, count: u32, request: Option<u64>) {
        let calls = u64::from(count);
        if let Some((name, value)) = item.entry("at-once").filter(|(_, v)| more(v, calls)) {
            let message = format!(
                "`at-once: {}` with {count} calls: the others have nothing to do",
                value.text().unwrap_or("")
            );
            self.problems
                .add(Code::NoEffect, name.span, message, "no effect")
                .help("write `calls HOST:PORT 20 times`");
        }
        let bytes = request.unwrap_or(u64::from(MESSAGE)).max(4);
        if let Some((name, _)) = item.entry("writes").filter(|(_, v)| more(v, bytes)) {
            let message = format!("a request of {bytes} bytes has not so many pieces");
            self.problems
                .add(Code::NoEffect, name.span, message, "no effect")
                .help("write a longer `request:`");
        }
    }

    fn host_and_port(&mut self, sentence: &Value, to: &str) -> Option<(String, u16)> {
        let at = self.part(sentence, to);
        let Some((host, port)) = to.rsplit_once(':') else {
            let message = format!("to which port of `{to}`?");
            self.problems.add(Code::BadStep, at, message, "no port").help(format!("write `{to}:{RPC_PORT}`"));
            return None;
        };
        self.check_host(sentence, host)?;
        match units::port(port) {
            Ok(port) => Some((host.to_owned(), port)),
            Err(why) => {
                self.problems.add(Code::BadPort, at, why, "not a port").help("ports go from 1 to 65535");
                None
            }
        }
    }
}
