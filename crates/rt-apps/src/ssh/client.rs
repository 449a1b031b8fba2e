//! `ssh`: reaches a machine, through others if it must, proves who it is, runs something there.
//!
//! Deliberate simplifications. Keys only: nobody types a password. A person at the keyboard says yes to a host key that is new and
//! nobody can say yes to one that has changed; a program without a terminal cannot be asked and gives up, as ssh does. The
//! connections of one command end with it (no `ControlMaster`).

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use rt_base::{AppRecord, Nanos, ReqId, ReqKind, Wait};
use rt_stack::{ConnectOptions, SocketError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::agent::{self, Agent, Asking};
use super::channel::{Kind, Request};
use super::config::{Arguments, Config, Given, Plan, Strict, too_deep};
use super::conn::{ChannelStream, Conn};
use super::keys::{Identity, PublicKey};
use super::peer::{Event, Peer, sign};
use super::relay::relay;
use super::transport::{Fault, Transport, Trust};
use crate::TcpStream;
use crate::dns::RecordType;
use crate::net::Net;
use crate::step::StepResult;

/// What ssh itself ends with when something failed that was not the command.
pub(super) const FAILED: u32 = 255;
/// The other end's goodbye is waited for so long.
const PARTING: Nanos = Nanos::from_secs(1);
/// Bytes of output that a step keeps.
const MOST_OUTPUT: usize = 64 << 10;
/// A server's prompt ends so.
const PROMPT: &[u8] = b"$ ";

/// A user of a machine: what stands in `~/.ssh`, and the agent.
#[derive(Debug)]
pub struct User {
    name: String,
    config: Result<Config, String>,
    keys: Vec<(String, Identity)>,
    agent: Arc<Vec<Identity>>,
    known: Mutex<Vec<(String, PublicKey)>>,
}

impl User {
    /// `keys` are files with their paths (`~/.ssh/id_ed25519`), `known` is `known_hosts`.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        config: &str,
        keys: Vec<(String, Identity)>,
        agent: Vec<Identity>,
        known: Vec<(String, PublicKey)>,
    ) -> User {
        let (agent, known) = (Arc::new(agent), Mutex::new(known));
        User { name: name.into(), config: Config::parse(config), keys, agent, known }
    }

    fn known(&self, host: &str) -> Vec<PublicKey> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(name, _)| name == host).map(|(_, key)| *key).collect()
    }

    fn remember(&self, host: &str, key: PublicKey) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push((host.to_owned(), key));
    }

    /// The agent of this user's own machine.
    pub(super) fn agent(&self) -> Agent {
        Agent::Here(Arc::clone(&self.agent))
    }
}

/// Which connection a program on a server serves: the client's address, and the channel's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Downstream {
    pub(super) peer: SocketAddr,
    pub(super) channel: u32,
}

/// A way through other machines is found by the same function, so it is boxed.
type Reaching<'s> = Pin<Box<dyn Future<Output = Result<(Conn, Plan), String>> + Send + 's>>;

/// One run of `ssh`.
pub(super) struct Ssh {
    pub(super) net: Net,
    pub(super) user: Arc<User>,
    pub(super) agent: Agent,
    pub(super) req: ReqId,
    /// Who types: the name unless another is said.
    pub(super) name: String,
    /// Whether somebody can be asked.
    pub(super) person: bool,
    pub(super) first: ConnectOptions,
    pub(super) downstream: Option<Downstream>,
    /// What it prints on standard error.
    pub(super) errors: Vec<String>,
    hops: Vec<Conn>,
}

