//! Values with units: rates, spans of time, shares, sizes, ports, civil time. Text in, integers out.
//!
//! All arithmetic is in integers; a fraction is read digit by digit, so `1.2s` is exactly 1,200,000,000 ns. Errors are a
//! sentence that names what was wrong; the caller knows where.

use rt_base::Nanos;
use rt_rules::PortRange;

use crate::model::QueueLimit;

/// A decimal number as `digits * 10^-decimals`.
struct Decimal {
    digits: u128,
    decimals: u32,
}

/// Splits `1.5Mbit/s` into the number and the rest. Negative numbers are refused by name.
fn number(text: &str) -> Result<(Decimal, &str), String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("it is negative".to_owned());
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let all = format!("{whole}{part}");
    if whole.is_empty() || all.len() > 24 || part.contains('.') || (plain.contains('.') && part.is_empty()) {
        return Err(format!("`{text}` does not begin with a number"));
    }
    let digits = all.parse::<u128>().map_err(|_| format!("`{text}` does not begin with a number"))?;
    Ok((Decimal { digits, decimals: part.len() as u32 }, rest.trim_start()))
}

impl Decimal {
    /// `self * unit` in whole units, if exact enough (rounded down) and within `u64`.
    fn times(&self, unit: u64) -> Result<u64, String> {
        let scaled = self.digits.checked_mul(u128::from(unit)).ok_or("it is too large")?;
        u64::try_from(scaled / 10u128.pow(self.decimals)).map_err(|_| "it is too large".to_owned())
    }
}

/// Looks the unit up; an empty one is refused with examples.
fn unit(rest: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    if let Some((_, size)) = units.iter().find(|(name, _)| *name == rest) {
        return Ok(*size);
    }
    let names = units.iter().map(|(n, _)| *n).filter(|n| !n.is_empty()).collect::<Vec<_>>().join(", ");
    if rest.is_empty() {
        Err(format!("it needs a unit, such as `{example}` (known: {names})"))
    } else {
        Err(format!("`{rest}` is not a unit here (known: {names})"))
    }
}

/// Bits per second, such as `100Mbit/s`.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let (value, rest) = number(text)?;
    let units = [
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
        ("Tbit/s", 1_000_000_000_000),
        ("bps", 1),
        ("kbps", 1_000),
        ("Mbps", 1_000_000),
        ("Gbps", 1_000_000_000),
    ];
    let bits = value.times(unit(rest, &units, "100Mbit/s")?)?;
    if bits == 0 {
        Err("a link that carries nothing: use `cut` in the timeline".to_owned())
    } else {
        Ok(bits)
    }
}

/// A span of time, such as `4ms`. A bare `0` is fine.
pub(crate) fn duration(text: &str) -> Result<Nanos, String> {
    let (value, rest) = number(text)?;
    if rest.is_empty() && value.digits == 0 {
        return Ok(Nanos::ZERO);
    }
    let units = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    value.times(unit(rest, &units, "4ms")?).map(Nanos)
}

/// What the ends of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// Spans of time.
    Time,
    /// Things.
    Count,
    /// Bits per second.
    Rate,
    /// Shares.
    Share,
}

/// At least and at most: `40ms..45ms`, `40ms..`, `..45ms`, or one value for exactly that.
pub(crate) fn between(text: &str, measure: Measure) -> Result<(u64, u64), String> {
    let one = |end: &str| match measure {
        Measure::Time => duration(end).map(|span| span.0),
        Measure::Count => end.parse::<u64>().map_err(|_| format!("`{end}` is not a whole number")),
        Measure::Rate => rate(end),
        Measure::Share => share(end).map(u64::from),
    };
    let Some((low, high)) = text.split_once("..") else { return one(text.trim()).map(|n| (n, n)) };
    let (low, high) = (low.trim(), high.trim());
    if low.is_empty() && high.is_empty() {
        return Err("it has no end at all".to_owned());
    }
    let low = if low.is_empty() { 0 } else { one(low)? };
    let high = if high.is_empty() { u64::MAX } else { one(high)? };
    if low > high { Err("its first end is above its second".to_owned()) } else { Ok((low, high)) }
}

