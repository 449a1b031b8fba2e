//! What a user has in `~/.ssh`.

use serde::{Deserialize, Serialize};

/// Keys, agent, known hosts and configuration of a machine's user. Keys are named; what they are follows from the name and the
/// run's seed, unless the name is a whole key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SshHome {
    /// The user's name; `user` when not given.
    pub user: Option<String>,
    /// Private keys: file (`id_ed25519`, or a path) and key.
    pub keys: Vec<(String, String)>,
    /// Keys that the agent holds.
    pub agent: Vec<String>,
    /// Names and addresses with the machine whose host key is known under them.
    pub known_hosts: Vec<(String, String)>,
    /// `~/.ssh/config`.
    pub config: String,
}

impl SshHome {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == SshHome::default()
    }
}
