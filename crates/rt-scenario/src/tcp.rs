//! The key `tcp:` of a machine: read into [`TcpOptions`], and written out again for `show --expanded`.
//!
//! Each option stands once in [`read`] and once in [`written`]; a test holds both against the language's table.

use rt_base::Nanos;

use crate::model::{Congestion, Ecn, FastOpen, Keepalive, SynCookies, System, TcpOptions};
use crate::tree::Value;
use crate::units::{self, show_duration};

/// The words of `system:`, in the order of [`System`].
pub(crate) const SYSTEMS: &[&str] = &["linux", "freebsd", "macos", "constrained"];
/// The words of `congestion:`.
pub(crate) const CONGESTION: &[&str] = &["cubic", "reno", "bbr"];
/// The words of `ecn:`.
pub(crate) const ECN: &[&str] = &["off", "accept", "ask"];
/// The words of `fast-open:`.
pub(crate) const FAST_OPEN: &[&str] = &["off", "client", "server", "both"];
/// The words of `syn-cookies:`.
pub(crate) const SYN_COOKIES: &[&str] = &["off", "when-full", "always"];

const SYSTEM_VALUES: &[System] = &[System::Linux, System::Freebsd, System::Macos, System::Constrained];
const CONGESTION_VALUES: &[Congestion] = &[Congestion::Cubic, Congestion::Reno, Congestion::Bbr];
const ECN_VALUES: &[Ecn] = &[Ecn::Off, Ecn::Accept, Ecn::Ask];
const FAST_OPEN_VALUES: &[FastOpen] = &[FastOpen::Off, FastOpen::Client, FastOpen::Server, FastOpen::Both];
const SYN_COOKIES_VALUES: &[SynCookies] = &[SynCookies::Off, SynCookies::WhenFull, SynCookies::Always];

/// Reads what is written; the shapes have been checked.
pub(crate) fn read(value: &Value, into: &mut TcpOptions) {
    let number = |key: &str| value.whole_at(key).and_then(|n| u32::try_from(n).ok());
    let size = |key: &str| value.str_at(key).and_then(|t| units::size(t).ok());
    let set = |field: &mut Option<bool>, key: &str| *field = value.flag_at(key).or(*field);
    let after = |field: &mut Option<Nanos>, key: &str| *field = value.duration_at(key).or(*field);
    let t = into;
    t.system = word(value, "system", SYSTEMS, SYSTEM_VALUES).unwrap_or(t.system);
    t.congestion = word(value, "congestion", CONGESTION, CONGESTION_VALUES).or(t.congestion);
    t.ecn = word(value, "ecn", ECN, ECN_VALUES).or(t.ecn);
    t.fast_open = word(value, "fast-open", FAST_OPEN, FAST_OPEN_VALUES).or(t.fast_open);
    t.syn_cookies = word(value, "syn-cookies", SYN_COOKIES, SYN_COOKIES_VALUES).or(t.syn_cookies);
    set(&mut t.hystart, "hystart");
    set(&mut t.pacing, "pacing");
    set(&mut t.rack, "rack");
    set(&mut t.tail_probes, "tail-probes");
    set(&mut t.nagle, "nagle");
    set(&mut t.timestamps, "timestamps");
    set(&mut t.window_scaling, "window-scaling");
    set(&mut t.sack, "sack");
    set(&mut t.path_mtu_discovery, "path-mtu-discovery");
    after(&mut t.delayed_ack, "delayed-ack");
    after(&mut t.rto_initial, "rto-initial");
    after(&mut t.rto_min, "rto-min");
    after(&mut t.user_timeout, "user-timeout");
    after(&mut t.msl, "msl");
    t.initial_window = number("initial-window").or(t.initial_window);
    t.syn_queue = number("syn-queue").or(t.syn_queue);
    t.accept_queue = number("accept-queue").or(t.accept_queue);
    t.quick_acks = number("quick-acks").and_then(|n| u8::try_from(n).ok()).or(t.quick_acks);
    t.max_segment = size("max-segment").map(|n| u16::try_from(n).unwrap_or(u16::MAX)).or(t.max_segment);
    let window = size("initial-receive-window").map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    t.initial_receive_window = window.or(t.initial_receive_window);
    t.buffers = size("buffers").map(|n| u32::try_from(n).unwrap_or(u32::MAX)).or(t.buffers);
    if let Some(probes) = value.get("keepalive") {
        t.keepalive = Some(Keepalive {
            idle: probes.duration_at("idle").unwrap_or(Nanos::from_secs(7_200)),
            interval: probes.duration_at("interval").unwrap_or(Nanos::from_secs(75)),
            count: probes.whole_at("count").and_then(|n| u8::try_from(n).ok()).unwrap_or(9),
        });
    }
}