/// A range as it is written.
pub(crate) fn show_between((low, high): (u64, u64), measure: Measure) -> String {
    let one = |n: u64| match measure {
        Measure::Time => show_duration(Nanos(n)),
        Measure::Count => n.to_string(),
        Measure::Rate => show_rate(n),
        Measure::Share => show_share(u32::try_from(n).unwrap_or(u32::MAX)),
    };
    match (low, high) {
        (low, high) if low == high => one(low),
        (low, u64::MAX) => format!("{}..", one(low)),
        (0, high) => format!("..{}", one(high)),
        (low, high) => format!("{}..{}", one(low), one(high)),
    }
}

/// Bits that flip of 10^15.
const BITS: f64 = 1e15;

/// Reads a bit error rate, `1e-7`: how many of 10^15 bits flip.
pub(crate) fn bit_errors(text: &str) -> Result<u64, String> {
    let rate: f64 = text.trim().parse().map_err(|_| "it is not a number".to_owned())?;
    if !(0.0..=1.0).contains(&rate) {
        return Err("it is not within 0 and 1".to_owned());
    }
    if rate > 0.0 && rate < 1.0 / BITS {
        return Err("less than 1e-15 is as good as nothing".to_owned());
    }
    Ok((rate * BITS).round() as u64)
}

/// Writes it so that [`bit_errors`] reads the same.
pub(crate) fn show_bit_errors(errors: u64) -> String {
    let (mut digits, mut exponent) = (errors, 15);
    while digits > 0 && digits.is_multiple_of(10) && exponent > 0 {
        digits /= 10;
        exponent -= 1;
    }
    format!("{digits}e-{exponent}")
}

/// A share in parts per million, from `2%` or `500ppm`.
pub(crate) fn share(text: &str) -> Result<u32, String> {
    let (value, rest) = number(text)?;
    if rest.is_empty() && value.digits == 0 {
        return Ok(0);
    }
    let ppm = value.times(unit(rest, &[("%", 10_000), ("ppm", 1)], "2%")?)?;
    match u32::try_from(ppm) {
        Ok(ppm) if ppm <= 1_000_000 => Ok(ppm),
        _ => Err("it is more than 100%".to_owned()),
    }
}

/// Loss: a share (first) or every so manieth frame (second), from `2%` or `every 1000th`.
pub(crate) fn loss(text: &str) -> Result<(u32, u64), String> {
    let Some(rest) = text.trim().strip_prefix("every ") else { return share(text).map(|ppm| (ppm, 0)) };
    let rest = rest.trim();
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest);
    match digits.replace('_', "").parse::<u64>() {
        Ok(every) if every > 0 => Ok((0, every)),
        _ => Err(format!("`{rest}` does not say which: write it like `every 1000th`")),
    }
}

/// As scenarios write it.
pub(crate) fn show_loss(ppm: u32, every: u64) -> String {
    match every {
        0 => show_share(ppm),
        every => {
            let end = match (every % 10, every % 100) {
                (_, 11..=13) => "th",
                (1, _) => "st",
                (2, _) => "nd",
                (3, _) => "rd",
                _ => "th",
            };
            format!("every {every}{end}")
        }
    }
}

/// Bytes, such as `64KiB`; a bare number is bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (value, rest) = number(text)?;
    let units = [
        ("", 1),
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    value.times(unit(rest, &units, "64KiB")?)
}

/// A queue limit: `1000 packets` or `256KiB`.
pub(crate) fn queue(text: &str) -> Result<QueueLimit, String> {
    let (value, rest) = number(text)?;
    if matches!(rest, "packets" | "packet" | "p") {
        let packets = value.times(1)?;
        return match u32::try_from(packets) {
            Ok(n) if n > 0 => Ok(QueueLimit::Packets(n)),
            _ => Err("a queue holds from 1 to 4294967295 packets".to_owned()),
        };
    }
    if rest.is_empty() {
        return Err("it needs a unit: `1000 packets` or `256KiB`".to_owned());
    }
    size(text).map(QueueLimit::Bytes)
}

/// A port, 1 to 65535.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.trim().parse::<u64>() {
        Ok(n @ 1..=65_535) => Ok(n as u16),
        Ok(n) => Err(format!("{n} is not a port: ports go from 1 to 65535")),
        Err(_) => Err(format!("`{}` is not a port: ports go from 1 to 65535", text.trim())),
    }
}

/// Ports: `10001-` (to the end), `10001-20000`, or one.
pub(crate) fn ports(text: &str) -> Result<PortRange, String> {
    let (first, last) = match text.split_once('-') {
        Some((first, "")) => (port(first)?, u16::MAX),
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        Err(format!("the range ends ({last}) before it begins ({first})"))
    } else {
        Ok(PortRange { first, last })
    }
}

