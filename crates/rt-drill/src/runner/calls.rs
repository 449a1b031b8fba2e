//! System call lines: arguments to the machine, results compared.

use std::net::{Ipv4Addr, SocketAddrV4};

use rt_base::Time;

use super::flow::{Flow, Protocol, Stage};
use super::play::{Played, Player, Stop, clock};
use super::values::{count, memory, number, socket_address};
use crate::language::ast::{Event, Expr, SystemCall};
use crate::machine::{Call, EpollEvent, Errno, Machine, PollFd, numbers};

/// Largest buffer that a call may name.
const LARGEST: usize = 64 << 20;

/// A call under way.
#[derive(Clone, Debug)]
pub(super) struct PendingCall {
    pub(super) event: Event,
    pub(super) call: SystemCall,
    /// When it must return.
    pub(super) end: Time,
    /// It ends by itself then (`poll` with a timeout).
    pub(super) gives_up: Time,
    /// When it began.
    began: Time,
}

impl PendingCall {
    pub(super) fn new(event: &Event, call: &SystemCall, machine: &Machine) -> PendingCall {
        let now = machine.now();
        let relative = matches!(event.when, crate::language::ast::When::After(_));
        let began_at = match event.when {
            crate::language::ast::When::After(t) => now.0.saturating_sub(t.saturating_mul(1_000)),
            _ => 0,
        };
        let end = call
            .end
            .map_or(now.0, |e| e.saturating_mul(1_000).saturating_add(if relative { began_at } else { 0 }));
        PendingCall {
            event: event.clone(),
            call: call.clone(),
            end: Time(end),
            gives_up: Time::MAX,
            began: now,
        }
    }
}

/// What asking came to.
pub(super) enum Attempt {
    Returned(Returned),
    Waits,
}

/// What a call gave back.
pub(super) struct Returned {
    value: Result<i64, Errno>,
    /// (what, expected, actual) of outputs beside the result.
    differences: Vec<(String, String, String)>,
}

impl From<Result<i64, Errno>> for Attempt {
    fn from(value: Result<i64, Errno>) -> Attempt {
        Attempt::Returned(Returned { value, differences: Vec::new() })
    }
}

fn done<T>(result: Result<T, Errno>, value: impl FnOnce(T) -> i64) -> Attempt {
    Attempt::from(result.map(value))
}

fn or_waits<T>(call: Call<T>, value: impl FnOnce(T) -> i64) -> Attempt {
    match call {
        Call::Done(result) => done(result, value),
        Call::Pending => Attempt::Waits,
    }
}

/// Why a call could not be asked at all: what is not supported.
type Asked<T> = Result<T, String>;

