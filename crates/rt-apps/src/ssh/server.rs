//! `sshd`: lets those in whose keys are authorised, gives them a shell, makes connections for them.
//!
//! Deliberate simplifications. Keys only (`PasswordAuthentication no`, as cloud images have it). One shell for everybody
//! ([`super::shell`]); no files, so no `scp` and no `sftp`. Local forwarding only: what a client asks to be listened for (`ssh -R`)
//! is refused.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rt_base::{AppRecord, Nanos, ReqId, Wait};
use rt_stack::ConnectOptions;

use super::channel::{Kind, Request};
use super::client::{Downstream, User, errno};
use super::conn::{ChannelStream, Conn};
use super::keys::{Identity, PublicKey};
use super::peer::{Event, Peer, Proof};
use super::relay::join;
use super::shell::{Place, Shell};
use super::transport::{Fault, Transport};
use crate::TcpStream;
use crate::dns::RecordType;
use crate::net::Net;

/// Wrong keys and other tries of one connection (`MaxAuthTries`).
const MOST_TRIES: u32 = 6;
/// Time to log in (`LoginGraceTime`).
const GRACE: Nanos = Nanos::from_secs(120);
/// Sessions of one connection (`MaxSessions`).
const MOST_SESSIONS: usize = 10;

/// An SSH server.
#[derive(Clone, Debug)]
pub struct SshServer {
    /// TCP port.
    pub port: u16,
    /// Its host key.
    pub host_key: Identity,
    /// Who may log in with which keys (`authorized_keys`).
    pub users: Vec<(String, Vec<PublicKey>)>,
    /// Whether it makes connections for its users (`AllowTcpForwarding`).
    pub tcp_forwarding: bool,
    /// Only to these, if any (`PermitOpen`): host as the client writes it, and port.
    pub permit_open: Vec<(String, u16)>,
    /// Whether programs here may ask a client's agent (`AllowAgentForwarding`).
    pub agent_forwarding: bool,
    /// What its users have in `~/.ssh`.
    pub home: Arc<User>,
    /// What `hostname` answers.
    pub hostname: String,
}

impl SshServer {
    /// Serves for ever.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn run(self, net: Net) -> io::Result<()> {
        let listener = net.tcp_listen(self.port)?;
        let server = Arc::new(self);
        let mut number = 0_u64;
        loop {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true);
            number += 1;
            let rng = net.rng(&format!("sshd.{number}"));
            let transport = Transport::server(rng, server.host_key.clone());
            let local = stream.local_addr();
            let conn = Conn::start(&net, Peer::server(transport), stream);
            let guest = Guest { net: net.clone(), server: Arc::clone(&server), conn, peer, local };
            drop(net.spawn(guest.serve()));
        }
    }

    fn welcomes(&self, user: &str, key: &PublicKey) -> bool {
        self.users.iter().any(|(name, keys)| name == user && keys.contains(key))
    }

    fn permits(&self, host: &str, port: u32) -> bool {
        let listed = || self.permit_open.iter().any(|(h, p)| h == host && u32::from(*p) == port);
        self.tcp_forwarding && (self.permit_open.is_empty() || listed())
    }
}

/// One connection to the server.
struct Guest {
    net: Net,
    server: Arc<SshServer>,
    conn: Conn,
    peer: SocketAddr,
    local: SocketAddr,
}

/// A session that runs nothing yet.
#[derive(Default)]
struct Session {
    stream: Option<ChannelStream>,
    terminal: bool,
    agent: bool,
}

impl Guest {
    fn note(&self, code: &str, text: String) {
        self.net.say(AppRecord::Note { req: ReqId(0), code: code.into(), text });
    }

    async fn serve(self) {
        let admitted = self.net.timeout(GRACE, Wait::Timeout, self.admit()).await;
        let Ok(Some(user)) = admitted else {
            self.conn.act(|peer| peer.end(Fault::new(2, "Timeout before authentication")));
            return;
        };
        let mut sessions: BTreeMap<u32, Session> = BTreeMap::new();
        while let Ok(event) = self.conn.event().await {
            match event {
                Event::Open { channel, kind: Kind::Session } if sessions.len() < MOST_SESSIONS => {
                    let stream = Some(self.conn.accept(channel));
                    sessions.insert(channel, Session { stream, ..Session::default() });
                }
                Event::Open { channel, kind: Kind::DirectTcpip { host, port, .. } } => {
                    self.forward(channel, host, port);
                }
                Event::Open { channel, kind } => {
                    let reason = if kind == Kind::Session { 4 } else { 3 };
                    self.conn.act(|peer| peer.refuse(channel, reason, "open failed"));
                }
                Event::Asked { channel, what, reply } => {
                    let done = match sessions.get_mut(&channel) {
                        Some(session) => self.asked(&user, channel, session, what),
                        None => false,
                    };
                    if reply {
                        self.conn.act(|peer| peer.respond(channel, done));
                    }
                }
                _ => {}
            }
            sessions.retain(|_, session| session.stream.is_some());
        }
        self.note(
            "sshd.closed",
            format!("Connection closed by {} port {}", self.peer.ip(), self.peer.port()),
        );
    }

