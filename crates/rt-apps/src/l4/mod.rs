//! A load balancer that looks no further than TCP: it takes a client's connection, picks a server, and goes on over a connection
//! of its own. Bytes pass unread, TLS and all; the server sees the balancer as its caller. So each side has its own segment size,
//! its own losses and its own ACK clock.
//!
//! The client is taken before a server is reached (as HAProxy has it): a server that cannot be reached is a reset after the
//! handshake, when no other can be either. Main type: [`L4Balancer`].
//!
//! Deliberate simplifications. A connection has no time-out of its own while it is idle. A check is a TCP connection that is closed
//! again, nothing is asked. Servers have no weights. Nothing tells the server who the client is (no PROXY protocol).

pub(crate) mod relay;
mod warm;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rt_base::{AppRecord, Nanos, ReqId, Wait};
pub use rt_rules::Spread;
pub use rt_rules::http::HealthCheck;
use rt_stack::ConnectOptions;

pub use crate::balance::Shift;
use crate::balance::{Asks, Choice, Chooser, in_a_row, watch};
use crate::net::Net;
use crate::socket::TcpStream;

/// Clients at once; the next one is reset.
pub const MOST_CLIENTS: usize = 32_768;
/// Seconds after which a server that cannot be reached is given up, unless it is said otherwise.
pub const CONNECT_TIMEOUT: Nanos = Nanos::from_secs(1);

/// How bytes are collected before they go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Collect {
    /// So many at once.
    pub bytes: usize,
    /// What is there goes after this, however little.
    pub wait: Nanos,
}

/// What the balancer is to do.
#[derive(Clone, Debug)]
pub struct L4Balancer {
    /// TCP port.
    pub port: u16,
    /// Servers: names and addresses.
    pub servers: Vec<(String, SocketAddr)>,
    /// How one is picked.
    pub policy: Spread,
    /// A client stays with its server until it was away for so long.
    pub sticky: Option<Nanos>,
    /// Checks.
    pub health: Option<HealthCheck>,
    /// Connections to each server that stand ready.
    pub warm: u32,
    /// A server that does not answer is given up after this, and the next one is tried.
    pub connect_timeout: Nanos,
    /// Bytes are collected before they go on; else they go as they come.
    pub collect: Option<Collect>,
    /// Comings and goings, in the order of time.
    pub shifts: Vec<Shift>,
}

impl L4Balancer {
    /// In turn, with nothing else.
    #[must_use]
    pub fn new(port: u16, servers: Vec<(String, SocketAddr)>) -> L4Balancer {
        L4Balancer {
            port,
            servers,
            policy: Spread::RoundRobin,
            sticky: None,
            health: None,
            warm: 0,
            connect_timeout: CONNECT_TIMEOUT,
            collect: None,
            shifts: Vec::new(),
        }
    }

    /// Takes connections, for ever.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn run(self, net: Net) -> io::Result<()> {
        let listener = net.tcp_listen(self.port)?;
        let names = self.servers.iter().map(|(name, _)| name.clone()).collect();
        let rng = net.rng(&format!("l4 {}", self.port));
        let chooser = Chooser::new(names, self.policy, self.sticky, MOST_CLIENTS, rng);
        let ready = self.servers.iter().map(|_| Vec::new()).collect();
        let desk = Arc::new(Desk {
            net: net.clone(),
            config: self,
            state: Mutex::new(chooser),
            ready: Mutex::new(ready),
        });
        for server in 0..desk.config.servers.len() {
            if let Some(health) = desk.config.health {
                drop(net.spawn(look_after(Arc::clone(&desk), server, health)));
            }
            if desk.config.warm > 0 {
                drop(net.spawn(warm::keep(Arc::clone(&desk), server)));
            }
        }
        drop(net.spawn(shift(Arc::clone(&desk))));
        loop {
            let (client, _) = listener.accept().await?;
            drop(net.spawn(serve(Arc::clone(&desk), client)));
        }
    }
}

/// What all tasks of a balancer share.
struct Desk {
    net: Net,
    config: L4Balancer,
    state: Mutex<Chooser>,
    /// Connections that stand ready, by server.
    ready: Mutex<Vec<Vec<TcpStream>>>,
}

impl Desk {
    /// For a moment: never across an await.
    fn state(&self) -> MutexGuard<'_, Chooser> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Vec<TcpStream>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, code: &str, text: String) {
        self.net.say(AppRecord::Note { req: ReqId(0), code: code.to_owned(), text });
    }

    /// `web-2 (10.0.1.12:80)`.
    fn called(&self, server: usize) -> String {
        let (name, address) = &self.config.servers[server];
        format!("{name} ({address})")
    }

    /// A new connection to a server.
    async fn connect(&self, server: usize, within: Nanos) -> io::Result<TcpStream> {
        let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
        let connecting = self.net.tcp_connect(self.config.servers[server].1, options);
        self.net.timeout(within, Wait::Timeout, connecting).await?
    }
}

