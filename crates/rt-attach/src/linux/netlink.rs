//! Messages to the kernel about interfaces, addresses and routes (rtnetlink), so that nobody needs `ip`.
//!
//! A message is made beforehand, as bytes; [`ask`] only sends it and reads the answer, which a new process may do.
//! Interfaces are named by the index that we gave them.

use std::net::Ipv4Addr;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A message, and where in it the number of a descriptor of a network namespace is to be put, if anywhere.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) namespace_at: Option<usize>,
}

/// An interface to be changed.
pub(super) struct Link<'a> {
    pub(super) index: u32,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: Option<u32>,
    pub(super) queue: Option<u32>,
    /// Whether neighbours are resolved on it.
    pub(super) arp: bool,
    pub(super) name: &'a str,
}

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
/// Request with an answer; create, and fail if it is there.
const REQUEST: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400 | 0x200;
const IFF_UP: u32 = 0x1;
const IFF_NOARP: u32 = 0x80;
const ROUTE_ONLINK: u32 = 4;
/// The longest answer that is looked at: an error repeats our message.
const ANSWER: usize = 4096;

/// A message under construction: attributes are nested by remembering where they began.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u16, flags: u16) -> Writer {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend(1u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        Writer(bytes)
    }

    /// An `ifinfomsg`.
    fn interface(&mut self, index: u32, flags: u32, change: u32) {
        self.0.extend([0; 4]);
        for word in [index, flags, change] {
            self.0.extend(word.to_ne_bytes());
        }
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend(0u16.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.0.len() - start).expect("invariant: our attributes are short");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.0.extend(value);
        self.close(start);
    }

    fn name(&mut self, kind: u16, name: &str) {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    fn done(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("invariant: our messages are short");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// Sets an interface's address, MTU and queue, and switches it on.
pub(super) fn set_up(link: &Link<'_>) -> Message {
    let mut writer = Writer::new(RTM_NEWLINK, 0);
    let flags = if link.arp { IFF_UP } else { IFF_UP | IFF_NOARP };
    writer.interface(link.index, flags, IFF_UP | IFF_NOARP);
    if let Some(mac) = link.mac {
        writer.attribute(IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = link.mtu {
        writer.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    }
    if let Some(queue) = link.queue {
        writer.attribute(IFLA_TXQLEN, &queue.to_ne_bytes());
    }
    Message { bytes: writer.done(), namespace_at: None }
}

/// Makes a pair: `link` here, `peer` (same index, same MTU) in another namespace.
pub(super) fn make_veth(link: &Link<'_>, peer: &str) -> Message {
    let mtu = link.mtu.unwrap_or(1500).to_ne_bytes();
    let mut writer = Writer::new(RTM_NEWLINK, CREATE);
    writer.interface(link.index, 0, 0);
    writer.name(IFLA_IFNAME, link.name);
    writer.attribute(IFLA_MTU, &mtu);
    let info = writer.open(IFLA_LINKINFO);
    writer.attribute(IFLA_INFO_KIND, b"veth");
    let data = writer.open(IFLA_INFO_DATA);
    let inner = writer.open(VETH_INFO_PEER);
    writer.interface(link.index, 0, 0);
    writer.name(IFLA_IFNAME, peer);
    writer.attribute(IFLA_MTU, &mtu);
    let namespace_at = writer.0.len() + 4;
    writer.attribute(IFLA_NET_NS_FD, &[0; 4]);
    writer.close(inner);
    writer.close(data);
    writer.close(info);
    Message { bytes: writer.done(), namespace_at: Some(namespace_at) }
}

/// Gives an interface an address.
pub(super) fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Message {
    let mut writer = Writer::new(RTM_NEWADDR, CREATE);
    writer.0.extend([2, prefix, 0, 0]);
    writer.0.extend(index.to_ne_bytes());
    writer.attribute(2, &address.octets());
    writer.attribute(1, &address.octets());
    if prefix < 31 {
        let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        writer.attribute(4, &(u32::from(address) | host).to_be_bytes());
    }
    Message { bytes: writer.done(), namespace_at: None }
}

/// A route to `to` over the interface; `onlink` says that the next hop is a neighbour whatever the addresses say.
pub(super) fn add_route(
    index: u32,
    to: Option<(Ipv4Addr, u8)>,
    via: Option<Ipv4Addr>,
    onlink: bool,
) -> Message {
    let mut writer = Writer::new(RTM_NEWROUTE, CREATE);
    let prefix = to.map_or(0, |(_, prefix)| prefix);
    // Universe through a router, else the link; the main table, set at boot, unicast.
    let scope = if via.is_some() { 0 } else { 253 };
    writer.0.extend([2, prefix, 0, 0, 254, 3, scope, 1]);
    let flags = if onlink { ROUTE_ONLINK } else { 0 };
    writer.0.extend(flags.to_ne_bytes());
    if let Some((network, prefix)) = to.filter(|(_, prefix)| *prefix > 0) {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        writer.attribute(1, &(u32::from(network) & mask).to_be_bytes());
    }
    if let Some(via) = via {
        writer.attribute(5, &via.octets());
    }
    writer.attribute(4, &index.to_ne_bytes());
    Message { bytes: writer.done(), namespace_at: None }
}

/// Sends a message to the network namespace that we are in and waits for the verdict. For a new process.
pub(super) fn ask(message: &[u8]) -> Result<(), Errno> {
    let family = AddressFamily::NETLINK;
    let socket = net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    net::send(&socket, message, SendFlags::empty())?;
    let mut answer = [0u8; ANSWER];
    let (_, length) = net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // A header of 16 bytes, then the error, negative or 0.
    match (length, answer.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok())) {
        (20.., Some(code)) => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(Errno::from_raw_os_error(code.wrapping_neg())),
        },
        _ => Err(Errno::IO),
    }
}
