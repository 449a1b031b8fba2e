//! SSH: servers, and what a user has in `~/.ssh`.

use super::machine::PORT_22;
use crate::shape::{Key, Shape, Ty, key, must};

static KEYS_TY: Ty = Ty::List(&Ty::Text);

pub(super) static SERVER: Shape = Shape {
    name: "an SSH server",
    about: "Lets in whose keys it knows, gives them a shell (`hostname`, `whoami`, `echo`, `ssh`, `ssh-add -l`, `exit`) and makes \
            connections for them.",
    keys: &[&[
        PORT_22,
        must(
            "users",
            Ty::Map("user", &KEYS_TY),
            "Who may log in with which keys: names of keys (made from the seed), or lines such as `ssh-ed25519 AAAA...`.",
        ),
        key(
            "tcp-forwarding",
            Ty::Flag,
            "Whether it makes connections for its users (AllowTcpForwarding; yes).",
        ),
        key(
            "permit-open",
            Ty::List(&Ty::Text),
            "Only to these, as the client writes them: `10.0.2.100:22` (PermitOpen).",
        ),
        key(
            "agent-forwarding",
            Ty::Flag,
            "Whether programs on it may ask a client's agent (AllowAgentForwarding; yes).",
        ),
    ]],
};

static HOME: Shape = Shape {
    name: "what a user has in ~/.ssh",
    about: "Keys, an agent, known hosts and the configuration of the user of a machine.",
    keys: &[&[
        key(
            "user",
            Ty::Name,
            "What the user is called here (`ana`); the name at the other end unless something else is said.",
        ),
        key(
            "keys",
            Ty::Map("file", &Ty::Text),
            "Private keys by their files: `id_ed25519: ana` has the key `ana`, made from the seed. A whole OpenSSH file is taken too.",
        ),
        key("agent", Ty::List(&Ty::Text), "Keys that the agent of this machine holds."),
        key(
            "known-hosts",
            Ty::Map("host", &Ty::Name),
            "Whose host key is known under a name or an address: `54.1.2.3: bastion`. To a new one a person says yes, once; a program \
             cannot.",
        ),
        key("config", Ty::Text, "The file `~/.ssh/config`, read as OpenSSH reads it."),
    ]],
};
pub(super) const HOME_KEY: Key = key("ssh", Ty::Object(&HOME), "What its user has in `~/.ssh`.");
