//! A forward proxy, and a browser's use of one.

use ipnet::IpNet;
use rt_base::Nanos;
use serde::{Deserialize, Serialize};

use super::CacheRules;

/// A proxy on the clients' side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForwardProxy {
    /// TCP port.
    pub port: u16,
    /// Sites that it refuses.
    pub block: Vec<String>,
    /// Clients that may use it; all when empty.
    pub allow: Vec<IpNet>,
    /// Ports to which CONNECT may lead.
    pub connect_ports: Vec<u16>,
    /// Who may use it: names and passwords; all when empty.
    pub users: Vec<(String, String)>,
    /// What servers hear of the client.
    pub reveals: Reveals,
    /// Whether it names itself in Via.
    pub via: bool,
    /// Whether it keeps an access log.
    pub log: bool,
    /// It keeps responses.
    pub cache: Option<CacheRules>,
    /// It reads what goes through CONNECT.
    pub inspect: Option<Inspection>,
    /// Time per request.
    pub think: Nanos,
    /// How long an idle connection to a server is kept.
    pub idle: Option<Nanos>,
    /// How long a server may take.
    pub timeout: Option<Nanos>,
}

/// What servers hear of a proxy's client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reveals {
    /// Its address in X-Forwarded-For.
    #[default]
    On,
    /// That there is somebody.
    Off,
    /// What the client wrote.
    Transparent,
    /// Nothing.
    Delete,
    /// Its address in Forwarded (RFC 7239).
    Rfc7239,
}

/// A proxy that reads TLS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inspection {
    /// Its authority.
    pub ca: String,
    /// Hosts that it leaves alone.
    pub except: Vec<String>,
    /// A port to which destination NAT brings connections.
    pub intercept: Option<u16>,
}

/// A forward proxy that a browser uses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BrowserProxy {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name and password that it says.
    pub user: Option<(String, String)>,
    /// Hosts that it asks directly.
    pub except: Vec<String>,
}