/// What the program's input and output are joined to.
pub(super) enum Terminal<'t> {
    /// A person who types these lines, each when there is a prompt.
    Person { types: VecDeque<String>, output: &'t mut Vec<u8> },
    /// A channel to somebody farther away.
    Channel(&'t mut ChannelStream),
}

/// `words` behind `ssh`, as the work of a step. The lines in `types` are typed at the far shell's prompts.
pub async fn run(
    net: Net,
    user: Arc<User>,
    words: Vec<String>,
    types: Vec<String>,
    first: ConnectOptions,
) -> StepResult {
    let req = net.new_req();
    let (kind, parent, target) = (ReqKind::Probe, ReqId(0), words.join(" "));
    net.say(AppRecord::RequestBegin { req, parent, kind, method: "ssh".into(), target });
    let agent = user.agent();
    let mut ssh = Ssh::new(net.clone(), user, agent, req);
    (ssh.person, ssh.first) = (true, first);
    let mut output = Vec::new();
    let status = ssh.run(&words, Terminal::Person { types: types.into(), output: &mut output }).await;
    let mut lines: Vec<String> = ssh.errors;
    lines.extend(String::from_utf8_lossy(&output).lines().map(|line| line.trim_end().to_owned()));
    let said = lines.iter().rev().find(|line| !line.is_empty()).cloned().unwrap_or_default();
    let summary = match (status, said.is_empty()) {
        (0, true) => "exit status 0".to_owned(),
        (_, true) => format!("exit status {status}"),
        (0, false) => said,
        (FAILED, false) => said,
        (_, false) => format!("{said} (exit status {status})"),
    };
    let result = StepResult { ok: status == 0, summary, lines, figures: Vec::new() };
    let (note, body_bytes) = (result.summary.clone(), output.len() as u64);
    net.say(AppRecord::RequestEnd { req, status: 0, ok: result.ok, body_bytes, note });
    result
}

impl Ssh {
    pub(super) fn new(net: Net, user: Arc<User>, agent: Agent, req: ReqId) -> Ssh {
        Ssh {
            net,
            name: user.name.clone(),
            user,
            agent,
            req,
            person: false,
            first: ConnectOptions::default(),
            downstream: None,
            errors: Vec::new(),
            hops: Vec::new(),
        }
    }

    fn say(&self, code: &str, label: &str, text: impl Into<String>, data: &[(&str, &str)]) {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (req, code, label, text) = (self.req, code.to_owned(), label.to_owned(), text.into());
        self.net.say(AppRecord::Measured { req, code, label, text, data });
    }

    /// Everything that one command does. Returns the exit status.
    pub(super) async fn run(&mut self, words: &[String], terminal: Terminal<'_>) -> u32 {
        let status = match self.try_run(words, terminal).await {
            Ok(status) => status,
            Err(why) => {
                self.say("ssh.failed", "failed", why.clone(), &[]);
                self.errors.push(why);
                FAILED
            }
        };
        for hop in self.hops.drain(..).rev() {
            // What runs inside has said goodbye: its channel is closed by both ends before this one goes.
            let _ = self.net.timeout(PARTING, Wait::Housekeeping, hop.quiet()).await;
            hop.leave();
        }
        status
    }

    async fn try_run(&mut self, words: &[String], terminal: Terminal<'_>) -> Result<u32, String> {
        let arguments = Arguments::parse(words)?;
        let (conn, plan) = self.reach(arguments.host.clone(), arguments.options.clone(), 0).await?;
        let forwarded = plan.forward_agent.then(|| self.agent.clone());
        let agent = forwarded.is_some();
        drop(self.net.spawn(attend(self.net.clone(), conn.clone(), forwarded)));
        let mut channel = conn.open(&Kind::Session).await.map_err(|(_, why)| why)?;
        if agent {
            channel.tell(&Request::Agent);
            self.say("ssh.agent", "agent", format!("{} may ask this machine's agent", plan.host), &[]);
        }
        if arguments.terminal || (arguments.command.is_none() && self.person) {
            channel.request(&Request::Pty { term: "xterm-256color".into() }).await;
        }
        let what = match &arguments.command {
            Some(command) => Request::Exec(command.clone()),
            None => Request::Shell,
        };
        let text = match &arguments.command {
            Some(command) => format!("{} runs `{command}` for {}", plan.host, plan.user),
            None => format!("{} gives {} a shell", plan.host, plan.user),
        };
        self.say("ssh.session", "session", text, &[("host", &plan.host)]);
        if !channel.request(&what).await {
            return Err("exec request failed on channel 0".to_owned());
        }
        self.converse(&mut channel, terminal).await;
        let status = channel.exit();
        let text = status.map_or("no exit status".to_owned(), |status| format!("exit status {status}"));
        self.say("ssh.exit", "ends", text, &[]);
        drop(channel);
        Ok(status.unwrap_or(FAILED))
    }

    /// Until the far end has nothing more to say.
    async fn converse(&mut self, channel: &mut ChannelStream, terminal: Terminal<'_>) {
        match terminal {
            Terminal::Person { mut types, output } => {
                let mut space = [0; 4096];
                if types.is_empty() {
                    let _ = channel.shutdown().await;
                }
                while let Ok(n) = channel.read(&mut space).await {
                    if n == 0 {
                        break;
                    }
                    let room = MOST_OUTPUT.saturating_sub(output.len());
                    output.extend(&space[..n.min(room)]);
                    if output.ends_with(PROMPT)
                        && let Some(line) = types.pop_front()
                    {
                        let _ = channel.write_all(format!("{line}\n").as_bytes()).await;
                    } else if output.ends_with(PROMPT) {
                        let _ = channel.shutdown().await;
                    }
                }
                channel.closed().await;
                let errors = String::from_utf8_lossy(&channel.take_errors()).into_owned();
                self.errors.extend(errors.lines().map(|line| line.trim_end().to_owned()));
            }
            Terminal::Channel(outer) => {
                relay(outer, channel).await;
                channel.closed().await;
                let _ = outer.write_errors(&channel.take_errors()).await;
            }
        }
    }

    /// A connection to `host` on which we are logged in.
    fn reach(&mut self, host: String, options: Vec<Given>, depth: usize) -> Reaching<'_> {
        Box::pin(async move {
            if too_deep(depth) {
                return Err(format!("jumphost loop via {host}"));
            }
            let user = Arc::clone(&self.user);
            let config = user.config.as_ref().map_err(Clone::clone)?;
            let mut plan = config.plan(&host, &options, &self.name)?;
            self.tell_plan(config, &plan);
            let trust = self.trust(&plan);
            let rng = self.net.rng(&format!("ssh.{}.{}", self.req.0, self.net.new_req().0));
            let peer = Peer::client(Transport::client(rng, trust));
            let conn = match plan.jumps.pop() {
                None => {
                    let stream = self.connect(&plan).await?;
                    Conn::start(&self.net, peer, stream)
                }
                Some(jump) => {
                    let rest = plan.jumps.join(",");
                    let more = Given { line: 0, name: "ProxyJump", value: rest };
                    let options = if more.value.is_empty() { Vec::new() } else { vec![more] };
                    let (outer, _) = self.reach(jump.clone(), options, depth + 1).await?;
                    drop(self.net.spawn(attend(self.net.clone(), outer.clone(), None)));
                    let channel = self.through(&outer, &jump, &plan).await?;
                    Conn::start(&self.net, peer, channel)
                }
            };
            self.hops.push(conn.clone());
            self.log_in(&conn, &plan).await?;
            Ok((conn, plan))
        })
    }

    fn tell_plan(&self, config: &Config, plan: &Plan) {
        let from = |given: &Given| match given.line {
            0 => "command line".to_owned(),
            line => match config.block_of(line) {
                Some(block) => format!("{block}, line {line}"),
                None => format!("line {line}"),
            },
        };
        for given in &plan.taken {
            let text = format!("{} {}", given.name, given.value);
            let (line, place) = (given.line.to_string(), from(given));
            let data = [("option", given.name), ("value", &given.value), ("line", &line), ("from", &place)];
            self.say("ssh.option", &plan.host, format!("{text}   ({place})"), &data);
        }
        let text = format!("{} port {} as {}", plan.hostname, plan.port, plan.user);
        let port = plan.port.to_string();
        let data = [
            ("host", plan.host.as_str()),
            ("hostname", &plan.hostname),
            ("user", &plan.user),
            ("port", &port),
        ];
        self.say("ssh.destination", &plan.host, text, &data);
    }

    fn trust(&self, plan: &Plan) -> Trust {
        let known = self.user.known(&plan.known_as);
        match plan.strict {
            _ if !known.is_empty() => Trust::Known(known),
            Strict::Yes => Trust::Known(Vec::new()),
            Strict::Ask if !self.person => Trust::Known(Vec::new()),
            Strict::New | Strict::Ask => Trust::New,
        }
    }

    /// A TCP connection to where the plan says.
    async fn connect(&mut self, plan: &Plan) -> Result<TcpStream, String> {
        let address = match plan.hostname.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                let answer = self.net.lookup(&plan.hostname, RecordType::A, self.req).await;
                let first = answer.ok().and_then(|answer| answer.addresses.first().copied());
                first.ok_or_else(|| {
                    format!("ssh: Could not resolve hostname {}: Name or service not known", plan.hostname)
                })?
            }
        };
        let to = SocketAddr::new(address, plan.port);
        let options = ConnectOptions { nodelay: true, ..std::mem::take(&mut self.first) };
        let connecting = self.net.tcp_connect(to, options);
        let stream = match plan.connect_timeout {
            Some(seconds) => {
                let within = Nanos::from_secs(seconds);
                let connected = self.net.timeout(within, Wait::Timeout, connecting).await;
                connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
            None => connecting.await,
        };
        let stream = stream.map_err(|error| {
            format!("ssh: connect to host {} port {}: {}", plan.hostname, plan.port, errno(&error))
        })?;
        let (local, remote) = (stream.local_addr(), stream.peer_addr());
        self.net.say(AppRecord::UsesConnection {
            req: self.req,
            local,
            remote,
            reused: false,
            protocol: "ssh".into(),
        });
        if let Some(Downstream { peer, channel }) = self.downstream {
            let what = "session".to_owned();
            self.net.say(AppRecord::Relayed { downstream: peer, channel, what, local, remote });
        }
        Ok(stream)
    }

    /// A TCP connection that `jump` makes for us (RFC 4254, 7.2).
    async fn through(&mut self, outer: &Conn, jump: &str, plan: &Plan) -> Result<ChannelStream, String> {
        let text = format!("a direct-tcpip channel to {} port {}", plan.hostname, plan.port);
        self.say("ssh.jump", jump, text, &[("via", jump), ("host", &plan.host)]);
        // What `ssh -W` says of where the connection comes from.
        let (host, port) = (plan.hostname.clone(), u32::from(plan.port));
        let kind = Kind::DirectTcpip { host, port, from: "127.0.0.1".into(), from_port: 65_535 };
        outer.open(&kind).await.map_err(|(reason, why)| {
            let reason = match reason {
                1 => "administratively prohibited",
                2 => "connect failed",
                3 => "unknown channel type",
                4 => "resource shortage",
                _ => "unknown reason",
            };
            self.errors.push(format!("channel 0: open failed: {reason}: {why}"));
            self.errors.push("stdio forwarding failed".to_owned());
            "Connection closed by UNKNOWN port 65535".to_owned()
        })
    }

    /// Proves who we are, by one key after the other.
    async fn log_in(&mut self, conn: &Conn, plan: &Plan) -> Result<(), String> {
        self.greet(conn, plan).await?;
        let closed = |fault: Fault| match fault.reason {
            0 => format!("Connection closed by {} port {}", plan.hostname, plan.port),
            reason => format!(
                "Received disconnect from {} port {}:{reason}: {}",
                plan.hostname, plan.port, fault.text
            ),
        };
        conn.act(|peer| peer.ask_ways(&plan.user));
        if answered(conn, &mut self.errors).await.map_err(closed)? == Answer::In {
            return Ok(());
        }
        let mut agent = self.agent.ask().await;
        let candidates = self.candidates(plan, agent.as_mut()).await;
        if candidates.is_empty() {
            let text = format!("no key to show to {}: none in a file, none from an agent", plan.host);
            self.say("ssh.no-key", &plan.host, text, &[("host", &plan.host)]);
        }
        for (key, comment, source) in candidates {
            conn.act(|peer| peer.ask_key(&plan.user, &key));
            let print = key.fingerprint();
            let (name, from) = match source {
                Source::Agent => (comment.as_str(), "the agent"),
                Source::File(_) => (comment.as_str(), "a file"),
            };
            let data = [("key", name), ("fingerprint", &print), ("source", from), ("user", &plan.user)];
            if answered(conn, &mut self.errors).await.map_err(closed)? != Answer::WouldDo {
                self.say(
                    "ssh.key-refused",
                    &plan.host,
                    format!("the key {name} is not welcome for {}", plan.user),
                    &data,
                );
                continue;
            }
            let challenge = conn.act(|peer| peer.challenge(&plan.user, &key));
            let signature = match &source {
                Source::File(identity) => Some(sign(identity, &challenge)),
                Source::Agent => match agent.as_mut() {
                    Some(agent) => agent.sign(&key, &challenge).await,
                    None => None,
                },
            };
            let Some(signature) = signature else { continue };
            conn.act(|peer| peer.prove(&plan.user, &key, &signature));
            if answered(conn, &mut self.errors).await.map_err(closed)? == Answer::In {
                let text = format!("as {} by the key {name} from {from}", plan.user);
                self.say("ssh.login", &plan.host, text, &data);
                return Ok(());
            }
        }
        conn.leave();
        Err(format!("{}@{}: Permission denied (publickey).", plan.user, plan.hostname))
    }

    /// Waits for keys to be agreed on, and judges the host's.
    async fn greet(&mut self, conn: &Conn, plan: &Plan) -> Result<(), String> {
        loop {
            match conn.event().await {
                Ok(Event::Service) => break,
                Ok(_) => {}
                Err(fault) => return Err(self.no_greeting(conn, plan, &fault)),
            }
        }
        let Some(key) = conn.host_key() else { return Err("no host key".to_owned()) };
        let print = key.fingerprint();
        let known = self.user.known(&plan.known_as).contains(&key);
        if !known {
            self.user.remember(&plan.known_as, key);
            self.errors.push(format!(
                "Warning: Permanently added '{}' (ED25519) to the list of known hosts.",
                plan.known_as
            ));
        }
        let text = if known { "the host key is the known one" } else { "a new host key, remembered" };
        self.say("ssh.host-key", &plan.host, format!("{text}: {print}"), &[("fingerprint", &print)]);
        Ok(())
    }

    fn no_greeting(&mut self, conn: &Conn, plan: &Plan, fault: &Fault) -> String {
        if let (9, Some(key)) = (fault.reason, conn.host_key()) {
            self.say_refused(plan, &key);
        }
        match (fault.reason, conn.host_key()) {
            (9, Some(key)) if !self.user.known(&plan.known_as).is_empty() => {
                self.errors.push("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @".to_owned());
                self.errors.push(format!(
                    "The fingerprint for the ED25519 key sent by the remote host is {}.",
                    key.fingerprint()
                ));
                fault.text.clone()
            }
            (9, Some(key)) => {
                self.errors.push(format!("ED25519 key fingerprint is {}.", key.fingerprint()));
                fault.text.clone()
            }
            (0, _) => format!("kex_exchange_identification: {}", fault.text),
            (3, _) => {
                format!("Unable to negotiate with {} port {}: {}", plan.hostname, plan.port, fault.text)
            }
            _ => fault.text.clone(),
        }
    }

    /// Which key was shown in whose name, and which one was expected.
    fn say_refused(&self, plan: &Plan, shown: &PublicKey) {
        let (print, name) = (shown.fingerprint(), plan.known_as.as_str());
        let known: Vec<String> = self.user.known(name).iter().map(PublicKey::fingerprint).collect();
        let expected = if known.is_empty() {
            let asks = if plan.strict == Strict::Yes {
                "StrictHostKeyChecking is yes"
            } else {
                "nobody can be asked"
            };
            format!("known_hosts has no key for {name}, and {asks}")
        } else {
            format!(
                "known_hosts has {} for {name}: another machine, or somebody in between",
                known.join(", ")
            )
        };
        let text = format!("the host key of {} is {print}, and {expected}", plan.host);
        let known = known.join(" ");
        let data = [("host", plan.host.as_str()), ("name", name), ("shown", &print), ("expected", &known)];
        self.say("ssh.host-key-refused", &plan.host, text, &data);
    }

    /// The keys to try, in ssh's order: those of the agent that were named, the agent's others, files.
    async fn candidates(&self, plan: &Plan, agent: Option<&mut Asking>) -> Vec<(PublicKey, String, Source)> {
        let at = |path: &String| self.user.keys.iter().find(|(p, _)| p == path).map(|(_, key)| key);
        let files: Vec<&Identity> = plan.identity_files.iter().filter_map(at).collect();
        let held = match agent {
            Some(agent) => agent.keys().await,
            None => Vec::new(),
        };
        let named = |key: &PublicKey| files.iter().any(|f| f.public() == *key);
        let (first, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|(key, _)| named(key));
        let others = if plan.identities_only { Vec::new() } else { others };
        let agents: Vec<(PublicKey, String)> = first.into_iter().chain(others).collect();
        let in_agent = |key: &PublicKey| agents.iter().any(|(k, _)| k == key);
        let rest: Vec<_> = files.iter().filter(|f| !in_agent(&f.public())).map(|f| (*f).clone()).collect();
        let agents = agents.into_iter().map(|(key, comment)| (key, comment, Source::Agent));
        agents.chain(rest.into_iter().map(|f| (f.public(), f.comment.clone(), Source::File(f)))).collect()
    }
}

