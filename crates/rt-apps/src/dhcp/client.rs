//! The DHCP client: INIT, SELECTING, REQUESTING, BOUND, RENEWING, REBINDING (RFC 2131, 4.4), one function per state.
//!
//! Patience: four DISCOVERs, 4, 8, 16 and 32 seconds (each give or take one) apart, as Windows does; then an address of
//! 169.254/16, and another try every five minutes.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use ipnet::{IpNet, Ipv4Net};
use rt_base::{AppRecord, MacAddr, Nanos, PortId, Rng, Time, Wait};

use super::{CLIENT_PORT, SERVER_PORT, codec, linklocal};
use crate::net::{Net, ReadyHold};
use crate::socket::UdpSocket;

/// Messages sent before we give up on an answer.
const TRIES: u32 = 4;

/// Wait for the first answer.
const FIRST_WAIT: Nanos = Nanos::from_secs(4);

/// Between attempts when there is no server.
const TRY_AGAIN: Nanos = Nanos::from_secs(300);

/// Shortest wait between renewals (RFC 2131, 4.4.5).
const SHORTEST_RENEWAL: Nanos = Nanos::from_secs(60);

/// An interface that asks for its address.
#[derive(Clone, Debug)]
pub struct DhcpClientConfig {
    /// Which.
    pub port: PortId,
    /// Its name, for the record.
    pub interface: String,
    /// Its MAC.
    pub mac: MacAddr,
    /// The machine's name as told to the server (option 12); empty for none.
    pub hostname: String,
}

/// What a server granted.
#[derive(Clone, Debug)]
struct Lease {
    address: Ipv4Net,
    server: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    resolvers: Vec<Ipv4Addr>,
    renew_at: Time,
    rebind_at: Time,
    until: Time,
}

struct Client {
    net: Net,
    config: DhcpClientConfig,
    socket: UdpSocket,
    dice: Rng,
    /// What the machine was told last.
    bound: Option<Lease>,
}

/// What came of asking for a lease.
enum Outcome {
    Granted(Lease),
    Refused,
    Silence,
}

/// Keeps an address on an interface until the end of the run. The host counts as ready once it has one, of whatever kind;
/// so call this before the run (the future may be spawned right away).
///
/// # Errors
/// Port 68 is taken.
pub fn dhcp_client(
    net: Net,
    config: DhcpClientConfig,
) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
    let hold = net.hold_ready();
    run(net, config, hold)
}

async fn run(net: Net, config: DhcpClientConfig, hold: ReadyHold) -> std::io::Result<()> {
    let socket = net.udp_bind(None, CLIENT_PORT, Some(config.port))?;
    let dice = net.rng(&format!("dhcp.{}", config.port.0));
    let mut client = Client { net, config, socket, dice, bound: None };
    let mut hold = Some(hold);
    loop {
        match client.acquire().await {
            Some(lease) => {
                client.bind(lease);
                hold.take();
                client.keep().await;
            }
            None => {
                if client.net.address_of(client.config.port).is_none() {
                    client.fall_back().await;
                }
                hold.take();
                client.net.sleep(TRY_AGAIN, Wait::Backoff).await;
            }
        }
    }
}

impl Client {
    /// INIT to BOUND: `None` when no server answers.
    async fn acquire(&mut self) -> Option<Lease> {
        let begin = self.net.now();
        loop {
            let xid = self.dice.next_u32();
            let mut offer = None;
            for attempt in 0..TRIES {
                self.send(self.discover(xid, begin), Ipv4Addr::BROADCAST);
                let patience = self.patience(attempt);
                offer = self.hear(xid, patience, |kind, _| kind == MessageType::Offer).await;
                if offer.is_some() {
                    break;
                }
            }
            let (_, offer) = offer?;
            match self.request(xid, begin, &offer).await {
                Outcome::Granted(lease) => return Some(lease),
                Outcome::Refused => self.net.sleep(Nanos::from_secs(10), Wait::Backoff).await,
                Outcome::Silence => {}
            }
        }
    }

