//! Steps that measure a path: which routers are on it ([`trace_route`]), how long a packet may be ([`path_mtu`]), how much
//! TCP gets through it ([`send()`]), what becomes of a stream of sound or pictures ([`stream()`]), how many requests a server
//! takes ([`load()`]); and who takes what they send ([`sink()`]).
//!
//! Each prints what the well-known tools print (traceroute, tracepath, iperf) and says every line of it with exact values
//! ([`rt_base::AppRecord::Measured`]), so that the story has it as data.
//!
//! Deliberate simplification: the tools here ask one thing at a time and wait for it, where today's traceroute sends a
//! dozen probes at once. Virtual time costs nothing.

mod load;
mod playout;
mod route;
mod send;
mod sink;
mod size;
mod stream;
mod wire;

use std::net::IpAddr;

use rt_base::{AppRecord, Figure, FigureUnit, Nanos, ReqId, ReqKind};

use crate::dns::{LookupError, RecordType};
use crate::net::Net;
use crate::step::StepResult;

pub use load::{LoadOptions, load};
pub use route::{RouteOptions, trace_route};
pub use send::{SendOptions, send};
pub use sink::sink;
pub use size::path_mtu;
pub use stream::{StreamOptions, stream};

/// A measurement under way: its request and the lines that a person would see.
struct Report {
    net: Net,
    req: ReqId,
    lines: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    /// It begins.
    fn begin(net: &Net, method: &str, target: &str) -> Report {
        let req = net.new_req();
        let (method, target) = (method.to_string(), target.to_string());
        net.say(AppRecord::RequestBegin { req, parent: ReqId(0), kind: ReqKind::Probe, method, target });
        Report { net: net.clone(), req, lines: Vec::new(), figures: Vec::new() }
    }

    /// One line of it. The label stands before the text on the screen.
    fn line(&mut self, code: &str, label: &str, text: &str, data: &[(&str, String)]) {
        self.lines.push(format!("{label}  {text}").trim_end().to_string());
        let data = data.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect();
        let (code, label, text) = (code.to_string(), label.to_string(), text.to_string());
        self.net.say(AppRecord::Measured { req: self.req, code, label, text, data });
    }

    /// A result that expectations may ask for.
    fn figure(&mut self, name: &str, value: u64, unit: FigureUnit) {
        self.figures.push(Figure { name: name.to_string(), value, unit });
    }

    /// It is over.
    fn end(self, outcome: Result<String, String>) -> StepResult {
        let ok = outcome.is_ok();
        let note = outcome.clone().unwrap_or_else(|why| why);
        self.net.say(AppRecord::RequestEnd { req: self.req, status: 0, ok, body_bytes: 0, note });
        let result = match outcome {
            Ok(summary) => StepResult::ok(summary),
            Err(why) => StepResult::failed(why),
        };
        result.with_lines(self.lines).with_figures(self.figures)
    }

    /// The address of a name.
    async fn resolve(&self, target: &str) -> Result<IpAddr, String> {
        let answer = self.net.lookup(target, RecordType::A, self.req).await.map_err(|e| e.to_string())?;
        let first = answer.addresses.first().copied();
        first.ok_or_else(|| LookupError::NoData(target.into(), RecordType::A).to_string())
    }
}

/// Milliseconds with three digits behind the point, as traceroute has them.
fn ms(span: Nanos) -> String {
    let us = (span.0 + 500) / 1_000;
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// Bits per second of so many bytes in a span, in a person's unit.
fn rate(bytes: u64, span: Nanos) -> String {
    let bps = bits_per_second(bytes, span);
    match bps {
        0..1_000_000 => format!("{}.{:02} kbit/s", bps / 1_000, bps % 1_000 / 10),
        1_000_000..1_000_000_000 => format!("{}.{:02} Mbit/s", bps / 1_000_000, bps % 1_000_000 / 10_000),
        _ => format!("{}.{:02} Gbit/s", bps / 1_000_000_000, bps % 1_000_000_000 / 10_000_000),
    }
}

fn bits_per_second(bytes: u64, span: Nanos) -> u64 {
    let bits = u128::from(bytes) * 8 * 1_000_000_000;
    u64::try_from(bits / u128::from(span.0.max(1))).unwrap_or(u64::MAX)
}

/// Bytes in a person's unit.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use rt_base::Nanos;

    #[test]
    fn numbers_have_units() {
        assert_eq!(super::ms(Nanos(1_234_567)), "1.235");
        assert_eq!(super::rate(1_250_000, Nanos::from_secs(1)), "10.00 Mbit/s");
        assert_eq!(super::rate(1_000, Nanos::from_secs(1)), "8.00 kbit/s");
        assert_eq!(super::rate(1 << 30, Nanos::from_secs(1)), "8.58 Gbit/s");
        assert_eq!((super::size(999), super::size(14_600), super::size(2_500_000)).1, "14.6 kB");
    }
}
