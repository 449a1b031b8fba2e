//! Options of descriptors: `fcntl`, `ioctl`, `getsockopt`, `setsockopt`, with Linux's numbers and layouts.
//!
//! Integer options live in the descriptor; what the stack has to know of them is handed over by
//! `Machine::apply_options`, for a fresh socket when it connects or listens. Known options that mean nothing here (such as
//! `SO_PRIORITY`) are kept and given back.

use rt_base::{Nanos, TcpPhase};
use rt_stack::SocketId;
use rt_stack::tcp::{KeepaliveConfig, MtuDiscovery, SocketOptions};

use super::descriptor::{Kind, Stream, TcpDescriptor};
use super::numbers as n;
use super::settings::Personality;
use super::{Errno, Fd, Machine};

/// `fcntl` and `ioctl`.
impl Machine {
    /// `fcntl(fd, F_GETFL)` and `fcntl(fd, F_SETFL, argument)`.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` for other commands.
    pub fn fcntl(&mut self, fd: Fd, command: i32, argument: i32) -> Result<i32, Errno> {
        let descriptor = self.table.get_mut(fd)?;
        match command {
            n::F_GETFL => {
                let mode = match descriptor.kind {
                    Kind::PipeReader(_) => n::O_RDONLY,
                    Kind::PipeWriter { .. } => n::O_WRONLY,
                    _ => n::O_RDWR,
                };
                Ok(mode | if descriptor.nonblocking { n::O_NONBLOCK } else { 0 })
            }
            n::F_SETFL => {
                descriptor.nonblocking = argument & n::O_NONBLOCK != 0;
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `ioctl(fd, request, &int)` for requests that give a number (`SIOCINQ`, `SIOCOUTQ`, `SIOCOUTQNSD`) and `FIONBIO`,
    /// which takes `argument`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTTY`, `EINVAL` (`SIOCINQ` of a listener).
    pub fn ioctl(&mut self, fd: Fd, request: u64, argument: i32) -> Result<i32, Errno> {
        let request = i32::try_from(request).map_err(|_| Errno::ENOTTY)?;
        let descriptor = self.table.get_mut(fd)?;
        if request == n::FIONBIO {
            descriptor.nonblocking = argument != 0;
            return Ok(0);
        }
        let tcp = match &descriptor.kind {
            Kind::Tcp(tcp) => tcp,
            Kind::PipeReader(pipe) if request == n::FIONREAD => return Ok(length(pipe.bytes.len())),
            Kind::Udp(udp) if request == n::FIONREAD => {
                return Ok(length(udp.peeked.front().map_or(0, |(payload, _)| payload.len())));
            }
            _ => return Err(Errno::ENOTTY),
        };
        if !matches!(request, n::SIOCINQ | n::SIOCOUTQ | n::SIOCOUTQNSD) {
            return Err(Errno::ENOTTY);
        }
        let id = match tcp.stream {
            Stream::Listening(_) => return Err(Errno::EINVAL),
            Stream::Fresh => return Ok(0),
            Stream::Open(id) => id,
        };
        Ok(match request {
            n::SIOCINQ => length(self.stack.tcp_unread(id)),
            n::SIOCOUTQ => {
                let queued = self.stack.tcp_info(id).map_or(0, |info| info.unacked + info.unsent);
                length(queued as usize)
            }
            _ => length(self.stack.tcp_info(id).map_or(0, |info| info.unsent) as usize),
        })
    }
}

/// A number of bytes as C's `int`.
fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// `getsockopt` and `setsockopt`.
impl Machine {
    /// `getsockopt(fd, level, name, ..., &len)`: the value as the bytes that Linux gives (native byte order), at most `len`
    /// of them.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`, `ENOPROTOOPT`, `EINVAL`.
    pub fn getsockopt(&mut self, fd: Fd, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = match (level, name) {
            (n::SOL_SOCKET, n::SO_ERROR) => {
                self.table.get(fd)?;
                self.take_error(fd).map_or(0, |errno| errno.0).to_ne_bytes().to_vec()
            }
            (n::SOL_SOCKET, n::SO_LINGER) => {
                let (on, seconds) = self.table.tcp(fd)?.linger;
                [on.to_ne_bytes(), seconds.to_ne_bytes()].concat()
            }
            (n::IPPROTO_TCP, n::TCP_INFO) => self.tcp_info(fd)?,
            (n::IPPROTO_TCP, n::TCP_CONGESTION) => {
                let mut name = self.congestion_name(fd)?.as_bytes().to_vec();
                name.resize(16, 0);
                name
            }
            (n::IPPROTO_TCP, n::TCP_CC_INFO) => {
                self.table.tcp(fd)?;
                Vec::new()
            }
            _ => self.integer_option(fd, level, name)?.to_ne_bytes().to_vec(),
        };
        bytes.truncate(len);
        Ok(bytes)
    }

    /// `setsockopt(fd, level, name, value, len)`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`, `ENOPROTOOPT`, `EINVAL`.
    pub fn setsockopt(&mut self, fd: Fd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if let Kind::Udp(udp) = &mut self.table.get_mut(fd)?.kind {
            udp.values.insert((level, name), integer(value)?);
            return Ok(());
        }
        let (bsd, fast_open) = (self.settings.is_bsd(), self.settings.tcp.fast_open.client);
        let tcp = self.table.tcp_mut(fd)?;
        match (level, name) {
            (n::IPPROTO_TCP, n::TCP_FASTOPEN_CONNECT) if !fast_open => return Err(Errno::EOPNOTSUPP),
            // Linux doubles a buffer's size, for what it keeps beside the bytes.
            (n::SOL_SOCKET, n::SO_RCVBUF | n::SO_SNDBUF) if bsd => {
                let bytes = Some(integer(value)?).filter(|bytes| *bytes > 0).ok_or(Errno::EINVAL)?;
                tcp.values.insert((level, name), bytes);
            }
            (n::SOL_SOCKET, n::SO_LINGER) => {
                let (on, seconds) = value.split_at_checked(4).ok_or(Errno::EINVAL)?;
                tcp.linger = (integer(on)?, integer(seconds)?);
            }
            (n::IPPROTO_TCP, n::TCP_CONGESTION) => {
                let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = core::str::from_utf8(text).map_err(|_| Errno::ENOENT)?;
                super::settings::congestion(text).ok_or(Errno::ENOENT)?;
                tcp.congestion = Some(text.to_string());
            }
            (n::SOL_SOCKET, n::SO_RCVTIMEO | n::SO_SNDTIMEO) => {
                // Kept as whole milliseconds.
                let (seconds, micros) = value.split_at_checked(8).ok_or(Errno::EINVAL)?;
                let ms = long(seconds)?.saturating_mul(1_000).saturating_add(long(micros)? / 1_000);
                tcp.values.insert((level, name), i32::try_from(ms).unwrap_or(i32::MAX));
            }
            (n::SOL_SOCKET, n::SO_ERROR | n::SO_TYPE | n::SO_PROTOCOL | n::SO_DOMAIN | n::SO_ACCEPTCONN)
            | (n::IPPROTO_TCP, n::TCP_INFO) => return Err(Errno::ENOPROTOOPT),
            _ => {
                let given = if level == n::IPPROTO_IP { of_ip(value) } else { integer(value) }?;
                let kept = admissible(level, name, given)?;
                tcp.values.insert((level, name), kept);
            }
        }
        if (level, name) == (n::IPPROTO_TCP, n::TCP_QUICKACK)
            && let Stream::Open(id) = self.table.tcp(fd)?.stream
        {
            let on = integer(value)? != 0;
            self.app(|stack| stack.tcp_set_quickack(id, on));
        }
        self.apply_options(fd);
        if (level, name) == (n::IPPROTO_TCP, n::TCP_NODELAY)
            && let Stream::Open(id) = self.table.tcp(fd)?.stream
            && integer(value)? != 0
        {
            self.app(|stack| stack.tcp_push(id));
        }
        Ok(())
    }

    /// An option whose value is an `int`.
    fn integer_option(&self, fd: Fd, level: i32, name: i32) -> Result<i32, Errno> {
        let tcp = match &self.table.get(fd)?.kind {
            Kind::Tcp(tcp) => tcp,
            Kind::Udp(udp) => {
                return match (level, name) {
                    (n::SOL_SOCKET, n::SO_TYPE) => Ok(n::SOCK_DGRAM),
                    (n::SOL_SOCKET, n::SO_PROTOCOL) => Ok(n::IPPROTO_UDP),
                    (n::SOL_SOCKET, n::SO_DOMAIN) => Ok(n::AF_INET),
                    _ => Ok(udp.values.get(&(level, name)).copied().unwrap_or(0)),
                };
            }
            _ => return Err(Errno::ENOTSOCK),
        };
        let live = match tcp.stream {
            Stream::Open(id) => self.live_option(id, tcp, level, name),
            _ => None,
        };
        // Older Linux told the segments' size of now, RFC 9293's 536, and not what was asked for.
        let old = self.settings.personality == Personality::Linux4;
        if old && live.is_none() && (level, name) == (n::IPPROTO_TCP, n::TCP_MAXSEG) {
            return self.default_option(tcp, level, name);
        }
        match live.or(tcp.value(level, name)) {
            Some(value) => Ok(value),
            None => self.default_option(tcp, level, name),
        }
    }

    /// Options whose value comes from the connection.
    fn live_option(&self, id: SocketId, tcp: &TcpDescriptor, level: i32, name: i32) -> Option<i32> {
        let info = self.stack.tcp_info(id)?;
        match (level, name) {
            (n::IPPROTO_TCP, n::TCP_MAXSEG) => i32::try_from(info.maxseg).ok(),
            // A round number of segments, once the peer has said how long these are.
            (n::SOL_SOCKET, n::SO_RCVBUF) if self.settings.is_bsd() && info.phase != TcpPhase::SynSent => {
                i32::try_from(self.stack.tcp_receive_buffer(id)).ok()
            }
            (n::IPPROTO_IP, n::IP_MTU) if tcp.connected => Some(i32::from(self.settings.mtu)),
            _ => None,
        }
    }

    /// What an option is that nobody has set.
    fn default_option(&self, tcp: &TcpDescriptor, level: i32, name: i32) -> Result<i32, Errno> {
        let config = &self.settings.tcp;
        let times = config.keepalive_times;
        let seconds = |span: Nanos| i32::try_from(span.as_millis() / 1_000).unwrap_or(i32::MAX);
        Ok(match (level, name) {
            (n::SOL_SOCKET, n::SO_TYPE) => n::SOCK_STREAM,
            (n::SOL_SOCKET, n::SO_PROTOCOL) => n::IPPROTO_TCP,
            (n::SOL_SOCKET, n::SO_DOMAIN) => n::AF_INET,
            (n::SOL_SOCKET, n::SO_ACCEPTCONN) => i32::from(matches!(tcp.stream, Stream::Listening(_))),
            (n::SOL_SOCKET, n::SO_KEEPALIVE) => i32::from(config.keepalive.is_some()),
            (n::SOL_SOCKET, n::SO_RCVLOWAT | n::SO_SNDLOWAT) => 1,
            (n::SOL_SOCKET, n::SO_MAX_PACING_RATE) => -1,
            (n::SOL_SOCKET, n::SO_RCVBUF) => self.settings.receive_buffer(),
            (n::SOL_SOCKET, n::SO_SNDBUF) => self.settings.send_buffer(),
            (n::IPPROTO_IP, n::IP_TTL) => 64,
            (n::IPPROTO_IP, n::IP_MTU_DISCOVER) => n::IP_PMTUDISC_WANT,
            (n::IPPROTO_IP, n::IP_MTU) => return Err(Errno::ENOTCONN),
            (n::IPPROTO_TCP, n::TCP_MAXSEG) => 536,
            (n::IPPROTO_TCP, n::TCP_NODELAY) => i32::from(config.nodelay),
            (n::IPPROTO_TCP, n::TCP_KEEPIDLE) => seconds(times.idle),
            (n::IPPROTO_TCP, n::TCP_KEEPINTVL) => seconds(times.interval),
            (n::IPPROTO_TCP, n::TCP_KEEPCNT) => i32::from(times.count),
            (n::IPPROTO_TCP, n::TCP_SYNCNT) => i32::from(config.syn_retries),
            (n::IPPROTO_TCP, n::TCP_LINGER2) => seconds(config.fin_wait2),
            (n::IPPROTO_TCP, n::TCP_QUICKACK) => 1,
            (n::SOL_SOCKET, name) if known_socket_option(name) => 0,
            (n::IPPROTO_TCP, n::TCP_NODELAY..=n::TCP_TX_DELAY) | (n::IPPROTO_IP, 1..=50) => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }

    fn congestion_name(&self, fd: Fd) -> Result<String, Errno> {
        let own = self.table.tcp(fd)?.congestion.clone();
        Ok(own.unwrap_or_else(|| super::settings::congestion_name(self.settings.tcp.congestion).to_string()))
    }

    /// Tells the stack what was set on a descriptor that listens or is connected.
    pub(super) fn apply_options(&mut self, fd: Fd) {
        let Ok(tcp) = self.table.tcp(fd) else { return };
        let (Stream::Open(id) | Stream::Listening(id)) = tcp.stream else { return };
        let options = self.stack_options(tcp);
        self.app(|stack| stack.tcp_set_options(id, options));
    }

    /// What the stack is to know of a descriptor's options.
    pub(super) fn stack_options(&self, tcp: &TcpDescriptor) -> SocketOptions {
        let machine = self.stack.tcp_config();
        let of_tcp = |name| tcp.value(n::IPPROTO_TCP, name);
        let of_socket = |name| tcp.value(n::SOL_SOCKET, name);
        let on = |value: Option<i32>| value.is_some_and(|value| value != 0);
        let times = keepalive_times(tcp, machine.keepalive_times);
        SocketOptions {
            ecn: None,
            nodelay: on(of_tcp(n::TCP_NODELAY)),
            cork: on(of_tcp(n::TCP_CORK)),
            keepalive: on(of_socket(n::SO_KEEPALIVE)),
            keepalive_times: (times != machine.keepalive_times).then_some(times),
            user_timeout: Nanos::from_millis(positive(of_tcp(n::TCP_USER_TIMEOUT)).unwrap_or(0).into()),
            syn_retries: positive(of_tcp(n::TCP_SYNCNT)).and_then(|count| u8::try_from(count).ok()),
            linger: match tcp.linger {
                (1.., seconds) => Some(Nanos::from_secs(seconds.unsigned_abs().into())),
                _ => None,
            },
            fin_wait2: of_tcp(n::TCP_LINGER2).map(|seconds| match seconds {
                0 => machine.fin_wait2,
                // A negative value ends it at once.
                _ => Nanos::from_secs(u64::try_from(seconds).unwrap_or(0)),
            }),
            max_segment: positive(of_tcp(n::TCP_MAXSEG)).and_then(|bytes| u16::try_from(bytes).ok()),
            window_clamp: positive(of_tcp(n::TCP_WINDOW_CLAMP)),
            receive_buffer: positive(of_socket(n::SO_RCVBUF)),
            send_buffer: positive(of_socket(n::SO_SNDBUF)),
            defer_accept: Nanos::from_secs(positive(of_tcp(n::TCP_DEFER_ACCEPT)).unwrap_or(0).into()),
            fast_open_queue: positive(of_tcp(n::TCP_FASTOPEN)).unwrap_or(0),
            fast_open_connect: on(of_tcp(n::TCP_FASTOPEN_CONNECT)),
            fast_open_no_cookie: on(of_tcp(n::TCP_FASTOPEN_NO_COOKIE)),
            not_sent_low_water: positive(of_tcp(n::TCP_NOTSENT_LOWAT)),
            // -1 is no limit.
            max_pacing_rate: positive(of_socket(n::SO_MAX_PACING_RATE)).map(u64::from),
            congestion: tcp.congestion.as_deref().and_then(super::settings::congestion),
            tos: tcp.value(n::IPPROTO_IP, n::IP_TOS).map_or(0, |tos| tos as u8),
            ttl: positive(tcp.value(n::IPPROTO_IP, n::IP_TTL)).and_then(|ttl| u8::try_from(ttl).ok()),
            mtu_discovery: tcp.value(n::IPPROTO_IP, n::IP_MTU_DISCOVER).map(|mode| match mode {
                n::IP_PMTUDISC_DONT => MtuDiscovery::Off,
                n::IP_PMTUDISC_DO => MtuDiscovery::Always,
                n::IP_PMTUDISC_PROBE | n::IP_PMTUDISC_INTERFACE => MtuDiscovery::Probe,
                _ => MtuDiscovery::Want,
            }),
            connect_timeout: positive(of_tcp(n::TCP_KEEPINIT))
                .map(|seconds| Nanos::from_secs(seconds.into())),
            no_options: on(of_tcp(n::TCP_NOOPT)),
        }
    }
}

/// A value that was set and is more than zero.
fn positive(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

/// The value that is kept for an integer option, or why it is impossible.
fn admissible(level: i32, name: i32, value: i32) -> Result<i32, Errno> {
    let within = |low: i32, high: i32| {
        if (low..=high).contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
    };
    match (level, name) {
        (n::SOL_SOCKET, n::SO_RCVBUF | n::SO_RCVBUFFORCE) => Ok(value.saturating_mul(2).max(2_304)),
        (n::SOL_SOCKET, n::SO_SNDBUF | n::SO_SNDBUFFORCE) => Ok(value.saturating_mul(2).max(4_608)),
        (n::SOL_SOCKET, name) if known_socket_option(name) => Ok(value),
        (n::IPPROTO_TCP, n::TCP_MAXSEG) if value != 0 => within(88, 32_767),
        (n::IPPROTO_TCP, n::TCP_KEEPIDLE | n::TCP_KEEPINTVL) => within(1, 32_767),
        (n::IPPROTO_TCP, n::TCP_KEEPCNT | n::TCP_SYNCNT) => within(1, 127),
        (n::IPPROTO_TCP, n::TCP_LINGER2) => Ok(value.clamp(-1, 120)),
        (n::IPPROTO_TCP, n::TCP_USER_TIMEOUT) => within(0, i32::MAX),
        (n::IPPROTO_TCP, n::TCP_NODELAY | n::TCP_CORK | n::TCP_FASTOPEN_NO_COOKIE) => {
            Ok(i32::from(value != 0))
        }
        (n::IPPROTO_TCP, n::TCP_FASTOPEN_CONNECT | n::TCP_INQ | n::TCP_REPAIR) => within(0, 1),
        (n::IPPROTO_TCP, n::TCP_INFO | n::TCP_CC_INFO | n::TCP_SAVED_SYN) => Err(Errno::ENOPROTOOPT),
        (
            n::IPPROTO_TCP,
            n::TCP_NODELAY..=n::TCP_TX_DELAY | n::TCP_RTO_MAX_MS | n::TCP_NOOPT | n::TCP_KEEPINIT,
        ) => Ok(value),
        (n::IPPROTO_IP, n::IP_TTL) => {
            if value == -1 {
                Ok(64)
            } else {
                within(1, 255)
            }
        }
        (n::IPPROTO_IP, n::IP_MTU_DISCOVER) => within(n::IP_PMTUDISC_DONT, n::IP_PMTUDISC_OMIT),
        (n::IPPROTO_IP, 1..=50) => Ok(value),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

fn known_socket_option(name: i32) -> bool {
    (n::SO_DEBUG..=n::SO_TXREHASH).contains(&name)
}

/// An option's value as C's `int`.
fn integer(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

/// The value of an option of IP: Linux takes a single byte for a number as well.
fn of_ip(value: &[u8]) -> Result<i32, Errno> {
    match value {
        [byte] | [byte, _] | [byte, _, _] => Ok((*byte).into()),
        _ => integer(value),
    }
}

/// An option's value as C's `long`.
fn long(value: &[u8]) -> Result<i64, Errno> {
    value.first_chunk().map(|bytes| i64::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

/// The keepalive times of a descriptor.
pub(super) fn keepalive_times(tcp: &TcpDescriptor, machine: KeepaliveConfig) -> KeepaliveConfig {
    let seconds = |name, default| {
        tcp.value(n::IPPROTO_TCP, name).map_or(default, |value| Nanos::from_secs(value.unsigned_abs().into()))
    };
    KeepaliveConfig {
        idle: seconds(n::TCP_KEEPIDLE, machine.idle),
        interval: seconds(n::TCP_KEEPINTVL, machine.interval),
        count: tcp
            .value(n::IPPROTO_TCP, n::TCP_KEEPCNT)
            .and_then(|count| u8::try_from(count).ok())
            .unwrap_or(machine.count),
    }
}
