//! Fast Open (RFC 7413) as far as it concerns the whole machine: the cookies that servers gave us, and those that we give.
//!
//! What a connection does with them is in `tcp::fast_open`. A cookie is SipHash-2-4 of both addresses under the machine's
//! key, as in Linux since 5.4, so a key taken from a real machine makes that machine's cookies.
//!
//! Simplified: no black-hole detection (Linux stops asking for a while after timeouts); the cookie cache is for the whole
//! machine and keeps the last [`MOST`] servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_wire::{FastOpenOption, TcpHeader};

use crate::api::ConnectOptions;
use crate::error::SocketError;
use crate::siphash::{Key, siphash};
use crate::socket::SocketId;
use crate::stack::Stack;
use crate::tcp::{FastOpenConfig, FastOpenLesson, FastOpenStart, SocketOptions};

/// Servers whose cookies are remembered.
const MOST: usize = 1_024;

/// The machine's memory of Fast Open.
#[derive(Debug)]
pub(crate) struct FastOpenMemory {
    /// Used when the configuration names no key.
    own_key: [u8; 16],
    servers: BTreeMap<IpAddr, Server>,
}

/// What is known of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Server {
    mss: u16,
    cookie: Option<FastOpenOption>,
    /// It did not answer a request of one kind: 1 tries kind 254 next, 2 goes back to 34.
    attempt: u8,
}

/// What a listener does with a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing of Fast Open: text in the SYN is left to be repeated.
    Plain,
    /// The same, and the SYN-ACK carries this cookie.
    Offer(FastOpenOption),
    /// The text is taken at once; the SYN-ACK may carry a fresh cookie.
    Take(Option<FastOpenOption>),
}

impl FastOpenMemory {
    pub(crate) fn new(own_key: [u8; 16]) -> FastOpenMemory {
        FastOpenMemory { own_key, servers: BTreeMap::new() }
    }

    /// The option for a SYN to `server`, and the MSS that it announced last time.
    pub(crate) fn option_for(&self, server: IpAddr) -> (FastOpenOption, Option<u16>) {
        let known = self.servers.get(&server).copied().unwrap_or_default();
        let request = FastOpenOption::new(&[], known.attempt == 1).unwrap_or_default();
        (known.cookie.unwrap_or(request), Some(known.mss).filter(|mss| *mss > 0))
    }

    /// Takes what a handshake taught.
    pub(crate) fn learn(&mut self, server: IpAddr, lesson: &FastOpenLesson) {
        if !self.servers.contains_key(&server) && self.servers.len() >= MOST {
            self.servers.pop_first();
        }
        let known = self.servers.entry(server).or_default();
        known.mss = lesson.mss;
        match lesson.cookie {
            Some(cookie) => known.cookie = Some(cookie),
            None if lesson.attempt > known.attempt && known.cookie.is_none() => {
                known.attempt = lesson.attempt;
            }
            None => {}
        }
    }

    /// Forgets all servers.
    pub(crate) fn forget(&mut self) {
        self.servers.clear();
    }

    /// What to do with a SYN that has `len` bytes of text; the listener has room for another such connection.
    pub(crate) fn judge(&self, config: &FastOpenConfig, ends: (Ipv4Addr, Ipv4Addr), syn: Syn) -> Verdict {
        //= rfc7413#4.1.2
        let asked = syn.header.options.fast_open().filter(|option| is_valid(option));
        if !config.server || (asked.is_none() && !syn.has_text) {
            return Verdict::Plain;
        }
        if config.server_no_cookie || syn.no_cookie {
            return Verdict::Take(None);
        }
        let Some(asked) = asked else { return Verdict::Plain };
        let key = config.key.unwrap_or(self.own_key);
        let ours = FastOpenOption::new(&cookie(key, ends), asked.experimental).unwrap_or_default();
        if asked.cookie() == ours.cookie() {
            return Verdict::Take(None);
        }
        let former = config.backup_key.is_some_and(|key| cookie(key, ends) == *asked.cookie());
        if former { Verdict::Take(Some(ours)) } else { Verdict::Offer(ours) }
    }
}

