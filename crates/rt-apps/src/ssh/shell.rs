//! The shell behind a login. It knows a few commands: enough to see where one is, and to go on from there.
//!
//! Deliberate simplification: no files, pipes, variables of one's own or loops. Commands stand one per line or with `;` between
//! them; `$SSH_CONNECTION`, `$USER`, `$HOME` and `$SSH_AUTH_SOCK` are known.

use std::net::SocketAddr;
use std::sync::Arc;

use rt_base::{AppRecord, ReqId, ReqKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::agent::Agent;
use super::channel::Request;
use super::client::{Downstream, Ssh, Terminal, User};
use super::conn::{ChannelStream, Conn};
use super::words;
use crate::net::Net;

/// A longer line is not read.
const LONGEST_LINE: usize = 4096;
/// What a shell ends with when it does not know a command.
const NOT_FOUND: u32 = 127;

/// Where a shell runs, and for whom.
pub(super) struct Place {
    pub(super) net: Net,
    pub(super) home: Arc<User>,
    pub(super) user: String,
    pub(super) hostname: String,
    /// The client's end of the connection and ours.
    pub(super) ends: (SocketAddr, SocketAddr),
    /// The connection through which the client's agent can be asked.
    pub(super) agent: Option<Conn>,
    pub(super) downstream: Downstream,
    pub(super) terminal: bool,
}

/// A running shell.
pub(super) struct Shell {
    place: Place,
    stream: ChannelStream,
    /// `exit` was said, with this status.
    exit: Option<u32>,
    /// The status of the last command.
    last: u32,
}

impl Shell {
    pub(super) fn new(place: Place, stream: ChannelStream) -> Shell {
        Shell { place, stream, exit: None, last: 0 }
    }

    /// Runs one command, or lines until the end of input, then closes the channel.
    pub(super) async fn run(mut self, command: Option<String>) {
        match command {
            Some(command) => self.line(&command).await,
            None => self.lines().await,
        }
        let status = self.exit.unwrap_or(self.last);
        self.stream.tell(&Request::ExitStatus(status));
        let _ = self.stream.shutdown().await;
    }

    async fn lines(&mut self) {
        let mut line = Vec::new();
        self.prompt().await;
        let mut byte = [0];
        while self.exit.is_none() && matches!(self.stream.read(&mut byte).await, Ok(1)) {
            if byte[0] != b'\n' {
                if line.len() < LONGEST_LINE {
                    line.push(byte[0]);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if self.place.terminal {
                // A terminal shows what is typed.
                self.print(&text).await;
            }
            self.line(text.trim()).await;
            if self.exit.is_none() {
                self.prompt().await;
            }
        }
    }

    async fn prompt(&mut self) {
        if self.place.terminal {
            let prompt = format!("{}@{}:~$ ", self.place.user, self.place.hostname);
            let _ = self.stream.write_all(prompt.as_bytes()).await;
        }
    }

    async fn line(&mut self, line: &str) {
        for command in line.split(';').map(str::trim).filter(|c| !c.is_empty()) {
            self.last = match words::split(command) {
                Ok(words) => self.command(&words).await,
                Err(why) => {
                    self.complain(&format!("sh: {why}")).await;
                    2
                }
            };
            if self.exit.is_some() {
                return;
            }
        }
    }

    async fn print(&mut self, text: &str) {
        let end = if self.place.terminal { "\r\n" } else { "\n" };
        let _ = self.stream.write_all(format!("{text}{end}").as_bytes()).await;
    }

    async fn complain(&mut self, text: &str) {
        if self.place.terminal {
            self.print(text).await;
        } else {
            let _ = self.stream.write_errors(format!("{text}\n").as_bytes()).await;
        }
    }

    async fn command(&mut self, words: &[String]) -> u32 {
        let Some((name, rest)) = words.split_first() else { return self.last };
        match (name.as_str(), rest) {
            ("hostname", _) => self.print(&self.place.hostname.clone()).await,
            ("whoami", _) => self.print(&self.place.user.clone()).await,
            ("true" | ":", _) => {}
            ("false", _) => return 1,
            ("echo", _) => self.print(&self.expand(&rest.join(" "))).await,
            ("exit" | "logout", _) => {
                let status = rest.first().and_then(|n| n.parse().ok()).unwrap_or(self.last);
                self.exit = Some(status);
                return status;
            }
            ("ssh-add", [flag]) if flag == "-l" => return self.list_keys().await,
            ("ssh", _) => return self.ssh(rest).await,
            _ => {
                self.complain(&format!("sh: 1: {name}: not found")).await;
                return NOT_FOUND;
            }
        }
        0
    }

    fn expand(&self, text: &str) -> String {
        let (peer, own) = self.place.ends;
        let connection = format!("{} {} {} {}", peer.ip(), peer.port(), own.ip(), own.port());
        let socket = if self.place.agent.is_some() { "/tmp/ssh-agent" } else { "" };
        text.replace("$SSH_CONNECTION", &connection)
            .replace("$SSH_AUTH_SOCK", socket)
            .replace("$USER", &self.place.user)
            .replace("$HOME", &format!("/home/{}", self.place.user))
    }

    fn agent(&self) -> Agent {
        self.place.agent.clone().map_or_else(|| self.place.home.agent(), Agent::Through)
    }

    async fn list_keys(&mut self) -> u32 {
        let keys = match self.agent().ask().await {
            Some(mut asking) => asking.keys().await,
            None => {
                self.complain("Could not open a connection to your authentication agent.").await;
                return 2;
            }
        };
        if keys.is_empty() {
            self.print("The agent has no identities.").await;
            return 1;
        }
        for (key, comment) in keys {
            self.print(&format!("256 {} {comment} (ED25519)", key.fingerprint())).await;
        }
        0
    }

    /// `ssh` on this machine: the second of two steps.
    async fn ssh(&mut self, words: &[String]) -> u32 {
        let net = self.place.net.clone();
        let req = net.new_req();
        let (kind, parent, target) = (ReqKind::Probe, ReqId(0), words.join(" "));
        net.say(AppRecord::RequestBegin { req, parent, kind, method: "ssh".into(), target });
        let mut ssh = Ssh::new(net.clone(), Arc::clone(&self.place.home), self.agent(), req);
        ssh.name.clone_from(&self.place.user);
        (ssh.person, ssh.downstream) = (self.place.terminal, Some(self.place.downstream));
        let status = ssh.run(words, Terminal::Channel(&mut self.stream)).await;
        for line in std::mem::take(&mut ssh.errors) {
            self.complain(&line).await;
        }
        let note = format!("exit status {status}");
        net.say(AppRecord::RequestEnd { req, status: 0, ok: status == 0, body_bytes: 0, note });
        status
    }
}
