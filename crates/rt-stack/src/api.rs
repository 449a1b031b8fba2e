//! What applications and the laboratory call: sockets, addresses, routes, rules.
//!
//! None of these calls sends: what they cause goes out with the next [`Stack::send`] in the same `handle`. Sockets that are
//! to be looked at come out of [`Stack::take_woken`] as data; there are no callbacks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use rt_base::{FrameId, PortId};
use rt_rules::{Chain, NatRule, Origin, Route, RouteKind};
use rt_wire::{ArpOperation, ArpPacket, Ipv4Header, MacAddr};

use crate::error::SocketError;
use crate::hooks::Hooks;
use crate::hooks::filter::Filters;
use crate::ip::destination::Place as Where;
use crate::output::Pending;
use crate::packet::{protocol, v4};
use crate::socket::{Socket, SocketId};
use crate::stack::Stack;
use crate::wrap::Carried;

/// Metric of routes learnt at run time: those that were written win.
const LEARNED_METRIC: u32 = 100;
use crate::udp::{self, UdpSocket};

/// What a connect may pin or choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectOptions {
    /// Source port; an ephemeral one when `None`.
    pub local_port: Option<u16>,
    /// Initial sequence number; by RFC 6528 when `None`.
    pub isn: Option<u32>,
    /// Send small segments at once (no Nagle).
    pub nodelay: bool,
}

/// What [`Stack::tcp_read`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpRead {
    /// So many bytes were copied (at least one).
    Data(usize),
    /// Nothing yet.
    WouldBlock,
    /// The peer has sent its FIN and everything before it was read.
    Eof,
}

/// An answer to an ICMP echo request, or an error about one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EchoAnswer {
    /// Who answered; for an error the machine that reports it.
    pub from: IpAddr,
    /// Identifier of the request.
    pub id: u16,
    /// Sequence number of the request.
    pub seq: u16,
    /// TTL that the answer arrived with; 0 for an error.
    pub ttl: u8,
    /// Echoed bytes.
    pub payload: Vec<u8>,
    /// Why there is no echo.
    pub error: Option<SocketError>,
}

impl EchoAnswer {
    pub(crate) fn failed(from: IpAddr, id: u16, seq: u16, error: SocketError) -> EchoAnswer {
        EchoAnswer { from, id, seq, ttl: 0, payload: Vec::new(), error: Some(error) }
    }
}

/// Addresses, routes and rules.
impl Stack {
    /// Gives an interface an address, with the connected route of its network.
    pub fn add_address(&mut self, port: PortId, address: IpNet) {
        let Some(nic) = self.nics.get_mut(port.index()) else { return };
        if !nic.addresses.contains(&address) {
            nic.addresses.push(address);
        }
        self.forget_decisions();
        self.connect_networks();
    }

    /// Addresses, routes or rules changed: what was remembered about the last packets no longer holds.
    fn forget_decisions(&mut self) {
        self.destinations.change(|_| {});
        self.good_source = None;
        self.shortcuts.clear();
    }

    /// Takes all addresses from an interface, with all routes through it that were learnt, and forgets its neighbours.
    /// Connections from these addresses are reset, as DHCP clients do when a lease is lost.
    pub fn remove_addresses(&mut self, port: PortId) {
        let Some(nic) = self.nics.get_mut(port.index()) else { return };
        let gone = core::mem::take(&mut nic.addresses);
        self.forget_decisions();
        self.destinations.change(|table| {
            let learned =
                table.live().filter(|(_, r)| r.out == port && matches!(r.origin, Origin::Learned { .. }));
            let learned: Vec<u32> = learned.map(|(index, _)| index).collect();
            for index in learned {
                table.remove(index);
            }
        });
        for address in gone {
            for id in self.sockets.tcp_on(address.addr()) {
                self.tcp_abort(id);
            }
        }
        // Without an address nobody can answer those that wait: they go with the next question that fails.
        self.neighbors.forget_known(port);
    }

    /// Adds a default route that somebody told us of (`from`, such as `DHCP server 192.168.1.1`), for packets from
    /// `source`; returns its index in the machine's table.
    pub fn learn_default_route(&mut self, out: PortId, via: Ipv4Addr, source: Ipv4Addr, from: String) -> u32 {
        let (via, source) = (Some(IpAddr::V4(via)), Some(IpAddr::V4(source)));
        let prefix = IpNet::V4(ipnet::Ipv4Net::default());
        let (kind, origin) = (RouteKind::Unicast, Origin::Learned { from });
        self.add_route(Route { prefix, via, out, kind, metric: LEARNED_METRIC, source, origin })
    }

