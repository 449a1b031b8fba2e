//! Numbers in words: one place that decides how the story writes times, sizes and flags.

use rt_base::{Nanos, Time};

/// `61.214 ms`; always milliseconds with three decimals below ten seconds, so that columns can be compared.
pub(crate) fn ms(span: Nanos) -> String {
    if span.0 >= 10_000_000_000 {
        return format!("{}.{:03} s", span.0 / 1_000_000_000, span.0 / 1_000_000 % 1_000);
    }
    // Rounded to the nearest microsecond; the exact nanoseconds are in the data.
    let us = (span.0 + 500) / 1_000;
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}

/// The span between two instants, as [`ms`].
pub(crate) fn between(from: Time, to: Time) -> String {
    ms(to.since(from))
}

/// `+12.345 ms`, from the start of a step or chapter.
pub(crate) fn after(from: Time, to: Time) -> String {
    format!("+{}", ms(to.since(from)))
}

/// `241.306198 ms`: exact.
pub(crate) fn exact_ms(span: Nanos) -> String {
    format!("{}.{:06} ms", span.0 / 1_000_000, span.0 % 1_000_000)
}

/// Without the unit and with one decimal, for sums: `192.2`.
pub(crate) fn short_ms(span: Nanos) -> String {
    let us = (span.0 + 500) / 1_000;
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// `512 B`, `41.2 kB`, `1.3 MB` (decimal thousands).
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..999_950 => format!("{}.{} kB", (n + 50) / 1_000, (n + 50) % 1_000 / 100),
        _ => format!("{}.{} MB", (n + 50_000) / 1_000_000, (n + 50_000) % 1_000_000 / 100_000),
    }
}

/// Bits per second: `93.10 Mbit/s`.
pub(crate) fn rate(bps: u64) -> String {
    let (unit, name) = match bps {
        1_000_000_000.. => (1_000_000_000, "Gbit/s"),
        1_000_000.. => (1_000_000, "Mbit/s"),
        _ => (1_000, "kbit/s"),
    };
    format!("{}.{:02} {name}", bps / unit, bps % unit * 100 / unit)
}

pub(crate) use rt_base::count;

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A span as people say it: `5 s`, `300 ms`, `1 day`.
pub(crate) fn about(span: Nanos) -> String {
    let secs = span.0 / 1_000_000_000;
    match secs {
        0 => format!("{} ms", span.as_millis()),
        86_400.. if secs % 86_400 < 3_600 => count(secs / 86_400, "day"),
        86_400.. => {
            format!("{} and {}", count(secs / 86_400, "day"), count(secs % 86_400 / 3_600, "hour"))
        }
        3_600.. if secs.is_multiple_of(3_600) => count(secs / 3_600, "hour"),
        _ if span.0.is_multiple_of(1_000_000_000) => format!("{secs} s"),
        _ => format!("{}.{} s", secs, span.0 / 100_000_000 % 10),
    }
}

/// `SYN ACK`, in the order of the wire.
pub(crate) fn flags(bits: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> = (0..8).filter(|i| bits >> i & 1 == 1).map(|i| NAMES[i]).collect();
    if set.is_empty() { "none".to_string() } else { set.join(" ") }
}