/// The value whose word stands at `key`.
fn word<T: Copy>(value: &Value, key: &str, words: &[&str], values: &[T]) -> Option<T> {
    let said = value.str_at(key)?;
    words.iter().position(|w| *w == said).and_then(|at| values.get(at)).copied()
}

/// The word for a value.
fn said<T: PartialEq>(value: &T, words: &[&str], values: &[T]) -> String {
    let at = values.iter().position(|v| v == value);
    at.and_then(|at| words.get(at)).copied().unwrap_or_default().to_owned()
}

/// What was said, as keys and values of a scenario file.
pub(crate) fn written(t: &TcpOptions) -> Vec<(&'static str, String)> {
    let flag = |f: Option<bool>| f.map(|f| if f { "yes" } else { "no" }.to_owned());
    let time = |d: Option<Nanos>| d.map(show_duration);
    let keepalive = |k: Keepalive| {
        let (idle, interval) = (show_duration(k.idle), show_duration(k.interval));
        format!("{{ idle: {idle}, interval: {interval}, count: {} }}", k.count)
    };
    let entries = [
        ("system", (t.system != System::Linux).then(|| said(&t.system, SYSTEMS, SYSTEM_VALUES))),
        ("congestion", t.congestion.map(|c| said(&c, CONGESTION, CONGESTION_VALUES))),
        ("initial-window", t.initial_window.map(|n| n.to_string())),
        ("hystart", flag(t.hystart)),
        ("pacing", flag(t.pacing)),
        ("rack", flag(t.rack)),
        ("tail-probes", flag(t.tail_probes)),
        ("nagle", flag(t.nagle)),
        ("timestamps", flag(t.timestamps)),
        ("window-scaling", flag(t.window_scaling)),
        ("sack", flag(t.sack)),
        ("ecn", t.ecn.map(|e| said(&e, ECN, ECN_VALUES))),
        ("fast-open", t.fast_open.map(|f| said(&f, FAST_OPEN, FAST_OPEN_VALUES))),
        ("syn-cookies", t.syn_cookies.map(|c| said(&c, SYN_COOKIES, SYN_COOKIES_VALUES))),
        ("syn-queue", t.syn_queue.map(|n| n.to_string())),
        ("accept-queue", t.accept_queue.map(|n| n.to_string())),
        ("delayed-ack", time(t.delayed_ack)),
        ("quick-acks", t.quick_acks.map(|n| n.to_string())),
        ("rto-initial", time(t.rto_initial)),
        ("rto-min", time(t.rto_min)),
        ("keepalive", t.keepalive.map(keepalive)),
        ("user-timeout", time(t.user_timeout)),
        ("max-segment", t.max_segment.map(|n| n.to_string())),
        ("path-mtu-discovery", flag(t.path_mtu_discovery)),
        ("initial-receive-window", t.initial_receive_window.map(|n| n.to_string())),
        ("buffers", t.buffers.map(|n| n.to_string())),
        ("msl", time(t.msl)),
    ];
    entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of the language is read and written: what is said about all of them comes back.
    #[test]
    fn what_is_said_comes_back() {
        let all = TcpOptions {
            system: System::Macos,
            congestion: Some(Congestion::Reno),
            initial_window: Some(4),
            hystart: Some(false),
            pacing: Some(true),
            rack: Some(false),
            tail_probes: Some(false),
            nagle: Some(false),
            timestamps: Some(false),
            window_scaling: Some(false),
            sack: Some(false),
            ecn: Some(Ecn::Ask),
            fast_open: Some(FastOpen::Both),
            syn_cookies: Some(SynCookies::Always),
            syn_queue: Some(16),
            accept_queue: Some(8),
            delayed_ack: Some(Nanos::from_millis(100)),
            quick_acks: Some(2),
            rto_initial: Some(Nanos::from_secs(3)),
            rto_min: Some(Nanos::from_millis(30)),
            keepalive: Some(Keepalive {
                idle: Nanos::from_secs(20),
                interval: Nanos::from_secs(5),
                count: 3,
            }),
            user_timeout: Some(Nanos::from_secs(30)),
            max_segment: Some(1_360),
            path_mtu_discovery: Some(false),
            initial_receive_window: Some(28_960),
            buffers: Some(65_536),
            msl: Some(Nanos::from_secs(15)),
        };
        let text = |t: &TcpOptions| {
            let entries: Vec<String> = written(t).iter().map(|(k, v)| format!("{k}: {v}")).collect();
            format!(
                "name: a\ntopology: {{ nodes: {{ a: {{ address: 10.0.0.1/24, tcp: {{ {} }} }} }} }}\n",
                entries.join(", ")
            )
        };
        let model = crate::load("all.yaml", &text(&all)).expect("in order").model;
        assert_eq!(model.nodes[0].stack.tcp, all);
        // `isns` stands beside them in the file.
        assert_eq!(written(&all).len() + 1, crate::language::TCP.keys[0].len());
    }
}