    /// Adds a route; returns its index in the machine's table.
    pub fn add_route(&mut self, route: Route) -> u32 {
        self.forget_decisions();
        self.destinations.change(|table| table.insert(route))
    }

    /// Takes a route out of use; its index stays taken.
    pub fn remove_route(&mut self, index: u32) {
        self.forget_decisions();
        self.destinations.change(|table| table.remove(index));
    }

    /// All routes by index, removed ones too.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        self.destinations.table().routes()
    }

    /// The routes that count now.
    pub fn live_routes(&self) -> impl Iterator<Item = &Route> {
        self.destinations.table().live().map(|(_, route)| route)
    }

    /// Replaces filter chains and NAT rules. Known flows stay; verdicts kept for them do not.
    pub fn set_rules(&mut self, chains: Vec<Chain>, nat: Vec<NatRule>) {
        self.forget_decisions();
        let (acls, chains): (Vec<_>, Vec<_>) = chains.into_iter().partition(Chain::is_stateless);
        self.acls = (!acls.is_empty()).then(|| Box::new(Filters::new(acls)));
        match &mut self.hooks {
            Some(hooks) => hooks.set_rules(chains, nat),
            None if chains.is_empty() && nat.is_empty() => {}
            None => {
                let hooks = {
                    let options = self.conntrack.as_deref().copied().unwrap_or_default();
                    Hooks::new(chains, nat, options, self.nat_rng.clone())
                };
                self.hooks = Some(Box::new(hooks));
            }
        }
    }

    /// The same with nothing remembered: no flow, no mapping, full buckets of limits.
    pub fn begin_rules_anew(&mut self, chains: Vec<Chain>, nat: Vec<NatRule>) {
        self.hooks = None;
        self.set_rules(chains, nat);
    }

    /// Flows that connection tracking knows.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.hooks.as_ref().map_or(0, |hooks| hooks.flows())
    }

    /// The first address of an interface.
    #[must_use]
    pub fn address_of(&self, port: PortId) -> Option<IpAddr> {
        self.nics.get(port.index())?.addresses.first().map(IpNet::addr)
    }

    /// All addresses of an interface.
    #[must_use]
    pub fn addresses_of(&self, port: PortId) -> &[IpNet] {
        self.nics.get(port.index()).map(|nic| nic.addresses.as_slice()).unwrap_or_default()
    }

    /// The MAC of an interface.
    #[must_use]
    pub fn mac_of(&self, port: PortId) -> Option<MacAddr> {
        self.nics.get(port.index()).map(|nic| nic.mac)
    }

    /// The address that this machine would send from to reach `to`.
    pub fn source_for(&mut self, to: IpAddr) -> Option<IpAddr> {
        self.source_towards(to, None).map(IpAddr::V4)
    }

    /// Adds the connected route of every address that has none.
    pub(crate) fn connect_networks(&mut self) {
        for (index, nic) in self.nics.iter().enumerate() {
            let out = PortId(index as u16);
            for address in &nic.addresses {
                let prefix = address.trunc();
                let present = |r: &Route| r.prefix.trunc() == prefix && r.out == out && r.via.is_none();
                if self.destinations.table().live().any(|(_, route)| present(route)) {
                    continue;
                }
                let from = format!("the address {address} of {}", nic.name);
                let (kind, source, origin) =
                    (RouteKind::Unicast, Some(address.addr()), Origin::Learned { from });
                let route = Route { prefix, via: None, out, kind, metric: 0, source, origin };
                self.destinations.change(|table| table.insert(route));
            }
        }
    }

    /// Enters a neighbour by hand (`ip neigh add ... nud permanent`): it is never asked for.
    pub fn add_neighbor(&mut self, port: PortId, address: IpAddr, mac: MacAddr) {
        self.shortcuts.clear();
        self.neighbors.enter(port, address, mac);
    }

    /// Asks the link whether somebody uses `address` (RFC 5227, 2.1.1), and watches for claims from now on.
    pub fn arp_probe(&mut self, port: PortId, address: IpAddr) {
        self.push_arp(port, address, Ipv4Addr::UNSPECIFIED);
    }

    /// Tells the link that `address` is ours (RFC 5227, 2.3), and watches for claims from now on.
    pub fn arp_announce(&mut self, port: PortId, address: IpAddr) {
        if let Some(own) = v4(address) {
            self.push_arp(port, address, own);
        }
    }

    fn push_arp(&mut self, port: PortId, address: IpAddr, sender_ip: Ipv4Addr) {
        let (Some(nic), Some(target_ip)) = (self.nics.get(port.index()), v4(address)) else { return };
        let (operation, target_mac) = (ArpOperation::Request, MacAddr([0; 6]));
        let packet = ArpPacket { operation, sender_mac: nic.mac, sender_ip, target_mac, target_ip };
        self.neighbors.watch_address(port, target_ip);
        self.pending.push_back(Pending::Arp { port, packet });
    }

    /// Whether somebody else has claimed a probed or announced address since the last call.
    pub fn arp_conflict(&mut self, port: PortId, address: IpAddr) -> bool {
        v4(address).is_some_and(|address| self.neighbors.take_conflict(port, address).is_some())
    }
}

