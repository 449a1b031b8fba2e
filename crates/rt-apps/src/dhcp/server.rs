//! The DHCP server: DISCOVER to OFFER, REQUEST to ACK or NAK (RFC 2131, 4.3).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode};
use ipnet::Ipv4Net;
use rt_base::{MacAddr, Nanos, PortId};

use super::codec;
use super::leases::Leases;
use super::{CLIENT_PORT, SERVER_PORT};
use crate::net::Net;

/// What a server gives out, and where.
#[derive(Clone, Debug)]
pub struct DhcpServerConfig {
    /// On this interface.
    pub port: PortId,
    /// The server's own address there, with the prefix that clients get.
    pub address: Ipv4Net,
    /// First address of the pool.
    pub first: Ipv4Addr,
    /// Last address of the pool.
    pub last: Ipv4Addr,
    /// Fixed addresses.
    pub reservations: Vec<(MacAddr, Ipv4Addr)>,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers.
    pub resolvers: Vec<Ipv4Addr>,
    /// How long an address may be kept.
    pub lease: Nanos,
    /// Answers nothing, for the story of a silent server.
    pub silent: bool,
}

/// Serves until the end of the run.
///
/// # Errors
/// Port 67 is taken.
pub async fn dhcp_server(net: Net, config: DhcpServerConfig) -> std::io::Result<()> {
    let socket = net.udp_bind(None, SERVER_PORT, Some(config.port))?;
    let own = config.address.addr();
    let mut leases = Leases::new((config.first, config.last), config.reservations.iter().copied(), own);
    loop {
        // An ICMP error about an answer of ours concerns nobody here.
        let Ok((bytes, _)) = socket.recv_from().await else { continue };
        if config.silent {
            continue;
        }
        let Some((message, kind)) = codec::parse(&bytes).filter(|(m, _)| m.opcode() == Opcode::BootRequest)
        else {
            continue;
        };
        if let Some((reply, to)) = answer(&net, &config, &mut leases, &message, kind) {
            // Lost answers are the client's to ask for again.
            let _ = socket.send_to(&codec::emit(&reply), SocketAddr::new(IpAddr::V4(to), CLIENT_PORT));
        }
    }
}

fn answer(
    net: &Net,
    config: &DhcpServerConfig,
    leases: &mut Leases,
    message: &Message,
    kind: MessageType,
) -> Option<(Message, Ipv4Addr)> {
    let now = net.now();
    let mac = codec::mac_of(message)?;
    let own = config.address.addr();
    match kind {
        MessageType::Discover => {
            let address = leases.offer(now, mac, codec::requested(message))?;
            Some(grant(config, message, MessageType::Offer, address))
        }
        MessageType::Request => {
            // Meant for another server: that one was chosen.
            if codec::server_id(message).is_some_and(|id| id != own) {
                return None;
            }
            // RENEWING and REBINDING name the address in ciaddr, the others in the option (RFC 2131, table 4).
            let wanted = codec::requested(message).unwrap_or(message.ciaddr());
            if leases.take(now, mac, wanted, now + config.lease) {
                Some(grant(config, message, MessageType::Ack, wanted))
            } else {
                Some(refuse(own, message, mac))
            }
        }
        MessageType::Decline => {
            leases.decline(now, mac, codec::requested(message)?);
            None
        }
        MessageType::Release => {
            leases.release(mac, message.ciaddr());
            None
        }
        _ => None,
    }
}

/// OFFER or ACK (RFC 2131, table 3).
fn grant(
    config: &DhcpServerConfig,
    to: &Message,
    kind: MessageType,
    address: Ipv4Addr,
) -> (Message, Ipv4Addr) {
    let seconds = u32::try_from(config.lease.0 / 1_000_000_000).unwrap_or(u32::MAX);
    let mut reply = reply_to(to);
    reply.set_yiaddr(address).set_ciaddr(if kind == MessageType::Ack {
        to.ciaddr()
    } else {
        Ipv4Addr::UNSPECIFIED
    });
    let mut options = vec![
        DhcpOption::MessageType(kind),
        DhcpOption::ServerIdentifier(config.address.addr()),
        DhcpOption::AddressLeaseTime(seconds),
        DhcpOption::Renewal(seconds / 2),
        DhcpOption::Rebinding(seconds / 8 * 7),
        DhcpOption::SubnetMask(config.address.netmask()),
    ];
    options.extend(config.gateway.map(|g| DhcpOption::Router(vec![g])));
    if !config.resolvers.is_empty() {
        options.push(DhcpOption::DomainNameServer(config.resolvers.clone()));
    }
    let reply = codec::with(reply, options);
    let whole_net = Ipv4Addr::BROADCAST;
    (reply, if to.ciaddr().is_unspecified() { whole_net } else { to.ciaddr() })
}

/// NAK: always to everybody, because the client's idea of its address is wrong (RFC 2131, 4.3.2).
fn refuse(own: Ipv4Addr, to: &Message, mac: MacAddr) -> (Message, Ipv4Addr) {
    let reply = codec::with(
        reply_to(to),
        [
            DhcpOption::MessageType(MessageType::Nak),
            DhcpOption::ServerIdentifier(own),
            DhcpOption::Message(format!("{mac} may not have this address")),
        ],
    );
    (reply, Ipv4Addr::BROADCAST)
}

fn reply_to(to: &Message) -> Message {
    let mac = codec::mac_of(to).unwrap_or_default();
    let mut reply = codec::blank(Opcode::BootReply, to.xid(), mac);
    reply.set_flags(to.flags()).set_giaddr(to.giaddr());
    reply
}