/// A connection that counts at its server until this is dropped.
struct Open {
    desk: Arc<Desk>,
    server: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        let drained = self.desk.state().closed(self.server);
        if drained {
            let text = format!(
                "the last connection to {} is over: it can be switched off",
                self.desk.called(self.server)
            );
            self.desk.note("balancer.drained", text);
        }
    }
}

/// One client's connection from beginning to end.
async fn serve(desk: Arc<Desk>, mut near: TcpStream) {
    near.set_nodelay(true);
    let Some((choice, _open, mut far, warm)) = reach(&desk, &near).await else {
        near.abort();
        return;
    };
    desk.net.say(relayed(&desk, &near, choice, Some((far.local_addr(), warm))));
    if relay::join(&desk.net, &mut near, &mut far, desk.config.collect).await.is_err() {
        // A reset stays one.
        near.abort();
        far.abort();
    }
}

/// The first server in the order of the policy that can be reached; `None`, which was said then, when there is none.
async fn reach(desk: &Arc<Desk>, near: &TcpStream) -> Option<(Choice, Open, TcpStream, bool)> {
    let client = near.peer_addr();
    let mut failed: Vec<(usize, String)> = Vec::new();
    loop {
        let asks = Asks { client: client.ip(), wanted: None, now: desk.net.now(), not: &failed };
        let choice = desk.state().choose(asks);
        let Some(server) = choice.server else {
            desk.net.say(relayed(desk, near, choice, None));
            return None;
        };
        let open = Open { desk: Arc::clone(desk), server };
        if let Some(far) = warm::take(desk, server) {
            return Some((choice, open, far, true));
        }
        match desk.connect(server, desk.config.connect_timeout).await {
            Ok(far) => return Some((choice, open, far, false)),
            Err(error) => {
                let text = format!("{} cannot be reached for {client}: {error}", desk.called(server));
                desk.note("balancer.failed", text);
                failed.push((server, format!("cannot be reached: {error}")));
            }
        }
    }
}

fn relayed(desk: &Desk, near: &TcpStream, choice: Choice, far: Option<(SocketAddr, bool)>) -> AppRecord {
    let (chosen, address) = match choice.server {
        Some(server) => desk.config.servers[server].clone(),
        None => (String::new(), near.local_addr()),
    };
    AppRecord::Balanced {
        downstream: near.peer_addr(),
        upstream: far.map(|(local, _)| local),
        chosen,
        address,
        policy: choice.policy.to_owned(),
        candidates: choice.candidates,
        warm: far.is_some_and(|(_, warm)| warm),
    }
}

/// A TCP connection to a server from time to time, for ever.
async fn look_after(desk: Arc<Desk>, server: usize, check: HealthCheck) {
    let probe =
        || async { desk.connect(server, check.timeout).await.map(drop).map_err(|error| error.to_string()) };
    watch(&desk.net, check, probe, |up, count, why| {
        let Some(open) = desk.state().found(server, up) else { return };
        let (called, checks) = (desk.called(server), in_a_row(count, "check"));
        if up {
            return desk.note("balancer.readmitted", format!("{called} is back: {checks}"));
        }
        desk.ready()[server].clear();
        let lost = match open {
            0 => "no connection to it is open".to_owned(),
            1 => "one connection to it is open and stands or falls with it".to_owned(),
            n => format!("{n} connections to it are open and stand or fall with it"),
        };
        let text = format!("{called} is out: {checks} failed, the last one: {why}; {lost}");
        desk.note("balancer.ejected", text);
    })
    .await;
}

/// Carries out what is planned.
async fn shift(desk: Arc<Desk>) {
    for shift in desk.config.shifts.clone() {
        desk.net.sleep_until(shift.at, Wait::Housekeeping).await;
        let Some(open) = desk.state().shift(shift.server, shift.drain) else { continue };
        let called = desk.called(shift.server);
        if !shift.drain {
            desk.note("balancer.admitted", format!("{called} is in service and takes connections"));
            continue;
        }
        desk.ready()[shift.server].clear();
        let left = match open {
            0 => "none is open: it can be switched off".to_owned(),
            1 => "the one that is open goes on".to_owned(),
            n => format!("the {n} that are open go on"),
        };
        desk.note("balancer.draining", format!("{called} takes no new connections, {left}"));
    }
}
