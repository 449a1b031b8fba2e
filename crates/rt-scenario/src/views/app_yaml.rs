//! Apps back to YAML, for `views/plain_yaml`.

use rt_base::PortId;

use super::plain_yaml::{Entries, Writer, list, map, q, yes_no};
use super::web_yaml::show_pages;
use crate::calls;
use crate::model::{App, Model, Spread, WireguardPeer};
use crate::units::show_duration;

/// How certificates are called in the plain level, by their index.
pub(super) fn certificate_name(index: usize) -> String {
    format!("certificate-{}", index + 1)
}

pub(super) fn write_app(out: &mut Writer, model: &Model, app: &App, name: &dyn Fn(PortId) -> String) {
    let mut entries = Entries::default();
    let word = match app {
        App::DhcpClient { .. } | App::DhcpServer { .. } | App::DnsResolver { .. } | App::DnsServer { .. } => {
            addresses_and_names(model, app, name, &mut entries)
        }
        App::HttpServer { port, certificate, http2, pages, think, silent, idle_unused, idle, hosting } => {
            web(&mut entries, (*port, *certificate, *http2));
            super::web_yaml::write_hosting(&mut entries, *certificate, hosting);
            entries.put("pages", show_pages(pages));
            entries.put("think", show_duration(*think));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            let spans = [("idle-unused", idle_unused), ("idle", idle)].into_iter();
            entries.0.extend(spans.filter_map(|(key, span)| Some((key.to_owned(), show_duration((*span)?)))));
            "http"
        }
        App::Rpc { .. } => rpc(app, &mut entries),
        App::Grpc(server) => super::grpc_yaml::server(&mut entries, server),
        App::Ntp => "ntp",
        App::Ssh { port, users, tcp_forwarding, permit_open, agent_forwarding } => {
            entries.put("port", port.to_string());
            let keys = |keys: &[String]| list(keys.iter().map(|key| q(key)));
            entries.put("users", map(&users.iter().map(|(u, k)| (q(u), keys(k))).collect::<Vec<_>>()));
            entries.put("tcp-forwarding", yes_no(*tcp_forwarding));
            let open = || list(permit_open.iter().map(|(host, port)| q(&format!("{host}:{port}"))));
            entries.put_if(!permit_open.is_empty(), "permit-open", open);
            entries.put("agent-forwarding", yes_no(*agent_forwarding));
            "ssh"
        }
        App::Wireguard { on, port, peers } => {
            entries.put("\"on\"", q(&name(*on)));
            entries.put("port", port.to_string());
            entries.put("peers", map(&peers.iter().map(wireguard_peer).collect::<Vec<_>>()));
            "wireguard"
        }
        App::TcpTunnel { on, port, to } => {
            entries.put("\"on\"", q(&name(*on)));
            entries.put("port", port.to_string());
            entries.0.extend(to.map(|to| ("to".to_owned(), q(&to.to_string()))));
            "tcp-tunnel"
        }
        App::Sink { port }
        | App::SplitTcp { port }
        | App::Echo { port }
        | App::Discard { port }
        | App::Chargen { port } => at_port(app, *port, &mut entries),
        App::L4Balancer(balancer) => super::balancer_yaml::write(&mut entries, balancer),
        App::ForwardProxy(proxy) => super::forward_yaml::write(&mut entries, proxy),
        App::Edge { port, certificate, http2, upstreams, balance, think, options } => {
            web(&mut entries, (*port, *certificate, *http2));
            let to: Vec<(String, String)> =
                upstreams.iter().map(|(n, a)| (q(n), q(&a.to_string()))).collect();
            entries.put("upstreams", map(&to));
            entries.put_if(*balance != Spread::RoundRobin, "balance", || balance.word().to_owned());
            entries.put("think", show_duration(*think));
            super::web_yaml::write_certificates(&mut entries, *certificate, &options.certificates);
            entries.0.extend(super::proxy_yaml::show_proxy(options));
            super::routes_yaml::write(&mut entries, options);
            "edge"
        }
    };
    out.line(4, &format!("- {word}: {}", map(&entries.0)));
}