impl Player<'_> {
    pub(super) fn note_call(&mut self, call: &SystemCall) {
        let now = self.machine.now();
        let first = call.arguments.first().and_then(|a| number(a).ok());
        let more = if call.arguments.len() > 1 { ", ..." } else { "" };
        let fd = first.map_or_else(|| "...".to_owned(), |n| n.to_string());
        self.note(now, format!("{}({fd}{more})", call.name));
    }

    /// Asks, for the first time or again.
    pub(super) fn attempt(&mut self, pending: &mut PendingCall) -> Played<Attempt> {
        let call = pending.call.clone();
        let result = self.ask(&call, pending);
        let attempt = result.map_err(|what| {
            Stop::Unsupported(call.place.line, format!("{}: not understood here: {what}", call.name))
        })?;
        self.collect();
        Ok(attempt)
    }

    fn ask(&mut self, call: &SystemCall, pending: &mut PendingCall) -> Asked<Attempt> {
        let a = &call.arguments;
        match call.name.as_str() {
            "socket" | "bind" | "listen" | "accept" | "accept4" | "connect" | "shutdown" | "close"
            | "pipe" => self.ask_connection(call),
            "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => self.ask_receive(call),
            "write" | "writev" | "send" | "sendto" | "sendmsg" => self.ask_send(call),
            "getsockopt" | "setsockopt" | "fcntl" | "ioctl" => self.ask_option(call),
            "poll" => self.ask_poll(a, pending),
            "epoll_create" => self.ask_epoll_create(call),
            "epoll_ctl" => {
                let (epfd, fd) = (self.fd(a, 0)?, self.fd(a, 2)?);
                let event = a.get(3).map_or(Ok(EpollEvent { events: 0, data: 0 }), epoll_event)?;
                Ok(done(self.machine.epoll_ctl(epfd, self.int(a, 1)?, fd, event), |()| 0))
            }
            "epoll_wait" => self.ask_epoll_wait(a, pending),
            "splice" => {
                let (from, to) = (self.fd(a, 0)?, self.fd(a, 2)?);
                let (len, flags) = (size(a, 4)?, self.int(a, 5)?);
                Ok(or_waits(self.machine.splice(from, to, len, flags), |n| n as i64))
            }
            _ => Err("this system call".into()),
        }
    }

    /// The machine's descriptor for a script's; one that the script never got stays as it is.
    fn fd(&self, arguments: &[Expr], at: usize) -> Asked<i32> {
        let script = number(arguments.get(at).ok_or("a missing argument")?)?;
        Ok(self.fds.get(&script).copied().unwrap_or(if script < 0 {
            script as i32
        } else {
            script as i32 | 1 << 20
        }))
    }

    fn int(&self, arguments: &[Expr], at: usize) -> Asked<i32> {
        Ok(arguments.get(at).map_or(Ok(0), number)? as i32)
    }

    fn ask_connection(&mut self, call: &SystemCall) -> Asked<Attempt> {
        let a = &call.arguments;
        let settings = self.machine.settings();
        let (own, peer) = (settings.local_ip, settings.remote_ip);
        Ok(match call.name.as_str() {
            "socket" => return self.ask_socket(call),
            "bind" => {
                let fd = self.fd(a, 0)?;
                let default = SocketAddrV4::new(own, self.bind_port);
                let Some(local) = socket_address(a.get(1).unwrap_or(&Expr::Ellipsis), default)? else {
                    return Err("bind to AF_UNSPEC".into());
                };
                let result = self.machine.bind(fd, local);
                if result.is_ok() {
                    let address = if local.ip().is_unspecified() { own } else { *local.ip() };
                    self.with_flow(fd, |flow| flow.local = (address, local.port()));
                }
                done(result, |()| 0)
            }
            "listen" => {
                let fd = self.fd(a, 0)?;
                let result = self.machine.listen(fd, self.int(a, 1)?);
                if result.is_ok() {
                    self.with_flow(fd, |flow| flow.stage = Stage::Listening);
                }
                done(result, |()| 0)
            }
            "accept" | "accept4" => {
                let fd = self.fd(a, 0)?;
                match self.machine.accept(fd, self.int(a, 3)?) {
                    Call::Done(Ok((live, from))) => {
                        let script = number(&call.result).unwrap_or(-1);
                        self.bind_fd(script, live);
                        let at = self.flows.iter().rposition(|f| {
                            f.fd.is_none()
                                && f.protocol == Protocol::Tcp
                                && f.remote == (*from.ip(), from.port())
                        });
                        if let Some(at) = at {
                            self.flows[at].fd = Some((script, live));
                        }
                        Attempt::from(Ok(script.max(0)))
                    }
                    other => or_waits(other, |_| 0),
                }
            }
            "connect" => {
                let fd = self.fd(a, 0)?;
                let default = SocketAddrV4::new(peer, self.connect_port);
                let to = socket_address(a.get(1).unwrap_or(&Expr::Ellipsis), default)?;
                self.begin_connect(fd, to);
                or_waits(self.machine.connect(fd, to), |()| 0)
            }
            "shutdown" => done(self.machine.shutdown(self.fd(a, 0)?, self.int(a, 1)?), |()| 0),
            "pipe" => {
                let result = self.machine.pipe();
                if let (Ok((read, write)), Some(Expr::List(names))) = (&result, a.first()) {
                    for (name, live) in names.iter().zip([*read, *write]) {
                        self.bind_fd(number(name)?, live);
                    }
                }
                done(result, |_| 0)
            }
            _ => or_waits(self.machine.close(self.fd(a, 0)?), |()| 0),
        })
    }

    fn ask_socket(&mut self, call: &SystemCall) -> Asked<Attempt> {
        let a = &call.arguments;
        let domain = match a.first() {
            Some(Expr::Ellipsis) | None => numbers::AF_INET,
            Some(expr) => number(expr)? as i32,
        };
        let (kind, protocol) = (self.int(a, 1)?, self.int(a, 2)?);
        let result = self.machine.socket(domain, kind, protocol);
        if let Ok(live) = result {
            let script = number(&call.result).unwrap_or(-1);
            self.bind_fd(script, live);
            let protocol = match (protocol, kind & 0xf) {
                (numbers::IPPROTO_ICMP, _) => Protocol::Icmp,
                (numbers::IPPROTO_UDP, _) | (_, numbers::SOCK_DGRAM) => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            let mut flow = Flow::new(protocol, Stage::New);
            flow.fd = Some((script, live));
            self.sockets.push(self.flows.len());
            self.flows.push(flow);
            self.under_test = Some(self.flows.len() - 1);
            return Ok(Attempt::from(Ok(script.max(0))));
        }
        Ok(done(result, i64::from))
    }

    fn bind_fd(&mut self, script: i64, live: i32) {
        self.fds.insert(script, live);
    }

    fn with_flow(&mut self, live: i32, change: impl FnOnce(&mut Flow)) {
        if let Some(flow) = self.flows.iter_mut().rev().find(|f| f.fd.is_some_and(|(_, fd)| fd == live)) {
            change(flow);
        }
    }

    fn begin_connect(&mut self, live: i32, to: Option<SocketAddrV4>) {
        let at = self.flows.iter().rposition(|f| f.fd.is_some_and(|(_, fd)| fd == live));
        let (Some(at), Some(to)) = (at, to) else { return };
        let flow = &mut self.flows[at];
        flow.remote = (*to.ip(), to.port());
        if flow.protocol == Protocol::Udp || flow.stage == Stage::New {
            flow.stage = Stage::Connecting;
            self.under_test = Some(at);
        }
    }

    fn ask_receive(&mut self, call: &SystemCall) -> Asked<Attempt> {
        let a = &call.arguments;
        if points_nowhere(a) {
            return Ok(Attempt::from(Err(Errno::EFAULT)));
        }
        let fd = self.fd(a, 0)?;
        let (len, flags) = match call.name.as_str() {
            "readv" => (vectors(a.get(1))?, 0),
            "recvmsg" => {
                let message = a.get(1).ok_or("a missing msghdr")?;
                if message.field("msg_control").is_some_and(|c| *c != Expr::List(Vec::new())) {
                    return Err("control messages".into());
                }
                (vectors(message.field("msg_iov"))?, self.int(a, 2)?)
            }
            "read" => (size(a, 2)?, 0),
            _ => (size(a, 2)?, self.int(a, 3)?),
        };
        let mut buffer = vec![0; bounded(len)?];
        Ok(or_waits(self.machine.recv(fd, &mut buffer, flags), |r| r.len as i64))
    }

    fn ask_send(&mut self, call: &SystemCall) -> Asked<Attempt> {
        let a = &call.arguments;
        if points_nowhere(a) {
            return Ok(Attempt::from(Err(Errno::EFAULT)));
        }
        let fd = self.fd(a, 0)?;
        let (len, flags, to) = match call.name.as_str() {
            "writev" => (vectors(a.get(1))?, 0, None),
            "sendmsg" => {
                let message = a.get(1).ok_or("a missing msghdr")?;
                if message.field("msg_control").is_some_and(|c| *c != Expr::List(Vec::new())) {
                    return Err("control messages".into());
                }
                (vectors(message.field("msg_iov"))?, self.int(a, 2)?, message.field("msg_name"))
            }
            "write" => (size(a, 2)?, 0, None),
            "send" => (size(a, 2)?, self.int(a, 3)?, None),
            _ => (size(a, 2)?, self.int(a, 3)?, a.get(4)),
        };
        let mut bytes = vec![0; bounded(len)?];
        if let Some(Expr::Text(text)) = a.get(1) {
            self.wrote_text = true;
            let n = text.len().min(bytes.len());
            bytes[..n].copy_from_slice(&text.as_bytes()[..n]);
        }
        let default = SocketAddrV4::new(self.machine.settings().remote_ip, self.connect_port);
        let unconnected =
            self.flows.iter().rev().find(|f| f.fd.is_some_and(|(_, l)| l == fd)).is_none_or(|f| {
                f.stage == Stage::New
                    || (f.protocol == Protocol::Udp && f.remote == (Ipv4Addr::UNSPECIFIED, 0))
            });
        // `...` where an address may stand: the usual peer, unless the socket has one already.
        let to = match to {
            Some(Expr::Ellipsis) if !unconnected => None,
            Some(Expr::Number(_)) | None => None,
            Some(expr) => socket_address(expr, default)?,
        };
        if to.is_some() {
            self.begin_connect(fd, to);
        }
        Ok(or_waits(self.machine.send(fd, &bytes, flags, to), |n| n as i64))
    }

    fn ask_option(&mut self, call: &SystemCall) -> Asked<Attempt> {
        let a = &call.arguments;
        let fd = self.fd(a, 0)?;
        match call.name.as_str() {
            "fcntl" => Ok(done(self.machine.fcntl(fd, self.int(a, 1)?, self.int(a, 2)?), i64::from)),
            "ioctl" => {
                let request = number(a.get(1).ok_or("a missing request")?)? as u64;
                let given = a.get(2).map_or(Ok(Vec::new()), memory)?;
                let argument = given.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                match self.machine.ioctl(fd, request, argument) {
                    Ok(value) => {
                        let same = argument == value || request == numbers::FIONBIO as u64;
                        let difference = ("the value".to_owned(), argument.to_string(), value.to_string());
                        let differences = if same { Vec::new() } else { vec![difference] };
                        Ok(Attempt::Returned(Returned { value: Ok(0), differences }))
                    }
                    Err(errno) => Ok(Attempt::from(Err(errno))),
                }
            }
            "setsockopt" => {
                let mut value = memory(a.get(3).ok_or("a missing value")?)?;
                let len = count(a.get(4).ok_or("a missing length")?)?;
                value.resize(bounded(len)?, 0);
                Ok(done(self.machine.setsockopt(fd, self.int(a, 1)?, self.int(a, 2)?, &value), |()| 0))
            }
            _ => {
                let expected = a.get(3).map_or(Ok(Vec::new()), memory)?;
                let len = a.get(4).map_or(Ok(4), count)?;
                match self.machine.getsockopt(fd, self.int(a, 1)?, self.int(a, 2)?, bounded(len)?) {
                    Ok(value) => Ok(Attempt::Returned(option_returned(a.get(3), &expected, &value))),
                    Err(errno) => Ok(Attempt::from(Err(errno))),
                }
            }
        }
    }

    fn ask_poll(&mut self, a: &[Expr], pending: &mut PendingCall) -> Asked<Attempt> {
        let Some(Expr::List(list)) = a.first() else { return Err("poll without a list".into()) };
        let mut fds = Vec::new();
        for one in list {
            let script = number(one.field("fd").ok_or("a pollfd without fd")?)?;
            let fd = self.fds.get(&script).copied().unwrap_or(script as i32);
            let events = one.field("events").map_or(Ok(0), number)? as i16;
            fds.push(PollFd { fd, events, revents: 0 });
        }
        let timeout = self.timeout(self.int(a, 2)?, pending);
        let attempt = or_waits(self.machine.poll(&mut fds, timeout), |n| n as i64);
        let Attempt::Returned(mut returned) = attempt else { return Ok(Attempt::Waits) };
        for (one, fd) in list.iter().zip(&fds) {
            let want = one.field("revents").map_or(Ok(0), number)? as i16;
            if want != fd.revents {
                let what = format!("revents of {}", number(one.field("fd").unwrap_or(&Expr::Number(0)))?);
                returned.differences.push((what, poll_names(want), poll_names(fd.revents)));
            }
        }
        Ok(Attempt::Returned(returned))
    }

    /// The timeout to ask with: 0 once it has passed.
    fn timeout(&self, millis: i32, pending: &mut PendingCall) -> i32 {
        if millis > 0 {
            pending.gives_up = Time(pending.began.0.saturating_add(millis as u64 * 1_000_000));
        }
        if self.machine.now() >= pending.gives_up { 0 } else { millis }
    }

    fn ask_epoll_create(&mut self, call: &SystemCall) -> Asked<Attempt> {
        let result = self.machine.epoll_create(self.int(&call.arguments, 0)?);
        let script = number(&call.result).unwrap_or(-1);
        if let Ok(live) = result {
            self.bind_fd(script, live);
        }
        Ok(done(result, |_| script.max(0)))
    }

    fn ask_epoll_wait(&mut self, a: &[Expr], pending: &mut PendingCall) -> Asked<Attempt> {
        let epfd = self.fd(a, 0)?;
        let most = size(a, 2)?;
        let timeout = self.timeout(self.int(a, 3)?, pending);
        let want: Vec<EpollEvent> = match a.get(1) {
            Some(Expr::List(list)) => list.iter().map(epoll_event).collect::<Result<_, _>>()?,
            Some(one @ Expr::Struct(_)) => vec![epoll_event(one)?],
            _ => Vec::new(),
        };
        match self.machine.epoll_wait(epfd, most, timeout) {
            Call::Pending => Ok(Attempt::Waits),
            Call::Done(Err(errno)) => Ok(Attempt::from(Err(errno))),
            Call::Done(Ok(events)) => {
                let mut differences = Vec::new();
                for (want, got) in want.iter().zip(&events) {
                    if want != got {
                        let text = |e: &EpollEvent| format!("events {:#x} of {}", e.events, e.data);
                        differences.push(("the event".into(), text(want), text(got)));
                    }
                }
                Ok(Attempt::Returned(Returned { value: Ok(events.len() as i64), differences }))
            }
        }
    }

    /// Compares what a call gave back, and when, with its line.
    pub(super) fn returned(&mut self, pending: &PendingCall, returned: Returned) -> Played {
        let call = &pending.call;
        let now = self.machine.now();
        let unsupported = |what| Stop::Unsupported(call.place.line, format!("the result: {what}"));
        let wanted = match &call.result {
            Expr::Ellipsis => None,
            expr => Some(number(expr).map_err(unsupported)?),
        };
        let want_errno = match &call.errno {
            Some(name) => Some(Errno::by_name(name).ok_or_else(|| unsupported(format!("the error {name}")))?),
            None => None,
        };
        let actual = match returned.value {
            Ok(n) => n.to_string(),
            Err(errno) => format!("-1 {errno}"),
        };
        let right = match (returned.value, wanted, want_errno) {
            (_, None, _) => true,
            (Ok(n), Some(want), None) => n == want,
            (Err(got), Some(-1), Some(want)) => got == want,
            (Err(_), Some(-1), None) => true,
            _ => false,
        };
        if !right {
            let mut failure = self.failure(&pending.event, format!("{} gave something else back", call.name));
            failure.expected = Some(match want_errno {
                Some(errno) => format!("-1 {errno}"),
                None => wanted.unwrap_or_default().to_string(),
            });
            failure.actual = Some(actual);
            failure.fields = vec!["result"];
            return Err(Stop::Failed(Box::new(failure)));
        }
        if let Some((what, expected, actual)) = returned.differences.first() {
            let mut failure = self.failure(&pending.event, format!("{}: {what} differs", call.name));
            failure.expected = Some(expected.clone());
            failure.actual = Some(actual.clone());
            failure.fields = vec!["value"];
            return Err(Stop::Failed(Box::new(failure)));
        }
        if call.end.is_some() {
            let due = super::play::Due::At(pending.end);
            if let Some(off) = self.off(due, now) {
                let mut failure = self.failure(&pending.event, format!("{} returned {off}", call.name));
                failure.expected = Some(clock(pending.end));
                failure.actual = Some(clock(now));
                failure.fields = vec!["time"];
                return Err(Stop::Failed(Box::new(failure)));
            }
        }
        Ok(())
    }
}

