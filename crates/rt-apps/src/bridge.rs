//! Bridges between simulated TCP connections and something outside of the world: a program that opens a simulated server
//! ([`publish`]), or a server that stands for a machine's service ([`serve`]).
//!
//! What is outside is a pair of byte queues: [`Bridge::push`] takes what came, [`Bridge::take`] gives what goes there. Nothing
//! here knows sockets of the operating system or what time it is, so the same pushes at the same times give the same run.
//! Back-pressure goes both ways: no side has more than [`BRIDGE_WINDOW`] bytes under way. Bytes pass unread; a half close stays
//! one, and a connection that breaks on one side is reset on the other.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rt_base::{AppRecord, BRIDGE_WINDOW, Carried, OPENED_OUTSIDE, ReqId};
use rt_stack::ConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Net;
use crate::socket::{HeldSyn, TcpListener};
use crate::split;

/// Connections at once; the next one is refused.
pub const MOST_CONNECTIONS: usize = 1_024;

/// The two ends of a bridge share it. Clones are the same bridge.
#[derive(Clone, Default)]
pub struct Bridge(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    connections: BTreeMap<u32, Connection>,
    /// Opened from outside and not yet taken up.
    fresh: VecDeque<u32>,
    /// No more will be.
    over: bool,
    acceptor: Option<Waker>,
    /// For the world outside.
    out: Vec<(u32, Carried)>,
    opened: u32,
}