enum Source {
    Agent,
    File(Identity),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    In,
    WouldDo,
    No,
}

/// The server's answer to a try; what it says besides is printed.
async fn answered(conn: &Conn, screen: &mut Vec<String>) -> Result<Answer, Fault> {
    loop {
        match conn.event().await? {
            Event::Welcome => return Ok(Answer::In),
            Event::KeyWelcome => return Ok(Answer::WouldDo),
            Event::Refused(_) => return Ok(Answer::No),
            Event::Banner(text) => screen.extend(text.lines().map(str::to_owned)),
            _ => {}
        }
    }
}

/// What the server may ask of a client while a session runs: the agent, if it was forwarded.
async fn attend(net: Net, conn: Conn, agent: Option<Agent>) {
    while let Ok(event) = conn.event().await {
        match (event, &agent) {
            (Event::Open { channel, kind: Kind::Agent }, Some(agent)) => {
                let (conn, agent) = (conn.clone(), agent.clone());
                drop(net.spawn(async move {
                    match agent.ask().await {
                        Some(asking) => agent::serve(conn.accept(channel), asking).await,
                        None => conn.act(|peer| peer.refuse(channel, 2, "no agent")),
                    }
                }));
            }
            (Event::Open { channel, .. }, _) => {
                conn.act(|peer| peer.refuse(channel, 1, "open failed"));
            }
            (Event::Asked { channel, reply: true, .. }, _) => conn.act(|peer| peer.respond(channel, false)),
            _ => {}
        }
    }
}

/// An error as the C library words it.
pub(super) fn errno(error: &io::Error) -> String {
    use io::ErrorKind as K;
    let words = match error.kind() {
        K::ConnectionRefused => "Connection refused",
        K::ConnectionReset => "Connection reset by peer",
        K::TimedOut => "Connection timed out",
        K::HostUnreachable => "No route to host",
        K::NetworkUnreachable => "Network is unreachable",
        K::PermissionDenied => "Permission denied",
        K::UnexpectedEof => "Connection closed by remote host",
        _ => match error.get_ref().and_then(|e| e.downcast_ref::<SocketError>()) {
            Some(inner) => inner.say(),
            None => return error.to_string(),
        },
    };
    words.to_owned()
}
