//! Interfaces that are no ports with a cable: `vlan`, `gre`, `ipip`, `vxlan`, `pppoe`, `tun`. Read when the machine's other
//! interfaces, addresses and links are known.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{InterfaceKind, NodeId, PortId};
use rt_rules::{MssClamp, MssTarget, Ossified};

use crate::diag::{Code, Span};
use crate::model::{Node, NodeKind};
use crate::rules_text;
use crate::tree::{Key, Value};
use crate::world::{World, mtu_at};

/// The keys that make an interface virtual.
const KINDS: [&str; 6] = ["vlan", "gre", "ipip", "vxlan", "pppoe", "tun"];
/// Those of them that have no cable below.
const TUNNELS: [&str; 4] = ["gre", "ipip", "vxlan", "tun"];
/// UDP port of VXLAN (RFC 7348, 5).
const VXLAN_PORT: u16 = 4_789;

impl World<'_, '_> {
    /// Reads the kinds of a machine's interfaces.
    pub(crate) fn read_kinds(&mut self, id: NodeId, value: &Value) {
        let ways = OuterWays::of(&self.nodes[id.index()].node, value);
        for (name, options) in value.get("interfaces").map(Value::entries).unwrap_or_default() {
            let written: Vec<&(Key, Value)> =
                options.entries().iter().filter(|(k, _)| KINDS.contains(&k.text.as_str())).collect();
            let (Some((key, how)), Some(port)) = (written.first(), self.find_port(id, &name.text)) else {
                continue;
            };
            if let Some((second, _)) = written.get(1) {
                let message = format!("`{}` is a {} already", name.text, key.text);
                self.problems
                    .add(Code::WrongShape, second.span, message, "a second kind")
                    .help("keep one of them");
                continue;
            }
            if self.nodes[id.index()].node.kind == NodeKind::Switch {
                continue;
            }
            if let Some(kind) = self.read_kind((id, &ways), (name, key), how, options) {
                self.set_kind((id, port), kind, mtu_at(options).is_some(), key.span);
            }
        }
    }

    fn read_kind(
        &mut self,
        (id, ways): (NodeId, &OuterWays),
        (name, key): (&Key, &Key),
        how: &Value,
        all: &Value,
    ) -> Option<InterfaceKind> {
        match key.text.as_str() {
            "vlan" => {
                let parent = self.below(id, name, all.get("on"))?;
                let tag = how.text().and_then(|t| t.parse().ok())?;
                Some(InterfaceKind::Vlan { parent, id: tag })
            }
            "pppoe" => {
                let parent = self.below(id, name, how.get("on").or(all.get("on")))?;
                Some(InterfaceKind::Pppoe { parent, server: how.flag_at("server").unwrap_or(false) })
            }
            "tun" => (how.text() != Some("no")).then_some(InterfaceKind::Tun),
            word => {
                let (local, remote) = self.tunnel_ends((id, ways), name, how)?;
                Some(match word {
                    "gre" => {
                        let key = how.whole_at("key").and_then(|n| u32::try_from(n).ok());
                        InterfaceKind::Gre { local, remote, key }
                    }
                    "ipip" => InterfaceKind::Ipip { local, remote },
                    _ => {
                        let vni = how.whole_at("vni").and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
                        let port = how.whole_at("port").and_then(|n| u16::try_from(n).ok());
                        InterfaceKind::Vxlan { vni, local, remote, port: port.unwrap_or(VXLAN_PORT) }
                    }
                })
            }
        }
    }