    /// Waits until somebody has proved who it is.
    async fn admit(&self) -> Option<String> {
        let mut tries = 0;
        let from = format!("{} port {}", self.peer.ip(), self.peer.port());
        loop {
            let Event::Login { user, proof } = self.conn.event().await.ok()? else { continue };
            match proof {
                Proof::Key { key, signed } if self.server.welcomes(&user, &key) => match signed {
                    None => {
                        self.conn.act(|peer| peer.key_would_do(&key));
                        continue;
                    }
                    Some(true) => {
                        let print = key.fingerprint();
                        self.note(
                            "sshd.accepted",
                            format!("Accepted publickey for {user} from {from} ssh2: ED25519 {print}"),
                        );
                        self.conn.act(|peer| peer.welcome(&user));
                        return Some(user);
                    }
                    Some(false) => {
                        self.note("sshd.failed", format!("Failed publickey for {user} from {from} ssh2"))
                    }
                },
                Proof::Key { key, .. } => {
                    let known = self.server.users.iter().any(|(name, _)| *name == user);
                    let who = if known { user.clone() } else { format!("invalid user {user}") };
                    let print = key.fingerprint();
                    self.note(
                        "sshd.failed",
                        format!("Failed publickey for {who} from {from} ssh2: ED25519 {print}"),
                    );
                }
                Proof::None => {
                    self.conn.act(Peer::turn_away);
                    continue;
                }
                Proof::Other(what) => {
                    self.note("sshd.failed", format!("Failed {what} for {user} from {from} ssh2"));
                }
            }
            tries += 1;
            if tries >= MOST_TRIES {
                self.conn.act(|peer| peer.end(Fault::new(2, "Too many authentication failures")));
                return None;
            }
            self.conn.act(Peer::turn_away);
        }
    }

    /// What a client asks about its session; whether it is done.
    fn asked(&self, user: &str, channel: u32, session: &mut Session, what: Request) -> bool {
        match what {
            Request::Pty { .. } => session.terminal = true,
            // `AcceptEnv LANG LC_*`.
            Request::Env { name, .. } => return name == "LANG" || name.starts_with("LC_"),
            Request::Agent => {
                session.agent = self.server.agent_forwarding;
                return session.agent;
            }
            Request::Shell | Request::Exec(_) => {
                let Some(stream) = session.stream.take() else { return false };
                let place = Place {
                    net: self.net.clone(),
                    home: Arc::clone(&self.server.home),
                    user: user.to_owned(),
                    hostname: self.server.hostname.clone(),
                    ends: (self.peer, self.local),
                    agent: session.agent.then(|| self.conn.clone()),
                    downstream: Downstream { peer: self.peer, channel },
                    terminal: session.terminal,
                };
                let command = if let Request::Exec(command) = what { Some(command) } else { None };
                drop(self.net.spawn(Shell::new(place, stream).run(command)));
            }
            Request::ExitStatus(_) | Request::Other(_) => return false,
        }
        true
    }

    /// Makes a connection for the client and carries its bytes (RFC 4254, 7.2).
    fn forward(&self, channel: u32, host: String, port: u32) {
        if !self.server.permits(&host, port) {
            let text = format!("refused local port forward: target {host} port {port}");
            self.note("sshd.forward-refused", text);
            self.conn.act(|peer| peer.refuse(channel, 1, "open failed"));
            return;
        }
        let (net, conn, downstream) = (self.net.clone(), self.conn.clone(), self.peer);
        drop(self.net.spawn(async move {
            let mut stream = match connect(&net, &host, port).await {
                Ok(stream) => stream,
                Err(why) => {
                    let text = format!("connect_to {host} port {port}: failed: {why}");
                    net.say(AppRecord::Note { req: ReqId(0), code: "sshd.forward-failed".into(), text });
                    conn.act(|peer| peer.refuse(channel, 2, &why));
                    return;
                }
            };
            let (local, remote) = (stream.local_addr(), stream.peer_addr());
            let what = "direct-tcpip".to_owned();
            net.say(AppRecord::Relayed { downstream, channel, what, local, remote });
            let mut inside = conn.accept(channel);
            join(&mut inside, &mut stream).await;
        }));
    }
}

async fn connect(net: &Net, host: &str, port: u32) -> Result<TcpStream, String> {
    let port = u16::try_from(port).map_err(|_| "bad port".to_owned())?;
    let address = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => {
            let answer = net.lookup(host, RecordType::A, ReqId(0)).await;
            let first = answer.ok().and_then(|answer| answer.addresses.first().copied());
            first.ok_or_else(|| "Name or service not known".to_owned())?
        }
    };
    let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
    net.tcp_connect(SocketAddr::new(address, port), options).await.map_err(|error| errno(&error))
}
