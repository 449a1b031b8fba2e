//! A listening port: the queue of handshakes under way (SYN queue), the queue of connections that nobody has accepted yet
//! (accept queue), what happens when one of them is full, cookies instead of a queue (RFC 4987), and text in SYNs (RFC 7413).
//!
//! Not here: the sockets' table (`socket`), the arithmetic of cookies (`syn_cookie`, `fast_open`). Limits are Linux's: both
//! queues are bounded by `listen`'s backlog, and that by `somaxconn`; a SYN is never answered with a reset because a queue
//! is full. Simplified: the SYN cache of FreeBSD has no buckets, it is one queue of `syncache.cachelimit` entries.

use std::net::{IpAddr, SocketAddr};

use rt_base::{ConnId, DropReason, ListenerStep, Outbox, What};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use crate::deliver::{Delivered, stop};
use crate::fast_open::{FastOpenMemory, Syn, Verdict};
use crate::packet::{Packet, protocol, v4};
use crate::socket::{Listener, Socket, SocketId, TcpSocket};
use crate::stack::Stack;
use crate::syn_cookie::{Ends, SynCookieJar, stamp, unstamp};
use crate::tcp::{
    Connection, Family, ListenOutcome, OpenParams, SocketOptions, SynCookies, TcpConfig, on_listen,
};

/// A listener's queues at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListenerQueues {
    /// Handshakes under way, in the order in which they began.
    pub syn_queue: Vec<SocketId>,
    /// How many there may be.
    pub syn_limit: usize,
    /// Connections that wait to be accepted, the next one first.
    pub accept_queue: Vec<SocketId>,
    /// More than this many there may not be: one more than the backlog, as on Linux.
    pub accept_limit: usize,
    /// Connections whose SYN's text was taken and whose handshake is not over.
    pub fast_open: usize,
}

/// What one look at a listener says about a SYN.
struct Room {
    syn_queue_full: bool,
    accept_queue_full: bool,
    fast_open: bool,
    options: SocketOptions,
}

impl Listener {
    fn accept_limit(&self, config: &TcpConfig) -> usize {
        self.backlog.min(config.accept_backlog as usize)
    }

    fn syn_limit(&self, config: &TcpConfig) -> usize {
        match config.family {
            Family::Linux => self.accept_limit(config) + 1,
            Family::Bsd => config.syn_backlog as usize,
        }
    }

    /// Whether the accept queue takes no more: Linux lets in one more than the backlog.
    fn is_full(&self, config: &TcpConfig) -> bool {
        self.ready.len() > self.accept_limit(config)
    }

    fn fast_open_limit(&self, config: &TcpConfig) -> usize {
        match self.options.fast_open_queue {
            0 if config.fast_open.all_listeners => self.backlog,
            n => n as usize,
        }
    }

    fn room(&self, config: &TcpConfig) -> Room {
        // Without cookies Linux keeps a quarter of `tcp_max_syn_backlog` for peers that it knows.
        let backlog = config.syn_backlog as usize;
        let nearly = config.syn_cookies == SynCookies::Off && self.half_open.len() > backlog - backlog / 4;
        Room {
            syn_queue_full: self.half_open.len() >= self.syn_limit(config) || nearly,
            accept_queue_full: self.is_full(config),
            fast_open: self.fast_open < self.fast_open_limit(config),
            options: self.options.clone(),
        }
    }
}

impl Stack {
    /// The queues of a listener; `None` for other sockets.
    #[must_use]
    pub fn listener_queues(&self, id: SocketId) -> Option<ListenerQueues> {
        let Some(Socket::Listener(listener)) = self.sockets.lookup(id) else { return None };
        Some(ListenerQueues {
            syn_queue: listener.half_open.iter().copied().collect(),
            syn_limit: listener.syn_limit(&self.tcp),
            accept_queue: listener.ready.iter().copied().collect(),
            accept_limit: listener.accept_limit(&self.tcp) + 1,
            fast_open: listener.fast_open,
        })
    }

