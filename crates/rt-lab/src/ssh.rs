//! SSH servers, users and steps: the model's words in those of the apps. Keys are made from the seed and their names here.

use std::collections::BTreeMap;
use std::sync::Arc;

use rt_apps::ssh::{self, Identity, PublicKey, SshServer, User};
use rt_apps::{ConnectOptions, Net, StepFn};
use rt_scenario::model::{App, Model, Node, SshHome, Step, Verb};

/// The homes of the machines that have to do with SSH.
#[derive(Clone)]
pub(crate) struct Homes {
    seed: u64,
    all: BTreeMap<String, Arc<User>>,
}

impl Homes {
    pub(crate) fn new(model: &Model, seed: u64) -> Homes {
        let steps = model.steps.iter().filter(|s| matches!(s.verb, Verb::Ssh { .. }));
        let acting: Vec<usize> = steps.map(|s| s.node.index()).collect();
        let concerned = |(index, node): &(usize, &Node)| {
            let serves = node.apps.iter().any(|a| matches!(a, App::Ssh { .. }));
            serves || !node.ssh.is_empty() || acting.contains(index)
        };
        let nodes = model.nodes.iter().enumerate().filter(concerned);
        let all = nodes.map(|(_, node)| (node.name.clone(), Arc::new(user(seed, &node.ssh)))).collect();
        Homes { seed, all }
    }

    fn of(&self, name: &str) -> Arc<User> {
        let bare = || Arc::new(user(self.seed, &SshHome::default()));
        self.all.get(name).map_or_else(bare, Arc::clone)
    }
}

/// The host key of a machine.
pub(crate) fn host_key(seed: u64, machine: &str) -> Identity {
    Identity::drawn(seed, &format!("host {machine}"), machine)
}

/// The key of this name, or the one that the text is.
fn identity(seed: u64, key: &str) -> Identity {
    Identity::from_file(key).unwrap_or_else(|| Identity::drawn(seed, key, key))
}

/// The public half of the key of this name, or the one that the text is.
fn public(seed: u64, key: &str) -> PublicKey {
    PublicKey::from_line(key).unwrap_or_else(|| identity(seed, key).public())
}

fn user(seed: u64, home: &SshHome) -> User {
    let path = |file: &str| match file.contains('/') {
        true => file.to_owned(),
        false => format!("~/.ssh/{file}"),
    };
    let keys = home.keys.iter().map(|(file, key)| (path(file), identity(seed, key)));
    let agent = home.agent.iter().map(|key| identity(seed, key));
    let known =
        home.known_hosts.iter().map(|(host, machine)| (host.clone(), host_key(seed, machine).public()));
    let name = home.user.as_deref().unwrap_or("user");
    User::new(name, &home.config, keys.collect(), agent.collect(), known.collect())
}

/// Starts a server.
pub(crate) fn serve(net: &Net, node: &Node, homes: &Homes, app: &App) {
    let App::Ssh { port, users, tcp_forwarding, permit_open, agent_forwarding } = app else { return };
    let keys = |keys: &Vec<String>| keys.iter().map(|key| public(homes.seed, key)).collect();
    let server = SshServer {
        port: *port,
        host_key: host_key(homes.seed, &node.name),
        users: users.iter().map(|(user, of)| (user.clone(), keys(of))).collect(),
        tcp_forwarding: *tcp_forwarding,
        permit_open: permit_open.clone(),
        agent_forwarding: *agent_forwarding,
        home: homes.of(&node.name),
        hostname: node.name.rsplit('.').next().unwrap_or(&node.name).to_owned(),
    };
    net.serve("ssh server", server.run(net.clone()));
}

/// What a machine does when its user runs `ssh`.
pub(crate) fn step(step: &Step, machine: &str, homes: &Homes, arguments: &str, types: &[String]) -> StepFn {
    let (user, types) = (homes.of(machine), types.to_vec());
    let words = ssh::words(arguments);
    let first = ConnectOptions { local_port: step.source_port, isn: step.isn, ..ConnectOptions::default() };
    Box::new(move |net| Box::pin(ssh::run(net, user, words, types, first)))
}