fn option_returned(shape: Option<&Expr>, expected: &[u8], value: &[u8]) -> Returned {
    let unchecked = matches!(shape, None | Some(Expr::Ellipsis)) || expected.is_empty();
    // A name may come with its zero and padding behind it.
    let trimmed = |b: &[u8]| b.iter().rposition(|b| *b != 0).map_or(0, |n| n + 1);
    let text = matches!(shape, Some(Expr::Text(_)));
    let same = if text {
        expected[..trimmed(expected)] == value[..trimmed(value)]
    } else {
        let n = expected.len().min(value.len());
        expected[..n] == value[..n]
    };
    let show = |b: &[u8]| {
        if text {
            return String::from_utf8_lossy(&b[..trimmed(b)]).into_owned();
        }
        let words = b.chunks_exact(4).map(|w| i32::from_ne_bytes([w[0], w[1], w[2], w[3]]).to_string());
        format!("[{}]", words.collect::<Vec<_>>().join(", "))
    };
    let differences = if unchecked || same {
        Vec::new()
    } else {
        vec![("the value".to_owned(), show(expected), show(value))]
    };
    Returned { value: Ok(0), differences }
}

/// Whether the buffer of a call is `NULL`.
fn points_nowhere(arguments: &[Expr]) -> bool {
    matches!(arguments.get(1), Some(Expr::Number(0))) || arguments.get(1) == Some(&Expr::Word("NULL".into()))
}

