//! One channel (RFC 4254, section 5): its windows, its ends, what can be asked for and about it.

use std::collections::VecDeque;

use super::transport::Fault;
use super::wire::{Malformed, Reader, Writer};

/// Bytes that the peer may send before we have taken any (OpenSSH's).
pub(super) const WINDOW: u32 = 2 << 20;
/// Longest piece of data that we take (OpenSSH's).
pub(super) const PACKET: u32 = 32 << 10;

/// What a channel is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A program on the server.
    Session,
    /// A TCP connection that the server makes (RFC 4254, 7.2).
    DirectTcpip { host: String, port: u32, from: String, from_port: u32 },
    /// The client's key agent, asked for by the server (`auth-agent@openssh.com`).
    Agent,
    /// Something else.
    Other(String),
}

impl Kind {
    pub(super) fn name(&self) -> &str {
        match self {
            Kind::Session => "session",
            Kind::DirectTcpip { .. } => "direct-tcpip",
            Kind::Agent => "auth-agent@openssh.com",
            Kind::Other(name) => name,
        }
    }

    pub(super) fn read(name: &str, reader: &mut Reader<'_>) -> Result<Kind, Malformed> {
        Ok(match name {
            "session" => Kind::Session,
            "auth-agent@openssh.com" => Kind::Agent,
            "direct-tcpip" => {
                let (host, port) = (reader.text()?.to_owned(), reader.number()?);
                let (from, from_port) = (reader.text()?.to_owned(), reader.number()?);
                Kind::DirectTcpip { host, port, from, from_port }
            }
            other => Kind::Other(other.to_owned()),
        })
    }

    pub(super) fn write(&self, message: Writer) -> Writer {
        match self {
            Kind::DirectTcpip { host, port, from, from_port } => {
                message.string(host).number(*port).string(from).number(*from_port)
            }
            _ => message,
        }
    }
}

/// What can be asked about a channel (RFC 4254, 6.2 to 6.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// A terminal.
    Pty { term: String },
    /// A variable of the environment.
    Env { name: String, value: String },
    /// The user's shell.
    Shell,
    /// A command.
    Exec(String),
    /// Programs on the server may ask the client's agent.
    Agent,
    /// How the program ended.
    ExitStatus(u32),
    /// Something else.
    Other(String),
}

impl Request {
    pub(super) fn name(&self) -> &str {
        match self {
            Request::Pty { .. } => "pty-req",
            Request::Env { .. } => "env",
            Request::Shell => "shell",
            Request::Exec(_) => "exec",
            Request::Agent => "auth-agent-req@openssh.com",
            Request::ExitStatus(_) => "exit-status",
            Request::Other(name) => name,
        }
    }

    pub(super) fn read(name: &str, mut reader: Reader<'_>) -> Result<Request, Malformed> {
        Ok(match name {
            "pty-req" => Request::Pty { term: reader.text()?.to_owned() },
            "env" => Request::Env { name: reader.text()?.to_owned(), value: reader.text()?.to_owned() },
            "shell" => Request::Shell,
            "exec" => Request::Exec(reader.text()?.to_owned()),
            "auth-agent-req@openssh.com" => Request::Agent,
            "exit-status" => Request::ExitStatus(reader.number()?),
            other => Request::Other(other.to_owned()),
        })
    }

    pub(super) fn write(&self, message: Writer) -> Writer {
        match self {
            // 80 columns, 24 rows, no pixels; TTY_OP_END alone as modes (RFC 4254, 8).
            Request::Pty { term } => {
                message.string(term).number(80).number(24).number(0).number(0).string([0])
            }
            Request::Env { name, value } => message.string(name).string(value),
            Request::Exec(command) => message.string(command),
            Request::ExitStatus(status) => message.number(*status),
            Request::Shell | Request::Agent | Request::Other(_) => message,
        }
    }
}

/// One end's view of a channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// The peer's number; not known before it has confirmed.
    pub(super) theirs: Option<u32>,
    /// Why the peer would not have it.
    pub(super) refused: Option<(u32, String)>,
    /// Bytes that we may send, and in pieces of at most so many.
    pub(super) credit: u32,
    pub(super) most: u32,
    /// Bytes that the peer may send.
    window: u32,
    /// Bytes taken since the peer was last told.
    untold: u32,
    pub(super) input: VecDeque<u8>,
    pub(super) errors: VecDeque<u8>,
    pub(super) eof_in: bool,
    pub(super) eof_out: bool,
    pub(super) closed_in: bool,
    pub(super) closed_out: bool,
    /// Nobody here uses it any more.
    pub(super) released: bool,
    pub(super) exit: Option<u32>,
    /// Answers to what we asked about it, oldest first.
    pub(super) replies: VecDeque<bool>,
}

impl Channel {
    pub(super) fn opened_by_us() -> Channel {
        Channel { window: WINDOW, ..Channel::default() }
    }

    pub(super) fn opened_by_peer(theirs: u32, credit: u32, most: u32) -> Channel {
        Channel { theirs: Some(theirs), credit, most, window: WINDOW, ..Channel::default() }
    }

    pub(super) fn on_confirmed(&mut self, theirs: u32, credit: u32, most: u32) -> Result<(), Fault> {
        if self.theirs.is_some() || self.refused.is_some() {
            return Err(Fault::protocol("a channel was confirmed twice"));
        }
        (self.theirs, self.credit, self.most) = (Some(theirs), credit, most);
        Ok(())
    }

    //= rfc4254#section-5.2
    //# The window MUST NOT be increased above 2^32 - 1 bytes.
    pub(super) fn on_credit(&mut self, more: u32) {
        self.credit = self.credit.saturating_add(more);
    }

    pub(super) fn on_data(&mut self, data: &[u8], error: bool) -> Result<(), Fault> {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Some(left) = self.window.checked_sub(length) else {
            return Err(Fault::protocol("a channel's window was overrun"));
        };
        self.window = left;
        // What comes for a channel that nobody uses is thrown away.
        if !self.released {
            if error { &mut self.errors } else { &mut self.input }.extend(data);
        }
        Ok(())
    }

    /// `n` bytes were taken; by how much the window grows, once that is worth a message.
    pub(super) fn more_window(&mut self, n: usize) -> Option<u32> {
        self.untold += n as u32;
        if self.untold < WINDOW / 2 || self.closed_out || self.eof_in {
            return None;
        }
        let more = std::mem::take(&mut self.untold);
        self.window += more;
        Some(more)
    }
}
