//! What a machine is set to before and while it runs: addresses, personality, and the sysctls of Linux and FreeBSD that
//! mean something to this stack.
//!
//! Names are matched as `sysctl` writes them (`net.ipv4.tcp_sack`, `net.inet.tcp.sack.enable`); Linux names may come
//! without `net.ipv4.` and with slashes (`/proc/sys/net/ipv4/tcp_sack`).

use core::fmt;
use std::net::Ipv4Addr;

use rt_stack::tcp::{CongestionKind, TcpConfig};

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
    /// What would have been right (`a number`, `linux, freebsd, macos or constrained`).
    pub expected: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = '{}': expected {}", self.name, self.value, self.expected)
    }
}

impl std::error::Error for SettingError {}

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
    /// The machine's TCP.
    pub tcp: TcpConfig,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            local_ip: Ipv4Addr::new(192, 168, 0, 1),
            remote_ip: Ipv4Addr::new(192, 0, 2, 1),
            gateway: Ipv4Addr::new(192, 168, 0, 2),
            mtu: 1_500,
            tcp: TcpConfig::default(),
        }
    }
}

impl Settings {
    /// Sets one thing by name: `personality`, `local_ip`, `remote_ip`, `gateway`, `mtu`, or a sysctl. `personality`
    /// replaces all that sysctls have set, so it comes first.
    ///
    /// # Errors
    /// When the name is known and the value is impossible. Nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Applied, SettingError> {
        let _ = (name, value);
        Ok(Applied::Unknown)
    }

    /// Sets everything in `name=value,name=value` (the form of packetdrill's `--so_flags`), the personality first.
    /// Returns the names that nobody knows.
    ///
    /// # Errors
    /// The first impossible value; what came before it has taken effect.
    pub fn parse_flags(&mut self, flags: &str) -> Result<Vec<String>, SettingError> {
        let _ = flags;
        Ok(Vec::new())
    }
}

impl Settings {
    /// `SO_RCVBUF` of a new socket.
    pub(super) fn receive_buffer(&self) -> i32 {
        i32::try_from(self.tcp.recv_buffer).unwrap_or(i32::MAX)
    }

    /// `SO_SNDBUF` of a new socket.
    pub(super) fn send_buffer(&self) -> i32 {
        i32::try_from(self.tcp.send_buffer).unwrap_or(i32::MAX)
    }
}

/// A congestion control by Linux's name.
pub(super) fn congestion(name: &str) -> Option<CongestionKind> {
    match name {
        "cubic" => Some(CongestionKind::Cubic),
        "reno" | "newreno" => Some(CongestionKind::Reno),
        _ => None,
    }
}

/// Linux's name of a congestion control.
pub(super) fn congestion_name(kind: CongestionKind) -> &'static str {
    match kind {
        CongestionKind::Cubic => "cubic",
        CongestionKind::Reno => "reno",
    }
}
