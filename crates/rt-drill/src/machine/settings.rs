//! What a machine is set to before and while it runs: addresses, personality, and the sysctls of Linux and FreeBSD that
//! mean something to this stack (`sysctl`).
//!
//! Simplified: a sysctl concerns the machine, whatever interface or family its name speaks of.

use core::fmt;
use std::net::Ipv4Addr;

use rt_stack::tcp::{CongestionKind, TcpConfig};

use super::sysctl;

/// What became of a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It took effect.
    Yes,
    /// The name is known, and nothing in this machine depends on it (`net.core.default_qdisc`).
    Ignored,
    /// Nobody here knows the name: worth a warning.
    Unknown,
}

/// A setting that cannot be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingError {
    /// The name as it was given.
    pub name: String,
    /// The value as it was given.
    pub value: String,
    /// What would have been right (`a number`, `linux, linux-4, freebsd, freebsd-11, macos or constrained`).
    pub expected: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = '{}': expected {}", self.name, self.value, self.expected)
    }
}

impl std::error::Error for SettingError {}

/// Whose behaviour a machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Personality {
    /// Linux 6.
    Linux,
    /// Linux before 5.4.
    Linux4,
    /// FreeBSD 14.
    FreeBsd,
    /// FreeBSD 11.
    FreeBsd11,
    /// macOS.
    MacOs,
    /// A small device.
    Constrained,
}

impl Personality {
    /// `freebsd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Personality::Linux => "linux",
            Personality::Linux4 => "linux-4",
            Personality::FreeBsd => "freebsd",
            Personality::FreeBsd11 => "freebsd-11",
            Personality::MacOs => "macos",
            Personality::Constrained => "constrained",
        }
    }

    fn by_name(name: &str) -> Option<Personality> {
        use Personality::{Constrained, FreeBsd, FreeBsd11, Linux, Linux4, MacOs};
        [Linux, Linux4, FreeBsd, FreeBsd11, MacOs, Constrained]
            .into_iter()
            .find(|personality| personality.name().eq_ignore_ascii_case(name))
    }
}

/// The settings of one machine. The default is what the set-up script of the well-known packetdrill collections sets
/// on Linux.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Address of the machine under test (`local_ip`).
    pub local_ip: Ipv4Addr,
    /// Address of the first host behind the wire (`remote_ip`).
    pub remote_ip: Ipv4Addr,
    /// The only way out (`gateway`).
    pub gateway: Ipv4Addr,
    /// Largest IPv4 packet on the wire in bytes (`mtu`).
    pub mtu: u16,
    /// Whose behaviour (`personality`).
    pub personality: Personality,
    /// The machine's TCP.
    pub tcp: TcpConfig,
    /// `tcp_rmem`: smallest, first and largest receive buffer in bytes, as the system counts them.
    pub rmem: [u32; 3],
    /// `tcp_wmem`, likewise for sending.
    pub wmem: [u32; 3],
}

