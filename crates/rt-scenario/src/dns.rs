//! Zones: those that are written, those of sites, and the public tree above them (root and top-level domains).
//!
//! The public tree has the real one's shape and TTLs: delegations 172800 s with glue, root NS 518400 s, hosts 300 s.
//! Simplified: one server per zone where the real tree has four to thirteen; a user notices only in who answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rt_base::NodeId;

use crate::apps::DNS_THINK;
use crate::diag::{Code, Span};
use crate::model::{App, Node, Zone};
use crate::tree::Value;
use crate::world::{World, ZoneDraft};

/// A registered domain of the sites, such as `google.com`.
pub(crate) struct Domain {
    pub(crate) name: String,
    /// The name server's host name.
    pub(crate) server_name: String,
    pub(crate) server_address: IpAddr,
    pub(crate) server: NodeId,
    /// Records with absolute names.
    pub(crate) records: Vec<String>,
    pub(crate) span: Span,
}

/// Record types that may be written.
const TYPES: &[&str] = &["A", "AAAA", "NS", "CNAME", "MX", "TXT", "SOA", "SRV", "PTR", "CAA"];

/// The registered domain of a host name: its last two labels (no public-suffix list; `co.uk` would need one).
pub(crate) fn domain_of(name: &str) -> String {
    let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    labels[labels.len().saturating_sub(2)..].join(".")
}

/// Why `name` is not a host name with a domain.
pub(crate) fn host_name_problem(name: &str) -> Option<&'static str> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '*')
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.len() > 253 {
        Some("it is longer than 253 characters")
    } else if !bare.split('.').all(label) {
        Some("host names are labels of letters, digits and `-`, joined by dots")
    } else if !bare.contains('.') {
        Some("it needs a domain, such as `shop.example`")
    } else {
        None
    }
}

/// Absolute form with the final dot.
fn absolute(name: &str, origin: &str) -> String {
    let origin = if origin == "." { "" } else { origin };
    match name {
        "@" => format!("{origin}."),
        n if n.ends_with('.') => n.to_owned(),
        n if origin.is_empty() => format!("{n}."),
        n => format!("{n}.{origin}."),
    }
}

fn soa(apex: &str, server: &str, negative: u32) -> String {
    let apex = absolute("@", apex);
    let mail = if apex == "." { "nstld.verisign-grs.com.".to_owned() } else { format!("hostmaster.{apex}") };
    format!("{apex} 86400 IN SOA {server}. {mail} 2026011500 7200 3600 1209600 {negative}")
}

/// Reads `NAME [TTL] [IN] TYPE DATA` and writes it with absolute names.
fn record(line: &str, origin: &str) -> Result<String, String> {
    let mut words = line.split_whitespace().peekable();
    let owner = absolute(words.next().ok_or("it is empty")?, origin).to_lowercase();
    let mut ttl = 300u32;
    if let Some(word) = words.next_if(|w| w.bytes().all(|b| b.is_ascii_digit())) {
        ttl = word.parse().map_err(|_| format!("`{word}` is not a TTL"))?;
    }
    let _ = words.next_if(|w| w.eq_ignore_ascii_case("IN"));
    let kind = words.next().ok_or("it has no type")?.to_uppercase();
    if !TYPES.contains(&&*kind) {
        return Err(format!("`{kind}` is not a record type here (known: {})", TYPES.join(", ")));
    }
    let data: Vec<&str> = words.collect();
    let name = |at: usize| data.get(at).map(|n| absolute(n, origin)).ok_or(format!("{kind} needs a name"));
    let data = match &*kind {
        "A" => {
            let text = data.first().copied().unwrap_or("");
            text.parse::<std::net::Ipv4Addr>()
                .map_err(|_| format!("`{text}` is not an IPv4 address"))?
                .to_string()
        }
        "NS" | "CNAME" | "PTR" => name(0)?,
        "MX" => {
            let preference = data.first().and_then(|w| w.parse::<u16>().ok());
            format!("{} {}", preference.ok_or("MX needs a preference and a name")?, name(1)?)
        }
        _ if data.is_empty() => return Err(format!("{kind} needs data")),
        _ => data.join(" "),
    };
    Ok(format!("{owner} {ttl} IN {kind} {data}"))
}

impl World<'_, '_> {
    /// Reads record lines relative to `origin`; bad ones are reported.
    pub(crate) fn read_records(&mut self, value: Option<&Value>, origin: &str) -> Vec<String> {
        let mut out = Vec::new();
        for line in value.map(Value::items).unwrap_or_default() {
            let Some(text) = line.text() else { continue };
            match record(text, origin) {
                Ok(good) => out.push(good),
                Err(why) => {
                    let message = format!("the record `{text}` cannot be read: {why}");
                    self.problems
                        .add(Code::BadRecord, line.span, message, "not a record")
                        .help("records look like `www 300 A 192.0.2.1` or `@ 3600 MX 10 mail`");
                }
            }
        }
        out
    }

