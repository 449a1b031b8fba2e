//! SSH in a scenario: `ssh:` of a machine (what its user has in `~/.ssh`), `run: [ssh: ...]` (a server), and steps
//! `WHO runs ssh ...`.
//!
//! Not for what a configuration file means: that is read by the client that runs (`rt-apps`), in OpenSSH's words.

use rt_base::NodeId;

use crate::diag::{Code, Span};
use crate::lookup::Found;
use crate::model::{App, SshHome, Verb};
use crate::steps::StepDraft;
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// The port of a server unless it says otherwise.
pub(crate) const SSH_PORT: u16 = 22;

/// Options without a value that the client knows.
const PLAIN_OPTIONS: &str = "AatTqvxC4n";
/// Options with a value that the client knows.
const VALUED_OPTIONS: &str = "Jlpio";

/// Reads `ssh:` under `run:`.
pub(crate) fn read_server(world: &mut World<'_, '_>, value: &Value) -> App {
    let mut users = Vec::new();
    for (name, keys) in value.get("users").map(Value::entries).unwrap_or_default() {
        let keys: Vec<String> = keys.items().iter().filter_map(|k| world.read_public(k)).collect();
        users.push((name.text.clone(), keys));
    }
    let mut permit_open = Vec::new();
    for item in value.get("permit-open").map(Value::items).unwrap_or_default() {
        let text = item.text().unwrap_or("");
        match text.rsplit_once(':').and_then(|(host, port)| Some((host, units::port(port).ok()?))) {
            Some((host, port)) => permit_open.push((host.to_owned(), port)),
            None => {
                world
                    .problems
                    .add(Code::BadAddress, item.span, format!("`{text}` is no host and port"), "not a target")
                    .help("write it like `10.0.2.100:22`");
            }
        }
    }
    App::Ssh {
        port: value.str_at("port").and_then(|t| units::port(t).ok()).unwrap_or(SSH_PORT),
        users,
        tcp_forwarding: value.flag_at("tcp-forwarding").unwrap_or(true),
        permit_open,
        agent_forwarding: value.flag_at("agent-forwarding").unwrap_or(true),
    }
}

/// Whether a configuration has the option that runs a program for a connection.
fn proxy_command(config: &str) -> bool {
    let words = config.lines().filter_map(|line| line.trim_start().split([' ', '\t', '=']).next());
    words.into_iter().any(|word| word.eq_ignore_ascii_case("ProxyCommand"))
}