/// What concerns all sockets.
impl Stack {
    /// Moves the sockets whose readiness changed into `into`, in the order in which they changed.
    pub fn take_woken(&mut self, into: &mut Vec<SocketId>) {
        self.sockets.take_woken(into);
    }

    /// This end.
    #[must_use]
    pub fn local_addr(&self, id: SocketId) -> Option<SocketAddr> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Some(match self.sockets.lookup(id)? {
            Socket::Udp(udp) => SocketAddr::new(udp.local.unwrap_or(any), udp.port),
            Socket::Listener(listener) => SocketAddr::new(any, listener.port),
            Socket::Tcp(tcp) => tcp.local,
        })
    }

    /// The other end of a connection.
    #[must_use]
    pub fn remote_addr(&self, id: SocketId) -> Option<SocketAddr> {
        self.sockets.tcp_ref(id).map(|socket| socket.remote)
    }

    /// Whether reading (accepting) would give something: data, the end, an error, a connection.
    #[must_use]
    pub fn is_readable(&self, id: SocketId) -> bool {
        match self.sockets.lookup(id) {
            Some(Socket::Udp(udp)) => udp.is_readable(),
            Some(Socket::Listener(listener)) => listener.is_readable(),
            Some(Socket::Tcp(tcp)) => tcp.connection.readable() || tcp.error.is_some(),
            None => false,
        }
    }

    /// Whether writing would take something, or fail.
    #[must_use]
    pub fn is_writable(&self, id: SocketId) -> bool {
        match self.sockets.lookup(id) {
            Some(Socket::Udp(_)) => true,
            Some(Socket::Tcp(tcp)) => tcp.connection.writable() || tcp.error.is_some(),
            Some(Socket::Listener(_)) | None => false,
        }
    }

    /// What the network said about a socket, once.
    pub fn take_error(&mut self, id: SocketId) -> Option<SocketError> {
        if let Some(socket) = self.sockets.udp_mut(id) {
            return socket.error.take();
        }
        let socket = self.sockets.tcp_mut(id)?;
        socket.error.take().or_else(|| socket.connection.error().map(SocketError::from))
    }

    /// The application lets go of a socket of any kind. A connection says FIN (or RST if data was left unread) and lives
    /// on until that is done; a listener resets what nobody accepted.
    pub fn close(&mut self, id: SocketId) {
        match self.sockets.lookup(id) {
            Some(Socket::Udp(_)) => {
                self.sockets.remove(id);
            }
            Some(Socket::Listener(_)) => {
                // Half-open connections are forgotten without a word; what could have been accepted is reset.
                let (half_open, ready) = self.sockets.children(id);
                for child in half_open {
                    self.sockets.remove(child);
                }
                for child in ready {
                    self.tcp_abort(child);
                    self.orphan(child);
                }
                self.sockets.remove(id);
            }
            Some(Socket::Tcp(_)) => self.tcp_close(id),
            None => {}
        }
    }
}

/// UDP.
impl Stack {
    /// Opens a UDP socket on one address or all, on a port or (0) an ephemeral one, and only on one interface if given.
    ///
    /// # Errors
    /// `AddrInUse`, `NoPorts`, `AddrNotAvailable` for a foreign address, `AddressFamily` for IPv6.
    pub fn udp_open(
        &mut self,
        local: Option<IpAddr>,
        port: u16,
        device: Option<PortId>,
    ) -> Result<SocketId, SocketError> {
        let local = local.filter(|address| !address.is_unspecified());
        if let Some(address) = local {
            self.check_own(address)?;
        }
        let port = match port {
            0 => self.ports.choose(|p| self.sockets.udp_port_is_free(p)).ok_or(SocketError::NoPorts)?,
            port if self.sockets.udp_is_free(local, port, device) => port,
            _ => return Err(SocketError::AddrInUse),
        };
        let id = self.sockets.add_udp(UdpSocket::new(local, port, device, self.udp_buffer));
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let own = SocketAddr::new(local.unwrap_or(any), port);
        self.note_open(id, protocol::UDP, true, own, SocketAddr::new(any, 0));
        Ok(id)
    }

    fn check_own(&self, address: IpAddr) -> Result<(), SocketError> {
        v4(address).ok_or(SocketError::AddressFamily)?;
        let own = address.is_loopback() || self.nics.iter().any(|nic| nic.owns(address));
        if own { Ok(()) } else { Err(SocketError::AddrNotAvailable) }
    }