    /// Adds a zone and lets `server` answer for it.
    pub(crate) fn add_zone(&mut self, zone: Zone, span: Span, server: Option<NodeId>) {
        let index = self.zones.len();
        self.zones.push(ZoneDraft { zone, span });
        let Some(server) = server else { return };
        let node = &mut self.node(server).node;
        for app in &mut node.apps {
            if let App::DnsServer { zones, .. } = app {
                zones.push(index);
                return;
            }
        }
        node.apps.push(App::DnsServer {
            zones: vec![index],
            think: DNS_THINK,
            silent: false,
            fixed_order: false,
            steering: Vec::new(),
        });
    }

    /// Zones of the domains that sites brought.
    pub(crate) fn make_domain_zones(&mut self) {
        let domains = std::mem::take(&mut self.domains);
        for domain in &domains {
            let Domain { name, server_name, server_address, .. } = domain;
            let mut text = vec![
                soa(name, server_name, 300),
                format!("{name}. 172800 IN NS {server_name}."),
                format!("{server_name}. 172800 IN A {server_address}"),
            ];
            text.extend(domain.records.iter().cloned());
            let origin = self.default_of(domain.span, "the zone of the site's names");
            let zone = Zone { apex: name.clone(), text: lines(&text), origin };
            self.add_zone(zone, domain.span, Some(domain.server));
        }
        self.domains = domains;
    }

    /// Zones of the top-level servers and the root. `servers` gives the server of each top-level domain: its host name,
    /// address and node; `root` the root server's.
    pub(crate) fn make_public_tree(
        &mut self,
        servers: &BTreeMap<String, Authority>,
        root: &Authority,
        span: Span,
    ) {
        let origin = self.default_of(span, "the public DNS tree");
        let mut top = vec![
            soa(".", &root.name, 86_400),
            format!(". 518400 IN NS {}.", root.name),
            format!("{}. 518400 IN A {}", root.name, root.address),
        ];
        for (tld, server) in servers {
            top.push(format!("{tld}. 172800 IN NS {}.", server.name));
            top.push(format!("{}. 172800 IN A {}", server.name, server.address));
        }
        top.dedup();
        let mut seen = std::collections::BTreeSet::new();
        top.retain(|line| seen.insert(line.clone()));
        self.add_zone(
            Zone { apex: ".".to_owned(), text: lines(&top), origin: origin.clone() },
            span,
            Some(root.node),
        );
        for (tld, server) in servers {
            let mut text = vec![soa(tld, &server.name, 900), format!("{tld}. 172800 IN NS {}.", server.name)];
            let below = format!(".{tld}");
            for other in servers.values().chain([root]).filter(|s| s.name.ends_with(&below)) {
                text.push(format!("{}. 172800 IN A {}", other.name, other.address));
            }
            for domain in self.domains.iter().filter(|d| d.name.ends_with(&below)) {
                text.push(format!("{}. 172800 IN NS {}.", domain.name, domain.server_name));
                if domain.server_name.ends_with(&below) {
                    text.push(format!("{}. 172800 IN A {}", domain.server_name, domain.server_address));
                }
            }
            let mut seen = std::collections::BTreeSet::new();
            text.retain(|line| seen.insert(line.clone()));
            let zone = Zone { apex: tld.clone(), text: lines(&text), origin: origin.clone() };
            self.add_zone(zone, span, Some(server.node));
        }
    }

    /// `names: zones:`.
    pub(crate) fn read_zones(&mut self, names: &Value) {
        for (apex, value) in names.get("zones").map(Value::entries).unwrap_or_default() {
            let name = apex.text.trim_end_matches('.').to_lowercase();
            let name = if name.is_empty() { ".".to_owned() } else { name };
            let server = self.zone_server(value);
            let origin = self.line(apex.span);
            let text = match value.str_at("text") {
                Some(text) => text.to_owned(),
                None => self.written_zone(&name, value, server),
            };
            self.add_zone(Zone { apex: name, text, origin }, apex.span, server);
        }
    }

    fn zone_server(&mut self, value: &Value) -> Option<NodeId> {
        let at = value.get("server")?;
        self.node_named(at.text()?, at.span)
    }

    fn written_zone(&mut self, name: &str, value: &Value, server: Option<NodeId>) -> String {
        let records = self.read_records(value.get("records"), name);
        let apex = absolute("@", name);
        let has = |kind: &str| {
            records.iter().any(|r| r.starts_with(&format!("{apex} ")) && r.contains(&format!(" IN {kind} ")))
        };
        let ns = absolute("ns1", name);
        let mut text = Vec::new();
        if !has("SOA") {
            text.push(soa(name, ns.trim_end_matches('.'), 300));
        }
        if !has("NS") {
            text.push(format!("{apex} 172800 IN NS {ns}"));
            let address = server.and_then(|id| self.first_address(id));
            text.extend(address.map(|a| format!("{ns} 172800 IN A {a}")));
        }
        text.extend(records);
        lines(&text)
    }