    /// REQUESTING: to everybody, so that servers not chosen hear it too.
    async fn request(&mut self, xid: u32, begin: Time, offer: &Message) -> Outcome {
        let Some(server) = codec::server_id(offer) else { return Outcome::Silence };
        for attempt in 0..TRIES {
            let mut message = self.message(MessageType::Request, xid, begin);
            message.set_flags(codec::broadcast());
            let asks = [
                DhcpOption::RequestedIpAddress(offer.yiaddr()),
                DhcpOption::ServerIdentifier(server),
                parameters(),
            ];
            let sent_at = self.net.now();
            self.send(codec::with(message, asks), Ipv4Addr::BROADCAST);
            let patience = self.patience(attempt);
            let answer =
                self.hear(xid, patience, |kind, from| is_verdict(kind) && from == Some(server)).await;
            if let Some(outcome) = answer.and_then(|answer| verdict(answer, sent_at)) {
                return outcome;
            }
        }
        Outcome::Silence
    }

    /// BOUND, RENEWING and REBINDING; returns when the address is lost.
    async fn keep(&mut self) {
        while let Some(lease) = self.bound.clone() {
            self.net.sleep_until(lease.renew_at, Wait::Dhcp).await;
            let outcome = match self.extend(&lease, Some(lease.server), lease.rebind_at).await {
                Outcome::Silence => self.extend(&lease, None, lease.until).await,
                outcome => outcome,
            };
            match outcome {
                Outcome::Granted(next) => self.bind(next),
                Outcome::Refused | Outcome::Silence => self.unbind(),
            }
        }
    }

    /// RENEWING (to the server) or REBINDING (to everybody) until `end`: each wait half of what is left, at least a minute.
    async fn extend(&mut self, lease: &Lease, server: Option<Ipv4Addr>, end: Time) -> Outcome {
        let begin = self.net.now();
        while self.net.now() < end {
            let xid = self.dice.next_u32();
            let mut message = self.message(MessageType::Request, xid, begin);
            message.set_ciaddr(lease.address.addr());
            let sent_at = self.net.now();
            self.send(codec::with(message, [parameters()]), server.unwrap_or(Ipv4Addr::BROADCAST));
            let left = end.since(sent_at);
            let patience = Nanos(left.0 / 2).max(SHORTEST_RENEWAL).min(left);
            let answer = self.hear(xid, patience, |kind, _| is_verdict(kind)).await;
            if let Some(outcome) = answer.and_then(|answer| verdict(answer, sent_at)) {
                return outcome;
            }
        }
        Outcome::Silence
    }

    /// No server: RFC 3927.
    async fn fall_back(&mut self) {
        let port = self.config.port;
        let address = linklocal::claim(&self.net, port).await;
        let net16 = Ipv4Net::new(address, 16).expect("invariant: 16 is a prefix length");
        self.net.add_address(port, IpNet::V4(net16));
        self.say_assigned(net16, "link-local", None);
        let net = self.net.clone();
        self.net.spawn(async move { linklocal::announce(&net, port, address).await });
    }

    /// Gives the machine what the lease says.
    fn bind(&mut self, lease: Lease) {
        let port = self.config.port;
        let same = self
            .bound
            .as_ref()
            .is_some_and(|old| old.address == lease.address && old.gateway == lease.gateway);
        if !same {
            self.unbind();
            self.net.add_address(port, IpNet::V4(lease.address));
            if let Some(gateway) = lease.gateway {
                let from = format!("DHCP server {}", lease.server);
                self.net.learn_default_route(port, gateway, lease.address.addr(), from);
            }
        }
        self.net.learn_resolvers(lease.resolvers.iter().map(|&r| IpAddr::V4(r)).collect());
        self.say_assigned(lease.address, "dhcp", Some(&lease));
        self.bound = Some(lease);
    }

    /// The address is no longer ours (and with it go the interface's routes).
    fn unbind(&mut self) {
        self.bound = None;
        self.net.remove_addresses(self.config.port);
    }

    fn say_assigned(&self, address: Ipv4Net, how: &str, lease: Option<&Lease>) {
        let resolvers = lease.map(|l| l.resolvers.as_slice()).unwrap_or_default();
        self.net.say(AppRecord::AddressAssigned {
            interface: self.config.interface.clone(),
            address: IpAddr::V4(address.addr()),
            prefix: address.prefix_len(),
            how: how.into(),
            gateway: lease.and_then(|l| l.gateway).map(IpAddr::V4),
            resolvers: resolvers.iter().map(|&r| IpAddr::V4(r)).collect(),
            lease_until: lease.map(|l| l.until),
        });
    }