/// A call server.
fn rpc(app: &App, entries: &mut Entries) -> &'static str {
    if let App::Rpc { port, reply, think, closes, backlog, writes, no_delay, quick_ack } = app {
        entries.put("port", port.to_string());
        entries.put("reply", reply.to_string());
        entries.put_if(think.0 > 0, "think", || show_duration(*think));
        entries.put_if(*closes, "closes-first", || "server".to_owned());
        entries.put_if(*backlog != calls::BACKLOG, "backlog", || backlog.to_string());
        manners(entries, (*writes, *no_delay, *quick_ack));
    }
    "rpc"
}

/// Apps that give out addresses and names.
fn addresses_and_names(
    model: &Model,
    app: &App,
    name: &dyn Fn(PortId) -> String,
    entries: &mut Entries,
) -> &'static str {
    match app {
        App::DhcpClient { port } => {
            entries.put("\"on\"", q(&name(*port)));
            "dhcp-client"
        }
        App::DhcpServer { port, first, last, reservations, gateway, resolvers, lease, silent } => {
            entries.put("\"on\"", q(&name(*port)));
            entries.put("pool", format!("{first}-{last}"));
            let fixed: Vec<(String, String)> =
                reservations.iter().map(|(m, a)| (q(&m.to_string()), a.to_string())).collect();
            entries.put_if(!fixed.is_empty(), "reservations", || map(&fixed));
            entries.put("gateway", gateway.to_string());
            entries.put("resolvers", list(resolvers.iter().map(ToString::to_string)));
            entries.put("lease", show_duration(*lease));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            "dhcp-server"
        }
        App::DnsResolver { roots, think, silent, own, fixed_order, client_subnet } => {
            entries.put("roots", map(&roots.iter().map(|(n, a)| (q(n), a.to_string())).collect::<Vec<_>>()));
            entries.put_if(!own.is_empty(), "names", || private_names(own));
            entries.put("think", show_duration(*think));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            entries.put_if(*fixed_order, "order", || "fixed".to_owned());
            entries.put_if(*client_subnet, "client-subnet", || "yes".to_owned());
            "dns-resolver"
        }
        App::DnsServer { zones, think, silent, fixed_order, steering } => {
            entries.put("zones", list(zones.iter().filter_map(|z| Some(q(&model.zones.get(*z)?.apex)))));
            entries.put("think", show_duration(*think));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            entries.put_if(*fixed_order, "order", || "fixed".to_owned());
            entries.put_if(!steering.is_empty(), "steer", || super::names_yaml::steer(steering));
            "dns-server"
        }
        _ => unreachable!("the caller matched the others"),
    }
}

fn wireguard_peer(peer: &WireguardPeer) -> (String, String) {
    let mut entries = Entries::default();
    entries.0.extend(peer.endpoint.map(|end| ("endpoint".to_owned(), q(&end.to_string()))));
    entries.put("allowed", list(peer.allowed.iter().map(|net| q(&net.to_string()))));
    entries.0.extend(peer.keepalive.map(|span| ("keepalive".to_owned(), show_duration(span))));
    (q(&peer.name), map(&entries.0))
}

fn web(entries: &mut Entries, (port, certificate, http2): (u16, Option<usize>, bool)) {
    entries.put("port", port.to_string());
    entries.0.extend(certificate.map(|c| ("certificate".to_owned(), certificate_name(c))));
    entries.put("http2", yes_no(http2));
}

/// Names of a private zone: `{ s3.example: [10.0.1.5] }`.
fn private_names(own: &[(String, std::net::IpAddr)]) -> String {
    let names: std::collections::BTreeSet<&str> = own.iter().map(|(n, _)| n.as_str()).collect();
    let of = |name: &str| list(own.iter().filter(|(n, _)| n == name).map(|(_, a)| a.to_string()));
    map(&names.iter().map(|n| (q(n), of(n))).collect::<Vec<_>>())
}

/// The word of an app that is told nothing but its port.
fn at_port(app: &App, port: u16, entries: &mut Entries) -> &'static str {
    entries.put("port", port.to_string());
    match app {
        App::Sink { .. } => "sink",
        App::Echo { .. } => "echo",
        App::Discard { .. } => "discard",
        App::Chargen { .. } => "chargen",
        _ => "split-tcp",
    }
}

pub(super) fn manners(entries: &mut Entries, (writes, no_delay, quick_ack): (u32, bool, bool)) {
    entries.put_if(writes != 1, "writes", || writes.to_string());
    entries.put_if(no_delay, "no-delay", || "yes".to_owned());
    entries.put_if(quick_ack, "quick-ack", || "yes".to_owned());
}
