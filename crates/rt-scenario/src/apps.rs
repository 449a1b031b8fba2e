//! What runs on a machine: `run:` lists to [`App`]s, page folders, certificates by name.

use std::net::{IpAddr, SocketAddr};

use rt_base::{MacAddr, Nanos, NodeId, PortId};

use crate::diag::{Code, Span};
use crate::model::{App, Certificate, Issuer};
use crate::names::keeps_order;
use crate::routes::read_balance;
use crate::tree::Value;
use crate::units;
use crate::upstreams::{Speaks, UpstreamDraft, leads};
use crate::world::{CertDraft, World};

/// Time a web server takes per request unless it says otherwise.
pub(crate) const HTTP_THINK: Nanos = Nanos::from_millis(2);
/// Time a balancer takes per request.
pub(crate) const EDGE_THINK: Nanos = Nanos::from_micros(100);
/// Time a name server takes per question.
pub(crate) const DNS_THINK: Nanos = Nanos::from_millis(2);
/// Time a recursive resolver takes per question.
pub(crate) const RESOLVER_THINK: Nanos = Nanos::from_millis(1);
/// The port of a sink unless it says otherwise.
pub(crate) const SINK_PORT: u16 = 5001;
/// The ports of the small services (RFC 862, 863, 864).
const ECHO_PORT: u16 = 7;
const DISCARD_PORT: u16 = 9;
const CHARGEN_PORT: u16 = 19;
/// Lease time.
pub(crate) const LEASE: Nanos = Nanos::from_secs(86_400);

const DAY: u64 = 86_400;
const EMPTY: Value = Value { span: Span { start: 0, end: 0 }, kind: crate::tree::Kind::Null };

fn port_or(value: &Value, usual: u16) -> u16 {
    value.str_at("port").and_then(|t| units::port(t).ok()).unwrap_or(usual)
}

/// Whether no upstream is written, be it a wrong one.
pub(crate) fn names_none(value: &Value) -> bool {
    value.get("upstreams").is_none_or(|upstreams| upstreams.entries().is_empty())
}

fn read_resolver(value: &Value, think: Option<Nanos>, silent: bool) -> App {
    let roots = value.get("roots").map(Value::entries).unwrap_or_default();
    let roots = roots.iter().filter_map(|(k, v)| Some((k.text.clone(), v.address()?))).collect();
    let own = value.get("names").map(Value::entries).unwrap_or_default().iter();
    let own = own
        .flat_map(|(k, v)| v.items().iter().filter_map(|a| Some((k.text.to_lowercase(), a.address()?))))
        .collect();
    let (fixed_order, client_subnet) = (keeps_order(value), value.flag_at("client-subnet") == Some(true));
    let think = think.unwrap_or(RESOLVER_THINK);
    App::DnsResolver { roots, think, silent, own, fixed_order, client_subnet }
}

impl World<'_, '_> {
    /// Reads `run:`. The interfaces of the machine must be there.
    pub(crate) fn read_apps(&mut self, id: NodeId, value: &Value) {
        for item in value.get("run").map(Value::items).unwrap_or_default() {
            let (word, options) = match item.entries().first() {
                Some((key, options)) => (key.text.as_str(), options),
                None => (item.text().unwrap_or(""), &EMPTY),
            };
            let before = self.upstreams.len();
            if let Some(app) = self.read_app(id, word, options, item.span) {
                for upstream in &mut self.upstreams[before..] {
                    upstream.from = leads(&app).map(|port| (id, port));
                }
                self.node(id).node.apps.push(app);
            }
        }
    }