    /// The interface below: written, or what stands before the dot of `eth0.10`, or the only one with a cable.
    fn below(&mut self, id: NodeId, name: &Key, written: Option<&Value>) -> Option<PortId> {
        let wanted = match (written.and_then(Value::text), name.text.rsplit_once('.')) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some((before, _))) => Some(before.to_owned()),
            (None, None) => None,
        };
        let span = written.map_or(name.span, |v| v.span);
        let found = match &wanted {
            Some(wanted) => self.find_port(id, wanted).filter(|p| {
                self.kind_of(id, *p).is_none_or(|k| {
                    !matches!(k, InterfaceKind::Pppoe { .. } | InterfaceKind::Tun) && k.ends().is_none()
                })
            }),
            None => self.only_cable(id),
        };
        if found.is_none() {
            let known: Vec<String> =
                self.nodes[id.index()].node.interfaces.iter().map(|i| i.name.clone()).collect();
            let message = match &wanted {
                Some(wanted) => format!("`{}` cannot stand on an interface `{wanted}`", name.text),
                None => format!("`{}` does not say which interface is below it", name.text),
            };
            self.problems
                .add(Code::UnknownReference, span, message, "nothing below")
                .known(wanted.as_deref().unwrap_or(""), known)
                .help("write `on: eth0`, an interface with a cable");
        }
        found.filter(|p| self.nodes[id.index()].node.interfaces[p.index()].name != name.text)
    }

    fn kind_of(&self, id: NodeId, port: PortId) -> Option<InterfaceKind> {
        Some(self.nodes[id.index()].node.interfaces[port.index()].kind).filter(|k| !k.is_physical())
    }

    fn only_cable(&self, id: NodeId) -> Option<PortId> {
        let draft = &self.nodes[id.index()];
        let mut cables = (0..).zip(&draft.ports).filter(|(_, facts)| facts.link.is_some());
        match (cables.next(), cables.next()) {
            (Some((index, _)), None) => Some(PortId(index)),
            _ => None,
        }
    }

    fn tunnel_ends(
        &mut self,
        (id, ways): (NodeId, &OuterWays),
        name: &Key,
        how: &Value,
    ) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let remote = how.address_at("to").and_then(v4)?;
        if let Some(at) = how.get("from")
            && let Some(from) = at.address()
        {
            self.check_own_end(id, from, at.span);
        }
        let written = how.address_at("from").and_then(v4);
        let Some(local) = written.or_else(|| ways.end_towards(remote)) else {
            let whose = self.nodes[id.index()].node.name.clone();
            let message =
                format!("the tunnel `{}` has no own end: `{whose}` has no address but in tunnels", name.text);
            self.problems.add(Code::MissingKey, name.span, message, "from where?").help(format!(
                "give the interface with the cable an `address:`, or write the end: `from: ADDRESS, to: {remote}`"
            ));
            return None;
        };
        if local == remote {
            let message = format!("both ends of the tunnel `{}` are {local}", name.text);
            self.problems
                .add(Code::ForeignAddress, name.span, message, "to itself")
                .help("`to:` is the other machine's address, `from:` one of this machine's");
            return None;
        }
        Some((local, remote))
    }

    /// The own end of a tunnel is an address of the machine, unless it gets its addresses during the run.
    fn check_own_end(&mut self, id: NodeId, from: IpAddr, span: Span) {
        let node = &self.nodes[id.index()].node;
        let own = node.interfaces.iter().flat_map(|i| &i.addresses).map(IpNet::addr);
        let learns = node.interfaces.iter().any(|i| i.addresses.is_empty());
        if learns || own.clone().any(|address| address == from) {
            return;
        }
        let own: Vec<String> = own.map(|address| address.to_string()).collect();
        let message = format!("{from} is no address of `{}`, so its tunnel cannot begin there", node.name);
        self.problems
            .add(Code::ForeignAddress, span, message, "somebody else's")
            .help("write one of its own addresses, or leave `from:` away: it is then the one on the way to the other end")
            .known("", own);
    }

    /// Makes an interface virtual. Unless its MTU was written, it is what the interface below leaves.
    pub(crate) fn set_kind(
        &mut self,
        (id, port): (NodeId, PortId),
        kind: InterfaceKind,
        own_mtu: bool,
        span: Span,
    ) {
        let draft = self.node(id);
        let name = draft.node.interfaces[port.index()].name.clone();
        if draft.ports[port.index()].link.is_some() {
            let message = format!("a cable ends at `{name}`, which is a {}", kind.say());
            self.problems
                .add(Code::BadEndpoint, span, message, "no port")
                .help("let the cable end at the interface below it");
            return;
        }
        let below = match kind {
            InterfaceKind::Vlan { parent, .. } | InterfaceKind::Pppoe { parent, .. } => Some(parent),
            _ => {
                let ends = kind.ends().map(|(local, _)| IpAddr::V4(local));
                let has = |addresses: &[ipnet::IpNet]| addresses.iter().any(|n| Some(n.addr()) == ends);
                let at = draft.node.interfaces.iter().position(|i| has(&i.addresses));
                at.and_then(|at| u16::try_from(at).ok()).map(PortId)
            }
        };
        let (mtu, mac) = match below.and_then(|p| draft.node.interfaces.get(p.index())) {
            Some(below) => (below.mtu, Some(below.mac)),
            None => (1_500, None),
        };
        let interface = &mut draft.node.interfaces[port.index()];
        interface.kind = kind;
        if !own_mtu {
            interface.mtu = mtu.saturating_sub(kind.overhead()).max(68);
        }
        if let (InterfaceKind::Vlan { .. } | InterfaceKind::Pppoe { .. }, Some(mac)) = (kind, mac) {
            interface.mac = mac;
        }
    }

    /// Reads `clamp-mss:` of a machine.
    pub(crate) fn read_clamps(&mut self, id: NodeId, value: &Value) {
        for line in value.get("clamp-mss").map(Value::items).unwrap_or_default() {
            let Some(text) = line.text() else { continue };
            match rules_text::clamp(text, &|name| self.find_port(id, name)) {
                Ok((when, to)) => {
                    let origin = self.line(line.span);
                    self.node(id).node.clamps.push(MssClamp { when, to, origin });
                }
                Err(why) => self.bad_rule(line.span, text, &why, CLAMP_HELP),
            }
        }
    }

    /// Reads `middlebox:` of a machine.
    pub(crate) fn read_middlebox(&mut self, id: NodeId, value: &Value) {
        for line in value.get("middlebox").map(Value::items).unwrap_or_default() {
            let Some(text) = line.text() else { continue };
            match rules_text::middlebox(text, &|name| self.find_port(id, name)) {
                Ok((what, strips, when)) => {
                    let origin = self.line(line.span);
                    self.node(id).node.ossified.push(Ossified { when, what, strips, origin });
                }
                Err(why) => self.bad_rule(line.span, text, &why, MIDDLEBOX_HELP),
            }
        }
    }

    /// Both directions of an interface are clamped to what it carries.
    pub(crate) fn clamp_at(&mut self, id: NodeId, port: PortId, span: Span) {
        let origin = self.line(span);
        let out = rt_rules::Match { out_port: Some(port), ..Default::default() };
        let back = rt_rules::Match { in_port: Some(port), ..Default::default() };
        for when in [out, back] {
            let clamp = MssClamp { when, to: MssTarget::Mtu, origin: origin.clone() };
            self.node(id).node.clamps.push(clamp);
        }
    }
}

