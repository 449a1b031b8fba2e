//! WebSocket: what answers at a web server's paths, and conversations.

use rt_base::Nanos;
use serde::{Deserialize, Serialize};

/// What answers at a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketKind {
    /// Sends back what it hears.
    Echo,
    /// Passes what one says on to everybody who is connected.
    Room,
    /// Says this by itself, numbered.
    Push {
        /// What.
        text: String,
        /// How often.
        every: Nanos,
    },
}

/// A conversation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Talk {
    /// Whether over TLS.
    pub secure: bool,
    /// Name or address.
    pub target: String,
    /// TCP port.
    pub port: u16,
    /// Path with query.
    pub path: String,
    /// Texts that are said, one after the other, each when the one before was answered.
    pub says: Vec<String>,
    /// A binary message of so many bytes after them.
    pub binary: Option<u32>,
    /// All of that so many times.
    pub times: u32,
    /// Pause between an answer and what is said next.
    pub every: Nanos,
    /// Listens for so long when everything is said.
    pub listens: Nanos,
    /// An answer is waited for so long.
    pub timeout: Nanos,
}