impl World<'_, '_> {
    /// The name of a key, or a public key as OpenSSH writes it.
    fn read_public(&mut self, value: &Value) -> Option<String> {
        let text = value.text()?.trim();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [_] => Some(text.to_owned()),
            ["ssh-ed25519", _, ..] => Some(text.to_owned()),
            _ => {
                self.problems
                    .add(Code::WrongShape, value.span, format!("`{text}` is no key"), "not a key")
                    .help("write the name of a key, such as `ana`, or a line as `ssh-keygen -t ed25519` makes it");
                None
            }
        }
    }

    /// Reads `ssh:` of a machine.
    pub(crate) fn read_ssh_home(&mut self, id: NodeId, value: &Value) {
        let Some(ssh) = value.get("ssh") else { return };
        let mut home = SshHome { user: ssh.str_at("user").map(str::to_owned), ..SshHome::default() };
        for (file, key) in ssh.get("keys").map(Value::entries).unwrap_or_default() {
            home.keys.extend(key.text().map(|key| (file.text.clone(), key.to_owned())));
        }
        let agent = ssh.get("agent").map(Value::items).unwrap_or_default();
        home.agent = agent.iter().filter_map(Value::text).map(str::to_owned).collect();
        for (host, machine) in ssh.get("known-hosts").map(Value::entries).unwrap_or_default() {
            home.known_hosts.extend(machine.text().map(|m| (host.text.clone(), m.to_owned())));
        }
        ssh.str_at("config").unwrap_or("").clone_into(&mut home.config);
        if let Some(config) = ssh.get("config").filter(|_| proxy_command(&home.config)) {
            let message = "the ssh of this world runs no `ProxyCommand`";
            let span = self.part(config, "ProxyCommand");
            self.problems
                .add(Code::WrongShape, span, message, "not known")
                .help("`ProxyJump bastion` goes on through another machine, as `ProxyCommand ssh -W %h:%p bastion` does");
        }
        self.node(id).node.ssh = home;
    }

    /// Verb and target of `runs ssh ...`.
    pub(crate) fn run_ssh(
        &mut self,
        sentence: &Value,
        words: &[&str],
        item: &Value,
    ) -> Option<(Verb, String)> {
        let ["runs", "ssh", rest @ ..] = words else {
            self.bad_step(sentence.span, "`runs` is followed by `ssh` and its arguments");
            return None;
        };
        if rest.is_empty() {
            let message = "ssh to which machine?";
            self.problems
                .add(Code::BadStep, sentence.span, message, "no destination")
                .help("steps look like `laptop runs ssh -J bastion db hostname`");
            return None;
        }
        self.check_ssh_options(sentence, rest);
        let types = item.get("types").map(Value::items).unwrap_or_default();
        let types = types.iter().filter_map(Value::text).map(str::to_owned).collect();
        Some((Verb::Ssh { arguments: rest.join(" "), types }, String::new()))
    }

    /// Options of `ssh` that the client here does not know (`rt-apps`, `ssh::config`), up to the command.
    fn check_ssh_options(&mut self, sentence: &Value, words: &[&str]) {
        let mut words = words.iter();
        let mut host = false;
        while let Some(word) = words.next() {
            let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
                // The destination, then the command, whose options are its own.
                if host {
                    return;
                }
                host = true;
                continue;
            };
            for (at, flag) in flags.char_indices() {
                let last = at + flag.len_utf8() == flags.len();
                if PLAIN_OPTIONS.contains(flag) {
                    continue;
                }
                if !VALUED_OPTIONS.contains(flag) {
                    self.no_ssh_option(self.part(sentence, word), flag);
                    return;
                }
                if last {
                    let _ = words.next();
                }
                break;
            }
        }
    }

    fn no_ssh_option(&mut self, span: Span, flag: char) {
        let help = match flag {
            'W' => {
                "`ssh -J bastion db` goes on through another machine (ProxyJump), which is what `-W` was for"
            }
            'L' | 'R' | 'D' | 'w' => {
                "ports are not forwarded here; `ssh -J bastion db` goes on through another machine"
            }
            _ => "there are `-J`, `-l`, `-p`, `-i`, `-o`, `-A`, `-a`, `-t`, `-T` and `-q`",
        };
        let message = format!("the ssh of this world does not know `-{flag}`");
        self.problems.add(Code::BadStep, span, message, "not known").help(help);
    }

    /// Machines that are named in an `ssh` step, or in a configuration file, are in the hosts files of whoever may have to
    /// resolve them: the machine that acts, and all that run a server.
    pub(crate) fn name_for_ssh(&mut self, actor: NodeId, verb: &Verb) {
        let Verb::Ssh { arguments, types } = verb else { return };
        let configs = self.nodes.iter().map(|n| n.node.ssh.config.as_str());
        let word = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        let texts = types.iter().map(String::as_str).chain(configs).chain([arguments.as_str()]);
        let names: std::collections::BTreeSet<String> =
            texts.flat_map(|text| text.split(word)).map(str::to_owned).collect();
        let serves = |app: &App| matches!(app, App::Ssh { .. });
        let ids = (0..self.nodes.len()).filter_map(|i| u32::try_from(i).ok()).map(NodeId);
        let all: Vec<NodeId> =
            ids.filter(|id| *id == actor || self.nodes[id.index()].node.apps.iter().any(serves)).collect();
        for name in names {
            if matches!(self.find_node(&name), Found::Node(_)) {
                all.iter().for_each(|id| self.name_by_hosts(*id, &name));
            }
        }
    }
}

/// Gives machines in `known-hosts` their full names; complains of those that are not there.
pub(crate) fn known_hosts(world: &mut World<'_, '_>) {
    for index in 0..world.nodes.len() {
        let span: Span = world.nodes[index].span;
        let mut known = std::mem::take(&mut world.nodes[index].node.ssh.known_hosts);
        for (_, machine) in &mut known {
            if let Some(node) = world.node_named(machine, span) {
                machine.clone_from(&world.nodes[node.index()].node.name);
            }
        }
        world.nodes[index].node.ssh.known_hosts = known;
    }
}

/// Whether a step's target is what ssh makes of it, not a name that is looked up as it stands.
pub(crate) fn is_ssh(draft: &StepDraft) -> bool {
    matches!(draft.step.verb, Verb::Ssh { .. })
}