    fn read_app(&mut self, id: NodeId, word: &str, value: &Value, span: Span) -> Option<App> {
        self.idle_app_keys(word, value);
        let think = value.duration_at("think");
        let silent = value.flag_at("silent").unwrap_or(false);
        let certificates = self.certificates_named(value);
        let certificate = certificates.first().copied();
        let port = port_or(value, if certificate.is_some() { 443 } else { 80 });
        let http2 = value.flag_at("http2").unwrap_or(certificate.is_some());
        Some(match word {
            "http" => {
                let pages = self.read_pages(value.get("pages"), "hello");
                App::HttpServer {
                    port,
                    certificate,
                    http2,
                    pages,
                    think: think.unwrap_or(HTTP_THINK),
                    silent,
                    idle_unused: value.duration_at("idle-unused"),
                    idle: value.duration_at("idle"),
                    hosting: Box::new(self.read_hosting(value, &certificates)),
                }
            }
            "split-tcp" => App::SplitTcp { port },
            "forward-proxy" => {
                self.check_forward(value);
                crate::forward::read(value)
            }
            "l4-balancer" => self.read_l4_balancer(port, value),
            "edge" => {
                let upstreams = self.read_upstreams(value);
                let balance = read_balance(value);
                let mut options = Box::new(self.read_proxy(value));
                options.certificates = certificates.get(1..).unwrap_or_default().to_vec();
                if names_none(value) {
                    self.serves_something(&upstreams, &options, span);
                }
                let think = think.unwrap_or(EDGE_THINK);
                App::Edge { port, certificate, http2, upstreams, balance, think, options }
            }
            "echo" => App::Echo { port: port_or(value, ECHO_PORT) },
            "discard" => App::Discard { port: port_or(value, DISCARD_PORT) },
            "chargen" => App::Chargen { port: port_or(value, CHARGEN_PORT) },
            "ntp" => App::Ntp,
            "rpc" => crate::calls::read_rpc(value),
            "grpc" => crate::grpc::read_server(value, certificate),
            "ssh" => crate::ssh::read_server(self, value),
            "sink" => App::Sink { port: port_or(value, SINK_PORT) },
            "wireguard" => self.read_wireguard(id, value, span)?,
            "tcp-tunnel" => self.read_tcp_tunnel(id, value, span)?,
            "dhcp-client" => App::DhcpClient { port: self.read_on(id, value, span)? },
            "dhcp-server" => self.read_dhcp_server(id, value, span)?,
            "dns-resolver" => read_resolver(value, think, silent),
            // Its zones are joined to it when all zones are known.
            "dns-server" => App::DnsServer {
                zones: Vec::new(),
                think: think.unwrap_or(DNS_THINK),
                silent,
                fixed_order: keeps_order(value),
                steering: self.read_steering(value),
            },
            _ => return None,
        })
    }

    pub(crate) fn read_on(&mut self, id: NodeId, value: &Value, span: Span) -> Option<PortId> {
        let Some(on) = value.get("on") else {
            if self.node(id).ports.is_empty() {
                let message = format!("`{}` has no interface for this", self.node(id).node.name);
                self.problems.add(Code::UnknownReference, span, message, "no interface");
                return None;
            }
            return Some(PortId(0));
        };
        let name = on.text()?;
        let found = self.find_port(id, name);
        if found.is_none() {
            let known: Vec<String> = self.node(id).node.interfaces.iter().map(|i| i.name.clone()).collect();
            let message = format!("there is no interface `{name}` here");
            self.problems
                .add(Code::UnknownReference, on.span, message, "no such interface")
                .known(name, known);
        }
        found
    }

    fn read_dhcp_server(&mut self, id: NodeId, value: &Value, span: Span) -> Option<App> {
        let port = self.read_on(id, value, span)?;
        let own = self.node(id).node.interfaces[port.index()].addresses.first().copied();
        let Some(own) = own else {
            let message = "a DHCP server needs an interface with an address";
            self.problems.add(Code::GatewayOffLink, span, message, "no address here");
            return None;
        };
        let (first, last) = self.read_pool(value.get("pool"), own)?;
        let reservations = value.get("reservations").map(Value::entries).unwrap_or_default();
        let reservations =
            reservations.iter().filter_map(|(k, v)| Some((k.text.parse().ok()?, v.address()?)));
        let resolvers = value.get("resolvers").map(Value::items).unwrap_or_default();
        Some(App::DhcpServer {
            port,
            first,
            last,
            reservations: reservations.collect::<Vec<(MacAddr, IpAddr)>>(),
            gateway: value.address_at("gateway").unwrap_or(own.addr()),
            resolvers: resolvers.iter().filter_map(Value::address).collect(),
            lease: value.duration_at("lease").unwrap_or(LEASE),
            silent: value.flag_at("silent").unwrap_or(false),
        })
    }

    /// `A-B` inside the network of `own`; else its .100 to .199 or upper half.
    pub(crate) fn read_pool(&mut self, value: Option<&Value>, own: ipnet::IpNet) -> Option<(IpAddr, IpAddr)> {
        let usual = usual_pool(own);
        let Some(value) = value else { return usual };
        let text = value.text()?;
        let ends =
            text.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        let Some((first, last)) = ends else {
            self.problems
                .add(
                    Code::BadAddress,
                    value.span,
                    format!("`{text}` is not a pool of addresses"),
                    "not a pool",
                )
                .help("pools look like `192.168.1.100-192.168.1.199`");
            return None;
        };
        if first > last || !own.contains(&first) || !own.contains(&last) {
            let message = format!("the pool `{text}` does not lie in {}", own.trunc());
            self.problems.add(Code::ForeignAddress, value.span, message, "outside the network");
            return None;
        }
        Some((first, last))
    }

