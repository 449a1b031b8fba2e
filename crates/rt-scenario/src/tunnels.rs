//! Programs behind tun interfaces: `wireguard` and `tcp-tunnel` under `run:`.

use std::net::SocketAddr;

use ipnet::IpNet;
use rt_base::{InterfaceKind, NodeId, PortId};

use crate::diag::{Code, Span};
use crate::model::{App, WireguardPeer};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// WireGuard's port unless it says otherwise.
pub(crate) const WIREGUARD_PORT: u16 = 51_820;
/// That of a tunnel inside TCP: none that a known protocol has, since its bytes are like no other's.
pub(crate) const TCP_TUNNEL_PORT: u16 = 11_940;

impl World<'_, '_> {
    /// Reads `wireguard: { on, port, peers }`.
    pub(crate) fn read_wireguard(&mut self, id: NodeId, value: &Value, span: Span) -> Option<App> {
        let on = self.read_tun(id, value, span)?;
        let port = value.str_at("port").and_then(|t| units::port(t).ok()).unwrap_or(WIREGUARD_PORT);
        let mut peers = Vec::new();
        for (name, peer) in value.get("peers").map(Value::entries).unwrap_or_default() {
            let endpoint = peer.get("endpoint").and_then(|at| self.read_end(at, WIREGUARD_PORT));
            let mut allowed = Vec::new();
            for item in peer.get("allowed").map(Value::items).unwrap_or_default() {
                allowed.extend(self.read_allowed(item));
            }
            let keepalive = peer.duration_at("keepalive").filter(|span| span.0 > 0);
            peers.push(WireguardPeer { name: name.text.clone(), endpoint, allowed, keepalive });
        }
        Some(App::Wireguard { on, port, peers })
    }

    /// Reads `tcp-tunnel: { on, port, to }`.
    pub(crate) fn read_tcp_tunnel(&mut self, id: NodeId, value: &Value, span: Span) -> Option<App> {
        let on = self.read_tun(id, value, span)?;
        let port = value.str_at("port").and_then(|t| units::port(t).ok()).unwrap_or(TCP_TUNNEL_PORT);
        let to = value.get("to").and_then(|to| self.read_end(to, TCP_TUNNEL_PORT));
        Some(App::TcpTunnel { on, port, to })
    }

    fn read_tun(&mut self, id: NodeId, value: &Value, span: Span) -> Option<PortId> {
        let port = self.read_on(id, value, span)?;
        if self.node(id).node.interfaces[port.index()].kind == InterfaceKind::Tun {
            return Some(port);
        }
        let at = value.get("on").map_or(span, |on| on.span);
        let name = self.node(id).node.interfaces[port.index()].name.clone();
        let message = format!("`{name}` is no tun interface, so no program can carry its packets");
        self.problems
            .add(Code::UnknownReference, at, message, "has a cable or another tunnel")
            .help("add one: `interfaces: { tun0: { tun: yes, address: 10.8.0.1/24, mtu: 1420 } }`");
        None
    }

    /// `ADDRESS:PORT`, or an address alone.
    fn read_end(&mut self, value: &Value, usual: u16) -> Option<SocketAddr> {
        let text = value.text()?;
        let alone = text.parse().ok().map(|address| SocketAddr::new(address, usual));
        let end = text.parse().ok().or(alone);
        if end.is_none() {
            self.problems
                .add(Code::BadAddress, value.span, format!("`{text}` is no address and port"), "not an end")
                .help(format!("write it like `203.0.113.1:{usual}`"));
        }
        end
    }

    fn read_allowed(&mut self, value: &Value) -> Option<IpNet> {
        let text = value.text()?;
        let host = text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
        let net = text.parse().ok().or(host);
        if net.is_none() {
            self.problems
                .add(Code::BadNetwork, value.span, format!("`{text}` is no prefix"), "not a prefix")
                .help("write it like `10.8.0.2/32`");
        }
        net.map(|net: IpNet| net.trunc())
    }
}

/// Gives peers their full names; complains of those that cannot be.
pub(crate) fn peers(world: &mut World<'_, '_>) {
    for index in 0..world.nodes.len() {
        let span = world.nodes[index].span;
        let mut apps = std::mem::take(&mut world.nodes[index].node.apps);
        for app in &mut apps {
            let App::Wireguard { peers, .. } = app else { continue };
            for peer in peers {
                let Some(node) = world.node_named(&peer.name, span) else { continue };
                let is_tunnel = |app: &App| matches!(app, App::Wireguard { .. });
                if node.index() == index || !world.nodes[node.index()].node.apps.iter().any(is_tunnel) {
                    let message = format!(
                        "`{}` is a peer of `{}` and runs no `wireguard`",
                        peer.name, world.nodes[index].node.name
                    );
                    world
                        .problems
                        .add(Code::UnknownReference, span, message, "its peer")
                        .help("both ends run it, each with the other among its `peers:`");
                }
                peer.name = world.nodes[node.index()].node.name.clone();
            }
        }
        world.nodes[index].node.apps = apps;
    }
}