#[derive(Default)]
struct Connection {
    /// The other half exists.
    answered: bool,
    inward: VecDeque<u8>,
    finished: bool,
    reset: bool,
    /// Bytes that may still be sent outside.
    credit: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Connection {
    fn new() -> Connection {
        Connection { credit: BRIDGE_WINDOW, ..Connection::default() }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Bridge {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came from outside about a connection. The machine must be run afterwards
    /// ([`rt_base::Input::Outside`] with [`rt_base::BRIDGE_PORT`]). What makes no sense (a connection that is gone, more than
    /// the window) has no effect or breaks the connection.
    pub fn push(&self, id: u32, carried: Carried) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&id) else {
            if carried == Carried::Open {
                if state.connections.len() >= MOST_CONNECTIONS {
                    state.out.push((id, Carried::Reset));
                    return;
                }
                state.connections.insert(id, Connection { answered: true, ..Connection::new() });
                state.fresh.push_back(id);
                state.acceptor.take().into_iter().for_each(Waker::wake);
            }
            return;
        };
        match carried {
            Carried::Open => connection.answered = true,
            Carried::Bytes(bytes) => {
                let fits = connection.inward.len() + bytes.len() <= BRIDGE_WINDOW as usize;
                if fits && !connection.finished {
                    connection.inward.extend(bytes);
                } else {
                    connection.reset = true;
                }
            }
            Carried::Finished => connection.finished = true,
            Carried::Reset => connection.reset = true,
            Carried::Room(bytes) => {
                connection.credit = connection.credit.saturating_add(bytes).min(BRIDGE_WINDOW);
            }
        }
        connection.wake();
    }

    /// Moves what is for the world outside into `into`: connection and what passes.
    pub fn take(&self, into: &mut Vec<(u32, Carried)>) {
        into.append(&mut self.state().out);
    }

    /// Breaks every connection: there is no world outside any more.
    pub fn end(&self) {
        let mut state = self.state();
        state.over = true;
        for connection in state.connections.values_mut() {
            connection.reset = true;
            connection.wake();
        }
        state.acceptor.take().into_iter().for_each(Waker::wake);
    }

    /// The next connection that was opened from outside; `None` when the world outside is gone.
    async fn next(&self) -> Option<Far> {
        let id = poll_fn(|cx| {
            let mut state = self.state();
            match state.fresh.pop_front() {
                Some(id) => Poll::Ready(Some(id)),
                None if state.over => Poll::Ready(None),
                None => {
                    state.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await?;
        Some(Far { bridge: self.clone(), id, told: false })
    }

    /// Asks the world outside for a connection; `None` when there are too many.
    fn open(&self) -> Option<Far> {
        let mut state = self.state();
        if state.connections.len() >= MOST_CONNECTIONS {
            return None;
        }
        let id = state.opened;
        state.opened = state.opened.wrapping_add(1);
        state.connections.insert(id, Connection::new());
        state.out.push((id, Carried::Open));
        Some(Far { bridge: self.clone(), id, told: false })
    }
}

/// The outer half of a connection, as a stream of bytes. Dropped before both sides have finished, it resets what is outside.
struct Far {
    bridge: Bridge,
    id: u32,
    /// That this side has finished was said.
    told: bool,
}

impl Far {
    fn poll<T>(
        &self,
        look: impl FnOnce(&mut Connection, &mut Vec<(u32, Carried)>) -> Poll<T>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.bridge.state();
        let State { connections, out, .. } = &mut *state;
        match connections.get_mut(&self.id) {
            Some(connection) if !connection.reset => look(connection, out).map(Ok),
            _ => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Waits for the word that the other half is there.
    async fn answered(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.poll(|connection, _| {
                if connection.answered {
                    return Poll::Ready(());
                }
                connection.reader = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await
    }
}

impl AsyncRead for Far {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let id = self.id;
        self.poll(|connection, out| {
            let len = connection.inward.len().min(buf.remaining());
            if len == 0 && !connection.finished && buf.remaining() > 0 {
                connection.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let mut left = len;
            while left > 0 {
                let (first, _) = connection.inward.as_slices();
                let part = first.len().min(left);
                buf.put_slice(&first[..part]);
                connection.inward.drain(..part);
                left -= part;
            }
            if len > 0 {
                out.push((id, Carried::Room(u32::try_from(len).unwrap_or(u32::MAX))));
            }
            Poll::Ready(())
        })
    }
}

impl AsyncWrite for Far {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let id = self.id;
        self.poll(|connection, out| {
            let len = data.len().min(connection.credit as usize);
            if len == 0 && !data.is_empty() {
                connection.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            connection.credit -= u32::try_from(len).unwrap_or(connection.credit);
            out.push((id, Carried::Bytes(data[..len].to_vec())));
            Poll::Ready(len)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.told, true) {
            self.bridge.state().out.push((self.id, Carried::Finished));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let mut state = self.bridge.state();
        let gone = state.connections.remove(&self.id);
        if gone.is_some_and(|c| !(c.reset || self.told && c.finished)) {
            state.out.push((self.id, Carried::Reset));
        }
    }
}

fn note(net: &Net, code: &str, text: String) {
    net.say(AppRecord::Note { req: ReqId(0), code: code.into(), text });
}

/// For every connection that a program outside opens, opens one to `server`, until the world outside is gone. `step` is all of
/// it in the story: its number and what it is called; it begins with the first connection.
pub async fn publish(net: Net, bridge: Bridge, server: SocketAddr, (step, text): (u32, String)) {
    let (mut opened, refused) = (0_u32, Arc::new(AtomicU32::new(0)));
    while let Some(far) = bridge.next().await {
        if opened == 0 {
            net.say(AppRecord::StepBegin { step, text: text.clone() });
        }
        opened += 1;
        drop(net.spawn(open(net.clone(), far, server, Arc::clone(&refused))));
    }
    if opened > 0 {
        let refused = refused.load(Ordering::Relaxed);
        let summary = match (opened, refused) {
            (1, 0) => "1 connection".to_owned(),
            (_, 0) => format!("{opened} connections"),
            _ => format!("{refused} of {opened} connections came to nothing"),
        };
        net.say(AppRecord::StepEnd { step, ok: refused == 0, summary });
    }
}

async fn open(net: Net, mut far: Far, server: SocketAddr, refused: Arc<AtomicU32>) {
    let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
    match net.tcp_connect(server, options).await {
        Ok(mut near) => {
            let text = format!("a program outside talks to {server} from {}", near.local_addr());
            note(&net, OPENED_OUTSIDE, text);
            if split::join(&mut near, &mut far).await.is_err() {
                near.abort();
            }
        }
        Err(error) => {
            refused.fetch_add(1, Ordering::Relaxed);
            note(&net, "bridge.refused", format!("a program outside cannot reach {server}: {error}"));
        }
    }
}

/// Takes what comes to `listener` and carries it to a server outside, for ever. `name` says who that server is.
///
/// A SYN is answered only when the server outside has taken the connection, so a refusal stays a refusal.
pub async fn serve(net: Net, bridge: Bridge, listener: TcpListener, name: String) {
    listener.hold();
    while let Ok(syn) = listener.next_syn().await {
        let Some(far) = bridge.open() else {
            note(&net, "bridge.full", format!("too many connections to {name}"));
            continue;
        };
        let (host, name) = (net.clone(), name.clone());
        // How it ends is in the packets.
        drop(net.spawn(async move { drop(carry(&host, syn, far, &name).await) }));
    }
}

async fn carry(net: &Net, syn: HeldSyn, mut far: Far, name: &str) -> io::Result<()> {
    let peer = syn.peer_addr();
    if let Err(error) = far.answered().await {
        note(net, "bridge.refused", format!("{name} took no connection"));
        return Err(error);
    }
    let mut near = syn.admit().await?;
    near.set_nodelay(true);
    if let Some(peer) = peer {
        note(net, "bridge.connected", format!("{peer} talks to {name}"));
    }
    let joined = split::join(&mut near, &mut far).await;
    if joined.is_err() {
        near.abort();
    }
    joined
}