/// The client's socket calls.
impl Stack {
    /// Connects and writes in one (MSG_FASTOPEN): as much of `text` as may go with the SYN goes with it. Returns how much
    /// that is; with 0 the SYN asks for a cookie, or nothing was to be written.
    ///
    /// # Errors
    /// `NotSupported` when the machine may not (`tcp_fastopen` without 1); else as [`Stack::tcp_connect`].
    pub fn tcp_fast_open(
        &mut self,
        remote: SocketAddr,
        connect: ConnectOptions,
        own: SocketOptions,
        text: &[u8],
    ) -> Result<(SocketId, usize), SocketError> {
        if !self.tcp.fast_open.client {
            return Err(SocketError::NotSupported);
        }
        let start = self.fast_open_start(remote.ip(), own.fast_open_no_cookie, false);
        let own = SocketOptions { fast_open_connect: false, ..own };
        let id = self.tcp_connect_with(remote, connect, own)?;
        let space = match self.sockets.tcp_mut(id) {
            Some(socket) => socket.connection.start_fast_open(start) as usize,
            None => 0,
        };
        let first = &text[..text.len().min(space)];
        let taken = if first.is_empty() { 0 } else { self.tcp_write(id, first)? };
        Ok((id, taken))
    }

    /// How an attempt to connect to `server` begins.
    pub(crate) fn fast_open_start(
        &mut self,
        server: IpAddr,
        no_cookie: bool,
        deferred: bool,
    ) -> FastOpenStart {
        let no_cookie = no_cookie || self.tcp.fast_open.client_no_cookie;
        let (option, mss) = self.fast_open_memory().option_for(server);
        let text = no_cookie || !option.cookie().is_empty();
        FastOpenStart { option: (!no_cookie).then_some(option), text, mss, deferred }
    }

    /// Whether the SYN waits for the first write (TCP_FASTOPEN_CONNECT with a cookie at hand).
    #[must_use]
    pub fn tcp_is_deferred(&self, id: SocketId) -> bool {
        self.sockets.tcp_ref(id).is_some_and(|socket| socket.connection.is_deferred())
    }

    /// Bytes that may go with the SYN of a deferred connect.
    #[must_use]
    pub fn tcp_syn_space(&self, id: SocketId) -> usize {
        self.sockets.tcp_ref(id).map_or(0, |socket| socket.connection.syn_space() as usize)
    }

    /// Whether data flows before the handshake is over, at a listener's side.
    #[must_use]
    pub fn tcp_is_fast_open(&self, id: SocketId) -> bool {
        self.sockets.tcp_ref(id).is_some_and(|socket| socket.connection.is_fast_open())
    }

    /// Says that an application waits to write as soon as the connection is open: what it writes carries the last ACK of
    /// the handshake then, as on Linux.
    pub fn tcp_expect_write(&mut self, id: SocketId, waits: bool) {
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.expect_write(waits);
        }
    }

    /// Forgets the cookies of all servers (`ip tcp_metrics flush`).
    pub fn tcp_forget_cookies(&mut self) {
        self.fast_open_memory().forget();
    }
}

/// A SYN as Fast Open sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syn<'a> {
    pub(crate) header: &'a TcpHeader,
    /// Text or FIN.
    pub(crate) has_text: bool,
    /// The listener wants no cookies.
    pub(crate) no_cookie: bool,
}

/// RFC 7413 4.1.1: empty, or 4 to 16 bytes and even.
fn is_valid(option: &FastOpenOption) -> bool {
    let len = option.cookie().len();
    len == 0 || (len.is_multiple_of(2) && (4..=16).contains(&len))
}

/// The cookie of a client at a server's address; `ends` is (client, server).
fn cookie(key: [u8; 16], ends: (Ipv4Addr, Ipv4Addr)) -> [u8; 8] {
    let [a, b] = [ends.0.octets(), ends.1.octets()];
    let word = u64::from_le_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]);
    siphash(Key::from_bytes(key), &[word]).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_linux_machine_makes_its_cookies() {
        // The key a0bf63f7-ed803d81-cd641d30-cebc4a90, whose words Linux stores little end first.
        let words: [u32; 4] = [0xa0bf_63f7, 0xed80_3d81, 0xcd64_1d30, 0xcebc_4a90];
        let mut key = [0; 16];
        for (bytes, word) in key.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let ends = (Ipv4Addr::new(10, 248, 0, 2), Ipv4Addr::new(192, 168, 0, 2));
        assert_eq!(cookie(key, ends), [0x00, 0xab, 0xaa, 0xab, 0xe8, 0xe9, 0x54, 0xc2]);
    }
}