    fn discover(&self, xid: u32, begin: Time) -> Message {
        let mut message = self.message(MessageType::Discover, xid, begin);
        message.set_flags(codec::broadcast());
        codec::with(message, [parameters()])
    }

    fn message(&self, kind: MessageType, xid: u32, begin: Time) -> Message {
        let mac = self.config.mac;
        let mut message = codec::blank(Opcode::BootRequest, xid, mac);
        let waited = self.net.now().since(begin).0 / 1_000_000_000;
        message.set_secs(u16::try_from(waited).unwrap_or(u16::MAX));
        // Hardware type 1 (Ethernet) and the MAC (RFC 2132, 9.14).
        let mut id = vec![1];
        id.extend_from_slice(&mac.0);
        let mut options = vec![DhcpOption::MessageType(kind), DhcpOption::ClientIdentifier(id)];
        if !self.config.hostname.is_empty() {
            options.push(DhcpOption::Hostname(self.config.hostname.clone()));
        }
        codec::with(message, options)
    }

    fn send(&self, message: Message, to: Ipv4Addr) {
        let to = SocketAddr::new(IpAddr::V4(to), SERVER_PORT);
        // What cannot be sent now is sent again when its wait is over.
        let _ = self.socket.send_to(&codec::emit(&message), to);
    }

    /// 4, 8, 16, 32 seconds, each give or take one (RFC 2131, 4.1).
    fn patience(&mut self, attempt: u32) -> Nanos {
        let about = FIRST_WAIT.times(1 << attempt);
        Nanos(about.0 - 1_000_000_000 + self.dice.below(2_000_000_001))
    }

    /// The next message to us with this transaction id that `wanted` (kind, server) accepts.
    async fn hear(
        &self,
        xid: u32,
        patience: Nanos,
        wanted: impl Fn(MessageType, Option<Ipv4Addr>) -> bool,
    ) -> Option<(MessageType, Message)> {
        let listen = async {
            loop {
                // An ICMP error (no server on that host) is as good as silence.
                let Ok((bytes, _)) = self.socket.recv_from().await else { continue };
                let Some((message, kind)) = codec::parse(&bytes) else { continue };
                let ours = message.opcode() == Opcode::BootReply
                    && message.xid() == xid
                    && codec::mac_of(&message) == Some(self.config.mac);
                if ours && wanted(kind, codec::server_id(&message)) {
                    return (kind, message);
                }
            }
        };
        self.net.timeout(patience, Wait::Dhcp, listen).await.ok()
    }
}

fn is_verdict(kind: MessageType) -> bool {
    matches!(kind, MessageType::Ack | MessageType::Nak)
}

/// What an ACK or NAK comes to; `None` when an ACK lacks what we need.
fn verdict((kind, message): (MessageType, Message), sent_at: Time) -> Option<Outcome> {
    if kind == MessageType::Nak {
        return Some(Outcome::Refused);
    }
    lease_of(&message, sent_at).map(Outcome::Granted)
}

/// The lease in an ACK, counted from when we asked (RFC 2131, 4.4.1).
fn lease_of(ack: &Message, sent_at: Time) -> Option<Lease> {
    let seconds = codec::seconds(ack, OptionCode::AddressLeaseTime)?;
    let after = |seconds: u32| {
        // All ones mean for ever (RFC 2131, 3.3).
        if seconds == u32::MAX { Time::MAX } else { sent_at + Nanos::from_secs(u64::from(seconds)) }
    };
    let rebind = codec::seconds(ack, OptionCode::Rebinding).unwrap_or(seconds / 8 * 7).min(seconds);
    let renew = codec::seconds(ack, OptionCode::Renewal).unwrap_or(seconds / 2).min(rebind);
    let prefix = codec::prefix_of(ack).unwrap_or(32);
    Some(Lease {
        address: Ipv4Net::new(ack.yiaddr(), prefix).ok()?,
        server: codec::server_id(ack)?,
        gateway: codec::addresses(ack, OptionCode::Router).first().copied(),
        resolvers: codec::addresses(ack, OptionCode::DomainNameServer),
        renew_at: after(renew.max(1)),
        rebind_at: after(rebind.max(1)),
        until: after(seconds.max(1)),
    })
}

/// What we wish to be told (option 55).
fn parameters() -> DhcpOption {
    DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ])
}