    /// A segment for a listening port.
    pub(crate) fn deliver_to_listener(
        &mut self,
        packet: &Packet,
        segment: (&TcpHeader, &[u8]),
        listener: SocketId,
        out: &mut Outbox,
    ) -> Delivered {
        match on_listen(segment.0, segment.1.len() as u32) {
            ListenOutcome::Open => self.take_syn(packet, segment, listener, out),
            ListenOutcome::SendReset(reset) => {
                if let Some(delivered) = self.take_cookie(packet, segment, listener) {
                    return delivered;
                }
                self.push_reset(packet, &reset, out);
                Err(stop(DropReason::NoSocket))
            }
            ListenOutcome::Ignore => Err(stop(DropReason::NoSocket)),
        }
    }

    fn take_syn(
        &mut self,
        packet: &Packet,
        segment: (&TcpHeader, &[u8]),
        listener: SocketId,
        out: &mut Outbox,
    ) -> Delivered {
        let config = self.tcp.clone();
        let Some(room) = self.sockets.listener_mut(listener).map(|l| l.room(&config)) else {
            return Err(stop(DropReason::NoSocket));
        };
        let cookie = match config.syn_cookies {
            SynCookies::Off if room.syn_queue_full => {
                self.note_listener(listener, ListenerStep::SynQueueFull);
                return Err(stop(DropReason::SynQueueFull));
            }
            SynCookies::Off => false,
            SynCookies::WhenFull => room.syn_queue_full,
            SynCookies::Always => true,
        };
        if room.accept_queue_full && config.family == Family::Linux {
            self.note_listener(listener, ListenerStep::AcceptQueueFull);
            return Err(stop(DropReason::AcceptQueueFull));
        }
        if cookie {
            return self.answer_with_cookie(packet, segment.0, (listener, &room.options), out);
        }
        let verdict = self.judge_fast_open(packet, segment, &room);
        Ok(self.open_passive(packet, segment, (listener, room.options), verdict))
    }

    fn judge_fast_open(&mut self, packet: &Packet, segment: (&TcpHeader, &[u8]), room: &Room) -> Verdict {
        if !room.fast_open {
            return Verdict::Plain;
        }
        let syn = Syn {
            header: segment.0,
            has_text: !segment.1.is_empty() || segment.0.flags.has(TcpFlags::FIN),
            no_cookie: room.options.fast_open_no_cookie,
        };
        let ends = (packet.ip.src, packet.ip.dst);
        let config = self.tcp.fast_open;
        self.fast_open_memory().judge(&config, ends, syn)
    }

    /// The machine's memory of Fast Open.
    pub(crate) fn fast_open_memory(&mut self) -> &mut FastOpenMemory {
        let isn = &self.isn;
        self.fast_open.get_or_insert_with(|| Box::new(FastOpenMemory::new(isn.key(0))))
    }

    fn open_passive(
        &mut self,
        packet: &Packet,
        (syn, text): (&TcpHeader, &[u8]),
        (listener, options): (SocketId, SocketOptions),
        verdict: Verdict,
    ) -> ConnId {
        let (local, remote) = ends(packet, syn);
        let isn = self.listen_isns.pop_front().unwrap_or_else(|| match self.tcp.syn_habits.cookie_isn {
            true if self.tcp.syn_cookies != SynCookies::Off => {
                self.isn.cookie(self.cx.now, local, remote, syn.seq.0)
            }
            _ => self.isn.sequence(self.cx.now, local, remote),
        });
        let id = self.sockets.next_id();
        let open = self.passive_params(id, isn, local, remote);
        self.note_open(id, protocol::TCP, false, local, remote);
        let config = self.tcp_config_of(&options);
        let mut connection = match verdict {
            Verdict::Take(option) => {
                Connection::accept_with_text(self.cx, &config, &open, (syn, text), option)
            }
            Verdict::Plain | Verdict::Offer(_) => Connection::accept(self.cx, &config, &open, syn),
        };
        if let Verdict::Offer(option) = verdict {
            connection.offer_cookie(option);
        }
        connection.keep_options(options);
        if self.sockets.hold(listener, id) {
            connection.hold();
        }
        self.sockets.add_tcp(TcpSocket::new(connection, local, remote), Some(listener));
        self.sockets.touch(id);
        match verdict {
            Verdict::Take(_) => {
                self.sockets.fast_opened(id);
                self.note_listener(listener, ListenerStep::FastOpenTaken);
            }
            Verdict::Offer(_) => self.note_listener(listener, ListenerStep::FastOpenOffered),
            Verdict::Plain => self.note_listener(listener, ListenerStep::SynQueued),
        }
        id.conn()
    }

