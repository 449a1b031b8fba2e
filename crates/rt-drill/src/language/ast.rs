//! The syntax tree of a script.

use std::net::Ipv4Addr;

use super::Place;
use super::code::Code;

/// A whole script.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Script {
    /// `--name=value` lines at the top.
    pub options: Vec<Setting>,
    /// A shell line before all events.
    pub init: Option<Shell>,
    /// What happens, in order.
    pub events: Vec<Event>,
    /// A shell line after all events.
    pub cleanup: Option<Shell>,
}

/// `--name=value`, or `--name` alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Where it stands.
    pub place: Place,
    /// The name, without dashes.
    pub name: String,
    /// The value, if there was one.
    pub value: Option<String>,
}

/// A shell line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shell {
    /// Where it stands.
    pub place: Place,
    /// What a shell would be given.
    pub command: String,
}

/// One event.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Where its time stands.
    pub place: Place,
    /// The last line that belongs to it.
    pub last_line: u32,
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

/// When an event happens, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// `1.5`: so long after the start.
    At(u64),
    /// `+1.5`: so long after the event before.
    After(u64),
    /// `*`: at any time.
    Any,
    /// `1~2`: within this range after the start.
    Between(u64, u64),
    /// `+1~+2`: within this range after the event before.
    AfterBetween(u64, u64),
}

/// What happens.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// A packet arrives or must leave.
    Packet(Packet),
    /// A system call.
    Call(SystemCall),
    /// A shell line.
    Shell(Shell),
    /// A block of Python.
    Code(Code),
}

/// Which way a packet goes, as the machine sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// `<`: it arrives.
    In,
    /// `>`: it must leave.
    Out,
}

/// A packet line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Which way.
    pub direction: Direction,
    /// Headers in front of it, outermost first, as they were written (`gre`, `mpls`, `ipv4 ...`).
    pub outer: Vec<String>,
    /// What is said of its IP header.
    pub ip: IpInfo,
    /// What it carries.
    pub body: Body,
}

/// What a line says of the IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IpInfo {
    /// The traffic class byte.
    pub tos: Tos,
    /// `ttl N`.
    pub ttl: Option<u8>,
    /// `flowlabel 0xN` (IPv6 only, so never checked here).
    pub flow_label: Option<u32>,
}

/// What a line says of the traffic class byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tos {
    /// Nothing: unchecked, and 0 on arrival.
    #[default]
    Any,
    /// These two ECN bits: `noecn` 0, `ect1` 1, `ect0` 2, `ce` 3.
    Ecn(u8),
    /// Either ECT codepoint.
    Ect01,
    /// `tos 0xNN`: the whole byte.
    Byte(u8),
}

/// What a packet carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp(Segment),
    /// A datagram.
    Udp {
        /// Bytes of payload.
        len: u16,
        /// Source and destination port, if they were given.
        ports: Option<(u16, u16)>,
    },
    /// An ICMP message.
    Icmp(Icmp),
}

/// A TCP segment, in the script's relative numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Source and destination port, if they were given.
    pub ports: Option<(u16, u16)>,
    /// FIN, SYN, RST, PSH, ACK, URG, ECE, CWR as in the header, and AE as bit 8.
    pub flags: u16,
    /// The three bits AE, CWR, ECE as a number, if the line gives them so.
    pub ace: Option<u8>,
    /// First sequence number.
    pub seq: u32,
    /// Bytes of payload.
    pub len: u16,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window, unscaled.
    pub window: Option<u16>,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options; `None` for `<...>`, whatever they are.
    pub options: Option<Vec<TcpOption>>,
}

/// A TCP option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TcpOption {
    /// `eol`.
    End,
    /// `nop`.
    Nop,
    /// `mss N`.
    Mss(u16),
    /// `wscale N`.
    WindowScale(u8),
    /// `sackOK`.
    SackPermitted,
    /// `sack a:b c:d`.
    Sack(Vec<(u32, u32)>),
    /// `TS val N ecr N`.
    Timestamps(u32, u32),
    /// `md5 hex`.
    Md5(Vec<u8>),
    /// `FO hex` (kind 34).
    FastOpen(Vec<u8>),
    /// `FOEXP hex` (kind 254 with its magic number).
    FastOpenExperimental(Vec<u8>),
    /// `ECN e0b N ceb N e1b N`: AccECN, kind and counters of 24 bits.
    AccEcn(u8, Vec<u32>),
}

/// An ICMP message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// `mtu N` of a "fragmentation needed".
    pub mtu: Option<u16>,
    /// `id N` of an echo.
    pub id: Option<u16>,
    /// The packet that it tells of.
    pub about: About,
}

/// The packet that an ICMP message quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// A TCP segment: its sequence number and length.
    Tcp(u32, u16),
    /// A datagram of this length.
    Udp(u16),
    /// None: the message has so many bytes in all.
    Raw(u16),
}

/// A system call line.
#[derive(Clone, PartialEq, Debug)]
pub struct SystemCall {
    /// Where its name stands.
    pub place: Place,
    /// `...T`: it blocks and returns then; relative if the event's time is.
    pub end: Option<u64>,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<Expr>,
    /// What it must return.
    pub result: Expr,
    /// The error that it must return.
    pub errno: Option<String>,
}

/// An argument or result.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// `...`: to be filled in.
    Ellipsis,
    /// A number.
    Number(i64),
    /// A name.
    Word(String),
    /// A string; several in a row are one.
    Text(String),
    /// `a | b | c`.
    Or(Vec<Expr>),
    /// `name = value`, also `name(n) = value`.
    Field(String, Box<Expr>),
    /// `name(arguments)`: `htons(8080)`.
    Apply(String, Vec<Expr>),
    /// `[...]`.
    List(Vec<Expr>),
    /// `{...}`.
    Struct(Vec<Expr>),
    /// `a.b.c.d` as it stands.
    Address(Ipv4Addr),
}

impl Expr {
    /// The value of field `name` of a struct.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Expr> {
        let Expr::Struct(fields) = self else { return None };
        fields.iter().find_map(|f| match f {
            Expr::Field(n, value) if n == name => Some(&**value),
            _ => None,
        })
    }
}