    /// `upstreams:`; whether they are addresses, and somebody's, is looked at when all machines are known.
    pub(crate) fn read_upstreams(&mut self, value: &Value) -> Vec<(String, SocketAddr)> {
        let mut out = Vec::new();
        for (name, at) in value.get("upstreams").map(Value::entries).unwrap_or_default() {
            let Some(text) = at.text() else { continue };
            out.extend(text.parse().ok().map(|address: SocketAddr| (name.text.clone(), address)));
            let (name, text) = (name.text.clone(), text.to_owned());
            let speaks = Speaks::of(value);
            self.upstreams.push(UpstreamDraft { from: None, name, text, span: at.span, speaks });
        }
        out
    }

    /// The certificates that `certificate:` names: one, or a list of which the first is the default.
    fn certificates_named(&mut self, value: &Value) -> Vec<usize> {
        let Some(at) = value.get("certificate") else { return Vec::new() };
        let named = if at.text().is_some() { std::slice::from_ref(at) } else { at.items() };
        named.iter().filter_map(|one| self.certificate_named(one)).collect()
    }

    fn certificate_named(&mut self, at: &Value) -> Option<usize> {
        let name = at.text()?;
        let found = self.certificates.iter().position(|c| c.name == name);
        if found.is_none() {
            let known: Vec<String> = self.certificates.iter().map(|c| c.name.clone()).collect();
            self.problems
                .add(
                    Code::UnknownReference,
                    at.span,
                    format!("there is no certificate `{name}`"),
                    "no such certificate",
                )
                .help("describe it under `names: certificates:`")
                .known(name, known);
        }
        found
    }

    /// A certificate for `names`, valid from 30 days before the epoch to 60 days after it.
    pub(crate) fn plain_certificate(&self, names: Vec<String>) -> Certificate {
        Certificate {
            names,
            not_before: self.epoch.saturating_sub(30 * DAY),
            not_after: self.epoch.saturating_add(60 * DAY),
            issuer: Issuer::PublicCa,
        }
    }

    /// The certificate that a site asks for in a word or a mapping. `None` when it wants none.
    pub(crate) fn read_certificate(
        &mut self,
        site: &str,
        value: Option<&Value>,
        names: &[String],
    ) -> Option<usize> {
        let mut certificate = self.plain_certificate(names.to_vec());
        match value.and_then(Value::text) {
            Some("none") => return None,
            Some("expired") => certificate.not_after = self.epoch.saturating_sub(DAY),
            Some("wrong-name") => certificate.names = vec!["another.example".to_owned()],
            Some("untrusted") => certificate.issuer = Issuer::UnknownCa,
            _ => {}
        }
        if let Some(value) = value {
            self.read_certificate_keys(&mut certificate, value);
        }
        if certificate.names.is_empty() {
            return None;
        }
        self.certificates.push(CertDraft { name: site.to_owned(), certificate });
        Some(self.certificates.len() - 1)
    }

    /// Reads names, validity and issuer; a certificate for no name is reported.
    pub(crate) fn read_certificate_keys(&mut self, certificate: &mut Certificate, value: &Value) {
        if let Some(names) = value.get("names") {
            certificate.names = names.items().iter().filter_map(|v| Some(v.text()?.to_lowercase())).collect();
            if certificate.names.is_empty() {
                self.problems
                    .add(
                        Code::CertificateForNoName,
                        names.span,
                        "this certificate is for no name",
                        "no names",
                    )
                    .help("a server certificate names at least one host, such as `[shop.example]`");
            }
        }
        let instant = |key: &str| value.str_at(key).and_then(|t| units::instant(t).ok());
        certificate.not_before = instant("not-before").unwrap_or(certificate.not_before);
        certificate.not_after = instant("not-after").unwrap_or(certificate.not_after);
        if value.str_at("issuer") == Some("unknown-ca") {
            certificate.issuer = Issuer::UnknownCa;
        }
    }
}

/// .100 to .199 of the network, or its upper half when it is too small for that.
fn usual_pool(own: ipnet::IpNet) -> Option<(IpAddr, IpAddr)> {
    let ipnet::IpNet::V4(net) = own else { return None };
    let (low, high) = (u32::from(net.network()), u32::from(net.broadcast()));
    let (first, last) = if high - low >= 255 {
        (low + 100, low + 199)
    } else {
        (low + (high - low) / 2 + 1, high.saturating_sub(1))
    };
    if first > last { None } else { Some((IpAddr::V4(first.into()), IpAddr::V4(last.into()))) }
}