fn size(arguments: &[Expr], at: usize) -> Asked<usize> {
    count(arguments.get(at).ok_or("a missing count")?)
}

fn bounded(len: usize) -> Asked<usize> {
    if len <= LARGEST { Ok(len) } else { Err(format!("a buffer of {len} bytes")) }
}

/// The sum of the lengths of `[{..., 5}, {..., 7}]`.
fn vectors(expr: Option<&Expr>) -> Asked<usize> {
    let Some(Expr::List(list)) = expr else { return Err("buffers that are no list".into()) };
    let mut sum = 0usize;
    for one in list {
        let Expr::Struct(parts) = one else { return Err("a buffer without a length".into()) };
        sum = sum.saturating_add(count(parts.last().ok_or("a buffer without a length")?)?);
    }
    Ok(sum)
}

fn epoll_event(expr: &Expr) -> Asked<EpollEvent> {
    if !matches!(expr, Expr::Struct(_)) {
        return Ok(EpollEvent { events: 0, data: 0 });
    }
    let data = ["fd", "u32", "u64", "ptr"].into_iter().find_map(|name| expr.field(name));
    Ok(EpollEvent {
        events: expr.field("events").map_or(Ok(0), number)? as u32,
        data: data.map_or(Ok(0), number)? as u64,
    })
}

fn poll_names(events: i16) -> String {
    const NAMES: [(&str, i32); 7] = [
        ("POLLIN", numbers::POLLIN),
        ("POLLPRI", numbers::POLLPRI),
        ("POLLOUT", numbers::POLLOUT),
        ("POLLERR", numbers::POLLERR),
        ("POLLHUP", numbers::POLLHUP),
        ("POLLNVAL", numbers::POLLNVAL),
        ("POLLRDHUP", numbers::POLLRDHUP),
    ];
    let names: Vec<&str> =
        NAMES.iter().filter(|(_, bit)| i32::from(events) & bit != 0).map(|(name, _)| *name).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}