    fn passive_params(
        &mut self,
        id: SocketId,
        isn: u32,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> OpenParams {
        OpenParams {
            conn: id.conn(),
            isn: Seq(isn),
            mss: self.mss_towards(remote.ip()),
            path_mtu: self.told_mtu(remote.ip()),
            ts_offset: self.isn.timestamp_offset(local, remote),
            nodelay: false,
        }
    }

    fn cookie_jar(&mut self) -> &mut SynCookieJar {
        let isn = &self.isn;
        self.syn_cookies.get_or_insert_with(|| Box::new(SynCookieJar::new([isn.key(1), isn.key(2)])))
    }

    /// A SYN-ACK that remembers everything itself: a connection is made for it and forgotten at once.
    fn answer_with_cookie(
        &mut self,
        packet: &Packet,
        syn: &TcpHeader,
        (listener, options): (SocketId, &SocketOptions),
        out: &mut Outbox,
    ) -> Delivered {
        //= rfc4987#3.6
        let (local, remote) = ends(packet, syn);
        let now = self.cx.now;
        let offered = syn.options.mss.unwrap_or(self.tcp.default_mss);
        let isn = Ends { client: remote, server: local, isn: syn.seq.0 };
        let (cookie, _) = self.cookie_jar().bake(now, isn, offered);
        let mut kept = *syn;
        if syn.options.timestamps.is_none() {
            kept.options = TcpOptions::default();
            kept.options.mss = syn.options.mss;
        }
        // ECN does not survive in these cookies.
        kept.flags = TcpFlags::SYN;
        let config = self.tcp_config_of(options);
        let open = self.passive_params(SocketId(0), cookie, local, remote);
        let quiet = crate::tcp::Cx { recording: false, ..self.cx };
        let mut passing = Connection::accept(quiet, &config, &open, &kept);
        if let Some(segment) = passing.next_segment(quiet) {
            let mut header = TcpHeader { src: syn.dst, dst: syn.src, ..segment.header };
            if let Some((value, echo)) = header.options.timestamps {
                let clock = value.wrapping_sub(open.ts_offset);
                let scale = kept.options.window_scale.filter(|_| header.options.window_scale.is_some());
                let value = stamp(clock, scale, header.options.sack_permitted);
                header.options.timestamps = Some((value.wrapping_add(open.ts_offset), echo));
            }
            self.push_reset(packet, &header, out);
        }
        self.note_listener(listener, ListenerStep::CookieSent);
        Ok(listener.conn())
    }

    /// An ACK for a listener, without a handshake that we know of: does it bring a cookie back?
    fn take_cookie(
        &mut self,
        packet: &Packet,
        (header, text): (&TcpHeader, &[u8]),
        listener: SocketId,
    ) -> Option<Delivered> {
        let plain = header.flags.has(TcpFlags::ACK) && !header.flags.any(TcpFlags::SYN | TcpFlags::RST);
        if !plain || self.tcp.syn_cookies == SynCookies::Off {
            return None;
        }
        let (local, remote) = ends(packet, header);
        let isn = Ends { client: remote, server: local, isn: header.seq.0.wrapping_sub(1) };
        let jar = self.syn_cookies.as_ref()?;
        let Some(mss) = jar.taste(self.cx.now, isn, header.ack.0.wrapping_sub(1)) else {
            self.note_listener(listener, ListenerStep::CookieRefused);
            return None;
        };
        let config = self.tcp.clone();
        let room = self.sockets.listener_mut(listener).map(|l| l.room(&config))?;
        if room.accept_queue_full {
            self.note_listener(listener, ListenerStep::AcceptQueueFull);
            return Some(Err(stop(DropReason::AcceptQueueFull)));
        }
        let id = self.sockets.next_id();
        let open = self.passive_params(id, header.ack.0.wrapping_sub(1), local, remote);
        let mut syn = TcpHeader { seq: header.seq - 1, flags: TcpFlags::SYN, ..*header };
        syn.options = TcpOptions::default();
        syn.options.mss = Some(mss);
        if let Some((value, echo)) = header.options.timestamps {
            let (scale, sack) = unstamp(echo.wrapping_sub(open.ts_offset));
            (syn.options.window_scale, syn.options.sack_permitted) = (scale, sack);
            syn.options.timestamps = Some((value, 0));
        }
        self.note_open(id, protocol::TCP, false, local, remote);
        let own = self.tcp_config_of(&room.options);
        let mut connection = Connection::accept(self.cx, &own, &open, &syn);
        connection.keep_options(room.options);
        connection.syn_ack_was_sent();
        let _ = connection.on_segment(self.cx, header, text, crate::tcp::Ecn::NotEct);
        self.sockets.add_tcp(TcpSocket::new(connection, local, remote), Some(listener));
        self.sockets.touch(id);
        self.note_listener(listener, ListenerStep::CookieAccepted);
        Some(Ok(id.conn()))
    }

    /// What a listener says to the segment that would end a handshake of its SYN queue: why it is dropped, if it is.
    pub(crate) fn refuse_last_ack(
        &mut self,
        id: SocketId,
        listener: SocketId,
        (header, text): (&TcpHeader, &[u8]),
    ) -> Option<DropReason> {
        let ends_it = header.flags.has(TcpFlags::ACK) && !header.flags.any(TcpFlags::SYN | TcpFlags::RST);
        let config = self.tcp.clone();
        let full = self.sockets.listener_mut(listener)?.is_full(&config);
        let socket = self.sockets.tcp_mut(id)?;
        if !ends_it || !socket.connection.would_open(header) {
            return None;
        }
        if full {
            if config.abort_on_overflow {
                socket.connection.abort(self.cx);
                self.sockets.touch(id);
            }
            self.note_listener(listener, ListenerStep::AcceptQueueFull);
            return Some(DropReason::AcceptQueueFull);
        }
        let bare = text.is_empty() && !header.flags.has(TcpFlags::FIN);
        if bare && socket.connection.defer_accept() {
            self.note_listener(listener, ListenerStep::Deferred);
            return Some(DropReason::AcceptDeferred);
        }
        None
    }

    /// Tells what happened at a listener, with the lengths of its queues.
    pub(crate) fn note_listener(&mut self, id: SocketId, step: ListenerStep) {
        if !self.cx.recording {
            return;
        }
        let Some(Socket::Listener(listener)) = self.sockets.lookup(id) else { return };
        let (syn_queue, accept_queue) = (listener.half_open.len() as u32, listener.ready.len() as u32);
        self.records.push(What::Listener { conn: id.conn(), step, syn_queue, accept_queue });
    }
}

/// (our end, the peer's) of a segment that arrived.
fn ends(packet: &Packet, header: &TcpHeader) -> (SocketAddr, SocketAddr) {
    let at = |address, port| SocketAddr::new(v4(address).map_or(address, IpAddr::V4), port);
    (at(packet.dst(), header.dst), at(packet.src(), header.src))
}