/// Days from 1970-01-01 to a civil date (proleptic Gregorian; Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Civil time in UTC to seconds since 1970: `2026-01-15`, `2026-01-15T12:00:00Z`, or whole seconds.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not an instant: write it like `2026-01-15T12:00:00Z`");
    if let Ok(seconds) = text.parse::<u64>() {
        return if seconds <= 253_402_300_799 { Ok(seconds) } else { Err(bad()) };
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let date: Vec<i64> = date.split('-').map(digits).collect::<Option<_>>().ok_or_else(bad)?;
    let time = time.strip_suffix('Z').ok_or_else(bad)?;
    let time: Vec<i64> = time.split(':').map(digits).collect::<Option<_>>().ok_or_else(bad)?;
    let (&[year, month, day], &[hour, minute, second]) = (&*date, &*time) else { return Err(bad()) };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=length[(month - 1).clamp(0, 11) as usize]).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return Err(bad());
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(seconds).map_err(|_| bad())
}

fn digits(text: &str) -> Option<i64> {
    let fits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

/// Writes a span so that [`duration`] reads the same: `4ms`, `1500us`.
pub(crate) fn show_duration(span: Nanos) -> String {
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    match units.iter().find(|(_, n)| span.0.is_multiple_of(*n)) {
        Some(_) if span.0 == 0 => "0s".to_owned(),
        Some((name, n)) => format!("{}{name}", span.0 / n),
        None => format!("{}ns", span.0),
    }
}

/// Writes a limit with the largest unit that fits: `1d`, `2min`, `1ms`.
pub(crate) fn show_limit(span: Nanos) -> String {
    let units = [("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("min", 60_000_000_000)];
    match units.iter().find(|(_, n)| span.0 > 0 && span.0.is_multiple_of(*n)) {
        Some((name, n)) => format!("{}{name}", span.0 / n),
        None => show_duration(span),
    }
}

/// Writes a size so that [`size`] reads the same: `64MiB`, `4000000000`.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000)];
    match units.iter().find(|(_, n)| bytes > 0 && bytes.is_multiple_of(*n)) {
        Some((name, n)) => format!("{}{name}", bytes / n),
        None => bytes.to_string(),
    }
}

/// Writes a rate so that [`rate`] reads the same.
pub(crate) fn show_rate(bps: u64) -> String {
    let units = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];
    match units.iter().find(|(_, n)| bps.is_multiple_of(*n)) {
        Some((name, n)) => format!("{}{name}", bps / n),
        None => format!("{bps}bit/s"),
    }
}

/// Writes a share so that [`share`] reads the same.
pub(crate) fn show_share(ppm: u32) -> String {
    if ppm.is_multiple_of(10_000) { format!("{}%", ppm / 10_000) } else { format!("{ppm}ppm") }
}

/// Writes a queue limit so that [`queue`] reads the same.
pub(crate) fn show_queue(queue: QueueLimit) -> String {
    match queue {
        QueueLimit::Packets(n) => format!("{n} packets"),
        QueueLimit::Bytes(n) => format!("{n}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_exact() {
        assert_eq!(duration("1.2s"), Ok(Nanos(1_200_000_000)));
        assert_eq!(duration("8.320us"), Ok(Nanos(8_320)));
        assert_eq!(rate("2.5Gbit/s"), Ok(2_500_000_000));
        assert_eq!(share("0.5%"), Ok(5_000));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(ports("10001-"), Ok(PortRange { first: 10_001, last: 65_535 }));
        assert_eq!(instant("2026-01-15T12:00:00Z"), Ok(1_768_478_400));
        assert_eq!(instant("1970-01-01"), Ok(0));
        assert_eq!(instant("2000-02-29"), Ok(951_782_400));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(duration("-4ms"), Err("it is negative".to_owned()));
        assert!(duration("4").is_err_and(|e| e.contains("needs a unit")));
        assert!(share("101%").is_err());
        assert!(port("70000").is_err());
        assert!(instant("2025-02-29").is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        for n in [0, 1, 999, 1_000, 1_500_000, 4_000_000, 60_000_000_000, 123_456_789] {
            assert_eq!(duration(&show_duration(Nanos(n))), Ok(Nanos(n)));
            assert_eq!(duration(&show_limit(Nanos(n))), Ok(Nanos(n)));
            assert_eq!(size(&show_size(n)), Ok(n));
        }
    }
}