    /// Sends a datagram. From a socket bound to an interface without an address it goes out from 0.0.0.0 (DHCP).
    ///
    /// # Errors
    /// `MessageTooLong`, `NetUnreachable` when no route leads there, `AddrNotAvailable` when there is no source address,
    /// `AddressFamily`, `BadSocket`.
    pub fn udp_send_to(&mut self, id: SocketId, to: SocketAddr, payload: &[u8]) -> Result<(), SocketError> {
        self.udp_send_carrying(id, to, payload, None)
    }

    /// The same for a tunnel: the datagram carries this packet ([`Stack::tun_read`]), and the two are one journey.
    ///
    /// # Errors
    /// As [`Stack::udp_send_to`].
    pub fn udp_send_carrying(
        &mut self,
        id: SocketId,
        to: SocketAddr,
        payload: &[u8],
        carries: Option<Carried>,
    ) -> Result<(), SocketError> {
        let socket = self.sockets.udp_ref(id).ok_or(SocketError::BadSocket)?;
        let (local, port, device) = (socket.local, socket.port, socket.device);
        if payload.len() > udp::LONGEST {
            return Err(SocketError::MessageTooLong);
        }
        v4(to.ip()).ok_or(SocketError::AddressFamily)?;
        let source = match local {
            Some(address) => address,
            None => self.datagram_source(to.ip(), device)?,
        };
        let (src, payload) = (SocketAddr::new(source, port), payload.to_vec());
        self.pending.push_back(Pending::Datagram { socket: id, device, src, dst: to, payload, carries });
        Ok(())
    }

    pub(crate) fn datagram_source(
        &mut self,
        to: IpAddr,
        device: Option<PortId>,
    ) -> Result<IpAddr, SocketError> {
        if let Some(source) = self.source_towards(to, device) {
            return Ok(source.into());
        }
        if device.is_some() {
            return Ok(Ipv4Addr::UNSPECIFIED.into());
        }
        match self.destinations.towards(Ipv4Addr::UNSPECIFIED, to, &self.nics) {
            Where::Nowhere => Err(SocketError::NetUnreachable),
            Where::Unreachable { .. } => Err(SocketError::HostUnreachable),
            Where::Blackhole { .. } => Err(SocketError::Prohibited),
            _ => Err(SocketError::AddrNotAvailable),
        }
    }

    /// The next datagram and who sent it.
    pub fn udp_recv_from(&mut self, id: SocketId) -> Option<(Vec<u8>, SocketAddr)> {
        self.udp_recv_carrying(id).map(|(payload, from, _)| (payload, from))
    }

    /// The same with the id of the frame that brought it, for [`Stack::tun_write`].
    pub fn udp_recv_carrying(&mut self, id: SocketId) -> Option<(Vec<u8>, SocketAddr, FrameId)> {
        self.sockets.udp_mut(id)?.pop()
    }
}

/// Raw sockets.
impl Stack {
    /// Sends a packet that a program built, in whatever name, by the machine's routes and rules. Lengths and checksums
    /// are filled in; what does not fit into an IP packet is not sent.
    pub fn raw_send(&mut self, ip: Ipv4Header, payload: Vec<u8>) {
        if payload.len() <= udp::LONGEST {
            let plain = Ipv4Header::new(ip.src, ip.dst, ip.protocol, ip.ttl, payload.len());
            let ip = Ipv4Header { dscp_ecn: ip.dscp_ecn, id: ip.id, df: ip.df, ..plain };
            self.pending.push_back(Pending::Raw { ip, payload });
        }
    }
}

/// Ping.
impl Stack {
    /// Sends an ICMP echo request. Answers come with [`SocketId::ECHO`] woken.
    ///
    /// # Errors
    /// `NetUnreachable` when no route leads there, `MessageTooLong`, `AddressFamily`.
    pub fn icmp_echo(&mut self, to: IpAddr, id: u16, seq: u16, payload: Vec<u8>) -> Result<(), SocketError> {
        let dst = v4(to).ok_or(SocketError::AddressFamily)?;
        if payload.len() > udp::LONGEST {
            return Err(SocketError::MessageTooLong);
        }
        let source = self.datagram_source(to, None)?;
        let src = v4(source).ok_or(SocketError::AddressFamily)?;
        self.pending.push_back(Pending::Echo { src, dst, id, seq, payload });
        Ok(())
    }

    /// The answers since the last call, in the order in which they came.
    pub fn take_echo_replies(&mut self) -> Vec<EchoAnswer> {
        core::mem::take(&mut self.echoes)
    }
}