/// What the collections' set-up script sets: `name`, `value`.
const CUSTOMARY: &[(&str, &str)] = &[
    ("net.ipv4.tcp_rmem", "4096 540000 15728640"),
    ("net.ipv4.tcp_wmem", "4096 262144 4194304"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_syn_retries", "5"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_frto", "2"),
    ("net.ipv4.tcp_sack", "1"),
    ("net.ipv4.tcp_dsack", "1"),
    ("net.ipv4.tcp_reordering", "3"),
    ("net.ipv4.tcp_recovery", "1"),
    ("net.ipv4.tcp_early_retrans", "4"),
    ("net.ipv4.tcp_tso_win_divisor", "3"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ("net.ipv4.tcp_ecn", "0"),
    ("net.ipv4.tcp_fastopen", "0x70403"),
    ("net.ipv4.tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"),
    ("net.ipv4.tcp_syncookies", "1"),
];

impl Default for Settings {
    fn default() -> Settings {
        let mut settings = Settings {
            local_ip: Ipv4Addr::new(192, 168, 0, 1),
            remote_ip: Ipv4Addr::new(192, 0, 2, 1),
            gateway: Ipv4Addr::new(192, 168, 0, 2),
            mtu: 1_500,
            personality: Personality::Linux,
            tcp: TcpConfig::linux(),
            rmem: [0; 3],
            wmem: [0; 3],
        };
        settings.adopt(Personality::Linux);
        settings
    }
}

impl Settings {
    /// Begins anew with a personality's TCP; on Linux with the customary sysctls.
    fn adopt(&mut self, personality: Personality) {
        self.personality = personality;
        self.tcp = match personality {
            Personality::Linux => TcpConfig::linux(),
            Personality::Linux4 => TcpConfig::linux_4(),
            Personality::FreeBsd => TcpConfig::freebsd(),
            Personality::FreeBsd11 => TcpConfig::freebsd_11(),
            Personality::MacOs => TcpConfig::macos(),
            Personality::Constrained => TcpConfig::constrained(),
        };
        // Programs read TCP_INFO.
        self.tcp.delivery_rates = true;
        self.rmem = [2_048, self.tcp.initial_window, self.tcp.recv_buffer];
        self.wmem = [2_048, self.tcp.send_buffer.min(32_768), self.tcp.send_buffer];
        if matches!(personality, Personality::Linux | Personality::Linux4) {
            for (name, value) in CUSTOMARY {
                let applied = self.set(name, value);
                debug_assert!(applied.is_ok(), "{name} = {value}");
            }
        }
    }

    /// Sets one thing by name: `personality`, `local_ip`, `remote_ip`, `gateway`, `mtu`, or a sysctl as `sysctl` writes
    /// them (`net.ipv4.tcp_sack`, `net.inet.tcp.sack.enable`); Linux names may come without `net.ipv4.`, and as paths
    /// below `/proc/sys`. `personality` replaces all that sysctls have set, so it comes first.
    ///
    /// # Errors
    /// When the name is known and the value is impossible. Nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Applied, SettingError> {
        let value = value.trim();
        let wrong = |expected| SettingError { name: name.to_string(), value: value.to_string(), expected };
        let address = || value.parse::<Ipv4Addr>().map_err(|_| wrong("an IPv4 address"));
        match name {
            "personality" => {
                let expected = "linux, linux-4, freebsd, freebsd-11, macos or constrained";
                self.adopt(Personality::by_name(value).ok_or_else(|| wrong(expected))?);
            }
            "local_ip" => self.local_ip = address()?,
            "remote_ip" => self.remote_ip = address()?,
            "gateway" | "gateway_ip" => self.gateway = address()?,
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| *mtu >= 68);
                self.mtu = mtu.ok_or_else(|| wrong("a number from 68 to 65535"))?;
            }
            _ => return sysctl::set(self, name, value).map_err(wrong),
        }
        Ok(Applied::Yes)
    }

    /// Sets everything in `name=value,name=value` (the form of packetdrill's `--so_flags`), the personality first.
    /// Returns the names that nobody knows. A value of several numbers has spaces between them
    /// (`tcp_rmem=4096 131072 6291456`).
    ///
    /// # Errors
    /// The first impossible value; what came before it has taken effect.
    pub fn parse_flags(&mut self, flags: &str) -> Result<Vec<String>, SettingError> {
        let pairs: Vec<(&str, &str)> = flags
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "1")))
            .map(|(name, value)| (name.trim(), value))
            .collect();
        let (first, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| *name == "personality");
        let mut unknown = Vec::new();
        for (name, value) in first.into_iter().chain(rest) {
            if self.set(name, value)? == Applied::Unknown {
                unknown.push(name.to_string());
            }
        }
        Ok(unknown)
    }

    /// `SO_RCVBUF` of a new socket.
    pub(super) fn receive_buffer(&self) -> i32 {
        i32::try_from(self.rmem[1]).unwrap_or(i32::MAX)
    }

    /// `SO_SNDBUF` of a new socket.
    pub(super) fn send_buffer(&self) -> i32 {
        i32::try_from(self.wmem[1]).unwrap_or(i32::MAX)
    }

    /// Whether the machine descends from BSD.
    pub(super) fn is_bsd(&self) -> bool {
        matches!(self.personality, Personality::FreeBsd | Personality::FreeBsd11 | Personality::MacOs)
    }
}

/// A congestion control by its name.
pub(super) fn congestion(name: &str) -> Option<CongestionKind> {
    match name {
        "cubic" => Some(CongestionKind::Cubic),
        "reno" | "newreno" => Some(CongestionKind::Reno),
        "bbr" => Some(CongestionKind::Bbr),
        _ => None,
    }
}

/// Linux's name of a congestion control.
pub(super) fn congestion_name(kind: CongestionKind) -> &'static str {
    match kind {
        CongestionKind::Cubic => "cubic",
        CongestionKind::Reno => "reno",
        CongestionKind::Bbr => "bbr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_effect_with_the_personality_first() {
        let mut settings = Settings::default();
        let flags = "net.inet.tcp.sack.enable=0, personality=freebsd,tcp_rmem=4096 131072 6291456,nonsense=3";
        assert_eq!(settings.parse_flags(flags), Ok(vec!["nonsense".to_string()]));
        assert_eq!(settings.personality, Personality::FreeBsd);
        assert!(!settings.tcp.sack);
        assert_eq!(settings.rmem, [4_096, 131_072, 6_291_456]);
    }

    #[test]
    fn an_impossible_value_is_told_with_what_would_be_right() {
        let mut settings = Settings::default();
        let error = settings.set("net.ipv4.tcp_sack", "perhaps").unwrap_err();
        assert_eq!(error.to_string(), "net.ipv4.tcp_sack = 'perhaps': expected 0 or 1");
        assert!(settings.set("mtu", "67").is_err());
        assert!(settings.set("personality", "plan9").is_err());
    }

    #[test]
    fn the_default_is_customary() {
        let settings = Settings::default();
        assert_eq!(settings.tcp.window_shift(), 8);
        assert!(settings.tcp.fast_open.server && settings.tcp.fast_open.key.is_some());
        for (name, value) in CUSTOMARY {
            assert_ne!(Settings::default().set(name, value), Ok(Applied::Unknown), "{name}");
        }
    }
}