    /// The first address of a node's interfaces.
    pub(crate) fn first_address(&self, id: NodeId) -> Option<IpAddr> {
        self.nodes[id.index()].node.interfaces.iter().flat_map(|i| &i.addresses).map(|n| n.addr()).next()
    }

    /// Joins `run: dns-server: { zones: [..] }` to the zones, and reports zones that nobody answers for.
    pub(crate) fn join_zones(&mut self, written: &[(NodeId, Vec<(String, Span)>)]) {
        for (id, names) in written {
            for (name, span) in names {
                let wanted = if name == "." { "." } else { name.trim_end_matches('.') };
                let found = self.zones.iter().position(|z| z.zone.apex == wanted);
                let Some(index) = found else {
                    let known: Vec<String> = self.zones.iter().map(|z| z.zone.apex.clone()).collect();
                    let message = format!("there is no zone `{name}`");
                    self.problems
                        .add(Code::UnknownReference, *span, message, "no such zone")
                        .known(name, known);
                    continue;
                };
                for app in &mut self.nodes[id.index()].node.apps {
                    if let App::DnsServer { zones, .. } = app
                        && !zones.contains(&index)
                    {
                        zones.push(index);
                        break;
                    }
                }
            }
        }
        let served: std::collections::BTreeSet<usize> = self
            .nodes
            .iter()
            .flat_map(|d| &d.node.apps)
            .flat_map(|app| match app {
                App::DnsServer { zones, .. } => zones.clone(),
                _ => Vec::new(),
            })
            .collect();
        for (index, zone) in self.zones.iter().enumerate().filter(|(i, _)| !served.contains(i)) {
            let _ = index;
            let message = format!("no name server answers for the zone `{}`", zone.zone.apex);
            self.problems
                .add(Code::ZoneWithoutAuthority, zone.span, message, "nobody serves it")
                .help("add `server: NODE`, or `run: [ dns-server: { zones: [...] } ]` on a node");
        }
    }
}

/// A name server of the public tree.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) node: NodeId,
}

fn lines(records: &[String]) -> String {
    records.iter().map(|r| format!("{r}\n")).collect()
}

/// The names that resolvers answer themselves, as far as `actor` asks them: those of its list, or all when DHCP tells it whom.
pub(crate) fn private_names<'w>(
    world: &'w World<'_, '_>,
    actor: &'w Node,
) -> impl Iterator<Item = &'w (String, IpAddr)> {
    let asked = &actor.resolver.servers;
    let bears =
        |node: &Node| node.interfaces.iter().flat_map(|i| &i.addresses).any(|n| asked.contains(&n.addr()));
    let own = |app: &'w App| match app {
        App::DnsResolver { own, .. } => own.as_slice(),
        _ => &[],
    };
    let knows = move |node: &&'w Node| node.apps.iter().any(|app| !own(app).is_empty());
    let resolvers = world.nodes.iter().map(|draft| &draft.node).filter(knows);
    let resolvers = resolvers.filter(move |node| asked.is_empty() || bears(node));
    resolvers.flat_map(move |node| node.apps.iter().flat_map(own))
}

/// The addresses that a resolver gives `actor` for a name of its own.
pub(crate) fn private_addresses(world: &World<'_, '_>, actor: &Node, name: &str) -> Vec<IpAddr> {
    let wanted = name.trim_end_matches('.').to_lowercase();
    let known = private_names(world, actor).filter(|(own, _)| own.trim_end_matches('.') == wanted);
    known.map(|(_, address)| *address).collect()
}

/// The addresses that `name` has in these zones, following CNAMEs; `None` when no zone knows it.
pub(crate) fn resolve(zones: &[ZoneDraft], name: &str) -> Option<Vec<IpAddr>> {
    let mut wanted = format!("{}.", name.trim_end_matches('.').to_lowercase());
    for _ in 0..8 {
        let mut addresses = Vec::new();
        let mut alias = None;
        let mut exists = false;
        for line in zones.iter().flat_map(|z| z.zone.text.lines()) {
            let mut words = line.split_whitespace();
            if !words.next().is_some_and(|w| w.eq_ignore_ascii_case(&wanted)) {
                continue;
            }
            let mut rest =
                words.skip_while(|w| w.bytes().all(|b| b.is_ascii_digit()) || w.eq_ignore_ascii_case("IN"));
            exists = true;
            match (rest.next(), rest.next()) {
                (Some("A"), Some(data)) => addresses.extend(data.parse::<IpAddr>().ok()),
                (Some("CNAME"), Some(data)) => alias = Some(data.to_lowercase()),
                _ => {}
            }
        }
        match alias {
            _ if !addresses.is_empty() => {
                addresses.dedup();
                return Some(addresses);
            }
            Some(next) => wanted = next,
            None => return if exists { Some(Vec::new()) } else { None },
        }
    }
    Some(Vec::new())
}