const MIDDLEBOX_HELP: &str = "lines look like `drop tcp option unknown`, `strip ecn`, `drop tls1.3 without compatibility tcp port 443`";

/// The ways of a machine that lead through no tunnel, as its file says them.
struct OuterWays {
    /// Its addresses with their networks.
    nets: Vec<IpNet>,
    /// Networks and the next hops to them; the gateway last.
    hops: Vec<(IpNet, IpAddr)>,
}

impl OuterWays {
    fn of(node: &Node, machine: &Value) -> OuterWays {
        let written = machine.get("interfaces").map(Value::entries).unwrap_or_default();
        let tunnels = written.iter().filter(|(_, o)| TUNNELS.iter().any(|kind| o.get(kind).is_some()));
        let tunnels: BTreeSet<&str> = tunnels.map(|(name, _)| name.text.as_str()).collect();
        if tunnels.is_empty() {
            return OuterWays { nets: Vec::new(), hops: Vec::new() };
        }
        let outer = node.interfaces.iter().filter(|i| !tunnels.contains(i.name.as_str()));
        let routes = machine.get("routes").map(Value::items).unwrap_or_default();
        let routes = routes.iter().filter_map(|route| Some((route.net_at("to")?, route.address_at("via")?)));
        let gateway = machine.address_at("gateway").map(|via| (IpNet::V4(Ipv4Net::default()), via));
        OuterWays {
            nets: outer.flat_map(|i| i.addresses.clone()).collect(),
            hops: routes.chain(gateway).collect(),
        }
    }

    /// The address that the machine has on its way to the other end of a tunnel: on the link with it, on that of the next hop
    /// to it, or else its first.
    fn end_towards(&self, remote: Ipv4Addr) -> Option<Ipv4Addr> {
        let on_link = |address: IpAddr| {
            let found = self.nets.iter().filter(|net| net.contains(&address));
            found.max_by_key(|net| net.prefix_len()).and_then(|net| v4(net.addr()))
        };
        let remote = IpAddr::V4(remote);
        let hops = self.hops.iter().filter(|(to, _)| to.contains(&remote));
        on_link(remote)
            .or_else(|| on_link(hops.max_by_key(|(to, _)| to.prefix_len())?.1))
            .or_else(|| self.nets.first().and_then(|net| v4(net.addr())))
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

const CLAMP_HELP: &str =
    "lines look like `out ppp0`, `from 10.0.0.0/8 size 1400`; without a size it is what the interfaces carry";
