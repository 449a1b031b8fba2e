//! What web servers serve.

use serde::{Deserialize, Serialize};

use super::SocketKind;

/// What an HTTP server serves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pages {
    /// A built-in set: `google-home`, `hello`, `shop`.
    BuiltIn(String),
    /// Files given with the scenario.
    Files(Vec<PageFile>),
}

/// One path of a server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PageFile {
    /// Where it is, with the slash in front.
    pub path: String,
    /// Its content type.
    pub kind: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Where it leads instead: status and target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<(u16, String)>,
    /// Set-Cookie values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// Cache-Control, instead of the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
}

/// What a web server has beside its first certificate and default site.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hosting {
    /// More certificates: indices into [`super::Model::certificates`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<usize>,
    /// Other sites: a host name, whose first label may be `*`, and its pages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<(String, Pages)>,
    /// A name in the handshake that no certificate is for gets an alert.
    #[serde(default)]
    pub refuses_sni: bool,
    /// A host that the connection's certificate is not for gets 421.
    #[serde(default)]
    pub refuses_host: bool,
    /// Paths where it speaks WebSocket, whatever the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<(String, SocketKind)>,
}
