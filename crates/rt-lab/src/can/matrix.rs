//! All pairs at once: who reaches which service. One world is booted and asked everything, one question after the other as
//! if each were the first (see `probe`).

use std::net::IpAddr;

use rt_base::{DropReason, NodeId, Place, Time};
use rt_rules::{Construct, NatAction};
use rt_scenario::model::{App, Model};
use serde::Serialize;

use super::ends::{self, End};
use super::find::{self, Found};
use super::probe::{self, Probe, Prober, Protocol, Question};
use super::{lift, name, solve, stranger, ways};
use crate::{Refusal, Scenario};

mod html;

/// What is asked of all pairs.
#[derive(Clone, Debug, Default)]
pub struct MatrixQuery {
    /// Who asks; without it every machine that is not the internet's own, and a stranger on the internet.
    pub from: Option<String>,
    /// Who is asked; without it the same.
    pub to: Option<String>,
    /// This port everywhere; without it the services that each machine runs, and a ping where it runs none.
    pub port: Option<u16>,
    /// By what the port is asked; otherwise TCP.
    pub protocol: Option<Protocol>,
    /// Machines that run services are pinged as well.
    pub ping: bool,
    /// Of which moment of the run, as in [`super::CanQuery::at`].
    pub at: Time,
    /// Chooses all random things.
    pub seed: u64,
}

/// Probes that a table may come to.
const MOST_PROBES: usize = 20_000;

/// What came of a pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The asker itself.
    Itself,
    /// Answered.
    Yes,
    /// It arrives, and nobody listens there.
    Closed,
    /// A firewall refuses.
    Firewall,
    /// A security group refuses.
    SecurityGroup,
    /// A network ACL refuses.
    NetworkAcl,
    /// Somebody on the way knows no way.
    NoRoute,
    /// A NAT has no mapping for it.
    NoMapping,
    /// The address means another machine where it is asked for.
    OtherMachine,
    /// Anything else: silence, a cut link, a name that nobody knows.
    Other,
}

impl Mark {
    /// The character of a text table.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Mark::Itself => '-',
            Mark::Yes => '+',
            Mark::Closed => 'c',
            Mark::Firewall => 'f',
            Mark::SecurityGroup => 'g',
            Mark::NetworkAcl => 'a',
            Mark::NoRoute => 'r',
            Mark::NoMapping => 'n',
            Mark::OtherMachine => 's',
            Mark::Other => 'x',
        }
    }

    /// What it means.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            Mark::Itself => "itself",
            Mark::Yes => "yes",
            Mark::Closed => "arrives, but nobody listens",
            Mark::Firewall => "a firewall refuses",
            Mark::SecurityGroup => "a security group refuses",
            Mark::NetworkAcl => "a network ACL refuses",
            Mark::NoRoute => "no route",
            Mark::NoMapping => "a NAT has no mapping",
            Mark::OtherMachine => "the address means another machine there",
            Mark::Other => "no answer for another reason",
        }
    }
}

/// A service that is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Column {
    /// The machine.
    pub machine: String,
    /// By what.
    pub protocol: Protocol,
    /// The port, unless it is a ping.
    pub port: Option<u16>,
}

impl Column {
    /// `web:443`, `dns:53/udp`, `printer`.
    #[must_use]
    pub fn name(&self) -> String {
        let machine = self.target();
        let udp = if self.protocol == Protocol::Udp { "/udp" } else { "" };
        self.port.map_or_else(|| machine.clone(), |port| format!("{machine}:{port}{udp}"))
    }

    /// The machine, or `internet` for the stranger.
    pub(crate) fn target(&self) -> String {
        if self.machine == stranger::NAME { "internet".to_owned() } else { self.machine.clone() }
    }
}

/// One pair.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cell {
    /// Who asked.
    pub from: String,
    /// Who was asked, as [`Column::name`] has it.
    pub to: String,
    /// What came of it.
    pub mark: Mark,
    /// The machine code of what stood in the way first.
    pub code: Option<String>,
    /// Where that was.
    pub node: Option<String>,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// Where it was written.
    pub origin: Option<String>,
    /// It was the answer that ended there.
    pub answer: bool,
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Matrix {
    /// The scenario's name.
    pub scenario: String,
    /// Who asks.
    pub rows: Vec<String>,
    /// What is asked for.
    pub columns: Vec<Column>,
    /// One list for each row.
    pub cells: Vec<Vec<Cell>>,
    /// Probes that were sent for it.
    pub probes: usize,
}

/// A column and how it is asked for.
struct Asked {
    column: Column,
    node: NodeId,
    /// Addresses to try, in the order in which insiders would.
    addresses: Vec<IpAddr>,
}

/// Asks all pairs.
///
/// # Errors
/// As [`super::can`]; [`Refusal::Misuse`] also for more than 20,000 probes.
pub fn matrix(scenario: &Scenario, query: &MatrixQuery) -> Result<Matrix, Refusal> {
    matrix_of_model(scenario.name(), scenario.model().clone(), query)
}

/// [`matrix`] of a lowered model; `name` is what the table says of whom it is.
pub(crate) fn matrix_of_model(name: &str, mut model: Model, query: &MatrixQuery) -> Result<Matrix, Refusal> {
    probe::at(&mut model, query.at);
    let everybody = || "everybody".to_owned();
    let (from_text, to_text) =
        (query.from.clone().unwrap_or_else(everybody), query.to.clone().unwrap_or_else(everybody));
    let (rows, outside) = machines(&mut model, query.from.as_deref())?;
    let (asked, to_outside) = machines(&mut model, query.to.as_deref())?;
    if outside || to_outside {
        let stranger = ends::the_stranger(&mut model, None)?;
        if let Some(port) = query.port {
            let protocol = query.protocol.unwrap_or(Protocol::Tcp);
            model.nodes[stranger.index()].apps.push(super::edit::listener(protocol, port));
        }
    }
    let columns = columns(&model, query, &asked);
    let probes = rows.len() * columns.len();
    if probes > MOST_PROBES {
        let why = format!(
            "all pairs from {from_text} to {to_text} are {probes} probes, more than the {MOST_PROBES} that one table may \
             take: name who asks and who is asked, such as two sites or groups, or one --port"
        );
        return Err(Refusal::Misuse { why });
    }
    Ok(Asking::new(name, model, &rows, query.seed).table(&rows, columns))
}

/// The machines that an end means; by default every one that is not the internet's own, and the stranger. And whether the
/// stranger is among them.
fn machines(model: &mut Model, end: Option<&str>) -> Result<(Vec<NodeId>, bool), Refusal> {
    if let Some(text) = end {
        let found = End::read(model, text)?.askers(model, text)?;
        let outside = found.iter().any(|n| model.nodes[n.index()].name == stranger::NAME);
        return Ok((found, outside));
    }
    let all = (0..model.nodes.len()).filter_map(|i| u32::try_from(i).ok().map(NodeId));
    let all: Vec<NodeId> = all.collect();
    let internet = all.iter().find(|n| ways::is_internet(model, **n)).copied();
    let site = internet.and_then(|n| model.nodes[n.index()].site.clone());
    let own = |n: &NodeId| site.is_some() && model.nodes[n.index()].site == site;
    let mut found: Vec<NodeId> = all
        .iter()
        .copied()
        .filter(|n| ends::is_machine(&model.nodes[n.index()]) && !own(n))
        .filter(|n| model.nodes[n.index()].name != stranger::NAME)
        .collect();
    if internet.is_some() {
        found.push(ends::the_stranger(model, None)?);
    }
    Ok((found, internet.is_some()))
}

fn columns(model: &Model, query: &MatrixQuery, nodes: &[NodeId]) -> Vec<Asked> {
    let mut out = Vec::new();
    for node in nodes {
        let mut services = match query.port {
            Some(port) => vec![(query.protocol.unwrap_or(Protocol::Tcp), Some(port))],
            None => services(&model.nodes[node.index()].apps),
        };
        if services.is_empty() || query.ping {
            services.push((Protocol::Icmp, None));
        }
        services.sort_unstable();
        services.dedup();
        let own = ends::addresses(model, node.index());
        let public = ends::public_addresses(model).into_iter().find(|(inside, _)| own.contains(inside));
        let addresses = own.first().copied().into_iter().chain(public.map(|(_, outside)| outside));
        let addresses: Vec<IpAddr> = addresses.collect();
        for (protocol, port) in services {
            let machine = model.nodes[node.index()].name.clone();
            let column = Column { machine, protocol, port };
            out.push(Asked { column, node: *node, addresses: addresses.clone() });
        }
    }
    if query.port.is_none() && query.to.is_none() {
        out.extend(forwards(model));
    }
    out
}

/// Ports on which a machine's programs listen.
pub(super) fn services(apps: &[App]) -> Vec<(Protocol, Option<u16>)> {
    let service = |app: &App| match app {
        App::HttpServer { port, .. }
        | App::Rpc { port, .. }
        | App::Ssh { port, .. }
        | App::Sink { port, .. }
        | App::Echo { port, .. }
        | App::Discard { port, .. }
        | App::Chargen { port, .. }
        | App::Edge { port, .. } => Some((Protocol::Tcp, Some(*port))),
        App::Grpc(server) => Some((Protocol::Tcp, Some(server.port))),
        App::Ntp => Some((Protocol::Udp, Some(123))),
        App::DnsResolver { .. } | App::DnsServer { .. } => Some((Protocol::Udp, Some(53))),
        _ => None,
    };
    apps.iter().filter_map(service).collect()
}

/// Ports that a NAT leads inside: services of the machine that translates.
fn forwards(model: &Model) -> Vec<Asked> {
    let mut out = Vec::new();
    for (index, node) in model.nodes.iter().enumerate() {
        let Some(id) = u32::try_from(index).ok().map(NodeId) else { break };
        for rule in &node.nat {
            let (
                NatAction::Dnat { .. } | NatAction::DnatRange { .. } | NatAction::DnatSpread { .. },
                Some(ports),
            ) = (&rule.action, rule.when.dport)
            else {
                continue;
            };
            let protocol = if rule.when.protocol == Some(17) { Protocol::Udp } else { Protocol::Tcp };
            let port = rule.when.in_port.and_then(|p| node.interfaces.get(p.index()));
            let own = port.and_then(|i| i.addresses.first()).map(ipnet::IpNet::addr);
            let Some(address) = rule.when.dst.first().map(ipnet::IpNet::addr).or(own) else { continue };
            let column = Column { machine: node.name.clone(), protocol, port: Some(ports.first) };
            out.push(Asked { column, node: id, addresses: vec![address] });
        }
    }
    out
}

/// A world that is asked.
struct Asking {
    scenario: String,
    model: Model,
    prober: Prober,
    probes: usize,
}

impl Asking {
    fn new(scenario: &str, model: Model, rows: &[NodeId], seed: u64) -> Asking {
        let prober = Prober::new(&model, rows, seed);
        Asking { scenario: scenario.to_owned(), model, prober, probes: 0 }
    }

    fn table(mut self, rows: &[NodeId], mut columns: Vec<Asked>) -> Matrix {
        for column in columns.iter_mut().filter(|c| c.addresses.is_empty()) {
            column.addresses.extend(self.prober.address(column.node));
        }
        let mut cells = Vec::new();
        for row in rows {
            cells.push(columns.iter().map(|column| self.cell(*row, column)).collect());
        }
        let name = |node: &NodeId| row_name(&self.model, *node);
        Matrix {
            rows: rows.iter().map(name).collect(),
            columns: columns.into_iter().map(|c| c.column).collect(),
            cells,
            probes: self.probes,
            scenario: self.scenario,
        }
    }

    fn cell(&mut self, from: NodeId, asked: &Asked) -> Cell {
        let empty = Cell {
            from: row_name(&self.model, from),
            to: asked.column.name(),
            mark: Mark::Itself,
            code: None,
            node: None,
            rule: None,
            origin: None,
            answer: false,
        };
        if from == asked.node {
            return empty;
        }
        let mut addresses = asked.addresses.clone();
        // From outside a public address is the one that people know.
        if ends::addresses(&self.model, from.index()).iter().any(|a| !lift::is_private(*a)) {
            addresses.reverse();
        }
        let mut first = None;
        for address in addresses {
            let (protocol, port) = (asked.column.protocol, asked.column.port);
            let question = Question { from, target: address.to_string(), protocol, port };
            let probe = self.prober.ask(&question);
            self.probes += 1;
            if probe.ok && find::reached(&probe.trace, &question, probe.begun, asked.node) {
                return Cell { mark: Mark::Yes, ..empty };
            }
            first.get_or_insert((question, probe));
        }
        match first {
            Some((question, probe)) => self.refused(&question, (asked.node, &probe), empty),
            None => Cell { mark: Mark::Other, code: Some("request.failed".into()), ..empty },
        }
    }

    fn refused(&self, question: &Question, (meant, probe): (NodeId, &Probe), empty: Cell) -> Cell {
        if let Some(other) = solve::other_machine(&self.model, question, (meant, probe)) {
            let other = &self.model.nodes[other.index()];
            let (code, node) = (Some(name::OTHER_MACHINE.to_owned()), Some(other.name.clone()));
            return Cell {
                mark: Mark::OtherMachine,
                code,
                node,
                origin: Some(other.origin.to_string()),
                ..empty
            };
        }
        let cause = match find::cause(&self.model, probe, question) {
            Some(Found::Drop(cause)) => cause,
            _ if probe.path.is_empty() => {
                let node = Some(self.model.nodes[question.from.index()].name.clone());
                return Cell { mark: Mark::NoRoute, code: Some("drop.no_route".into()), node, ..empty };
            }
            _ => return Cell { mark: Mark::Other, code: Some("request.failed".into()), ..empty },
        };
        let node = &self.model.nodes[cause.node.index()];
        let (rule, origin) = name::rule_and_origin(&self.model, &crate::facts::of_node(node), &cause);
        let mark = match (cause.reason, name::construct(node, &cause)) {
            (DropReason::Filtered | DropReason::Rejected, Some(Construct::SecurityGroup { .. })) => {
                Mark::SecurityGroup
            }
            (DropReason::Filtered | DropReason::Rejected, Some(Construct::NetworkAcl { .. })) => {
                Mark::NetworkAcl
            }
            (DropReason::Filtered | DropReason::Rejected, None) => Mark::Firewall,
            (DropReason::Filtered | DropReason::Rejected, Some(Construct::InternetGateway)) => {
                Mark::NoMapping
            }
            (DropReason::NoSocket, _) if !cause.answer => Mark::Closed,
            (DropReason::NoRoute | DropReason::Blackhole | DropReason::RouteUnreachable, _) => Mark::NoRoute,
            _ if cause.place == Place::Nat => Mark::NoMapping,
            _ => Mark::Other,
        };
        // Of a missing route the nearest one differs from pair to pair, and says little in a table.
        let origin = origin.split(" (nearest").next().unwrap_or_default().to_owned();
        let (code, node) = (Some(cause.reason.code().to_owned()), Some(node.name.clone()));
        Cell { mark, code, node, rule, origin: Some(origin), answer: cause.answer, ..empty }
    }
}

fn row_name(model: &Model, node: NodeId) -> String {
    let name = &model.nodes[node.index()].name;
    if name == stranger::NAME { "internet".to_owned() } else { name.clone() }
}

/// Reasons that are listed below a table at most.
const MOST_REASONS: usize = 24;

impl Matrix {
    /// Pairs that were answered, and all.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let pairs = || self.cells.iter().flatten().filter(|c| c.mark != Mark::Itself);
        (pairs().filter(|c| c.mark == Mark::Yes).count(), pairs().count())
    }

    /// The table as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(|e| e.to_string(), |text| text + "\n")
    }

    /// The table as a page of its own.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The table for people.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.rows.iter().map(|r| r.chars().count()).max().unwrap_or(0).max(4);
        let digits = self.columns.len().to_string().len();
        let pad = |text: &str| format!("{text:>digits$}");
        let numbers: Vec<String> = (1..=self.columns.len()).map(|n| pad(&n.to_string())).collect();
        let mut lines = vec![format!("{:width$}  {}", "from", numbers.join(" "))];
        for (row, cells) in self.rows.iter().zip(&self.cells) {
            let marks: Vec<String> = cells.iter().map(|c| pad(&c.mark.letter().to_string())).collect();
            lines.push(format!("{row:width$}  {}", marks.join(" ")));
        }
        lines.push(String::new());
        for (number, column) in self.columns.iter().enumerate() {
            lines.push(format!("{}  {}", pad(&(number + 1).to_string()), column.name()));
        }
        lines.push(String::new());
        let mut marks: Vec<Mark> = self.cells.iter().flatten().map(|c| c.mark).collect();
        marks.sort_unstable();
        marks.dedup();
        lines.extend(marks.iter().map(|m| format!("{}  {}", pad(&m.letter().to_string()), m.say())));
        lines.extend(self.reasons());
        let (yes, all) = self.counts();
        lines.push(format!("\n{yes} of {all} pairs: yes"));
        lines.join("\n") + "\n"
    }

    /// Who refuses, most pairs first.
    fn reasons(&self) -> Vec<String> {
        let mut counted: Vec<(String, usize)> = Vec::new();
        for cell in self.cells.iter().flatten().filter(|c| c.node.is_some()) {
            let text = cell.reason();
            match counted.iter_mut().find(|(known, _)| *known == text) {
                Some((_, count)) => *count += 1,
                None => counted.push((text, 1)),
            }
        }
        if counted.is_empty() {
            return Vec::new();
        }
        counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let more = counted.len().saturating_sub(MOST_REASONS);
        let mut lines = vec!["\npairs  refused by".to_owned()];
        lines.extend(counted.iter().take(MOST_REASONS).map(|(text, count)| format!("{count:>5}  {text}")));
        if more > 0 {
            lines.push(format!("       and {more} more (--format json has them all)"));
        }
        lines
    }
}

impl Cell {
    /// What stood in the way first, in one line, behind its mark.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{} {}", self.mark.letter(), self.why())
    }

    /// What stood in the way first, in one line.
    #[must_use]
    pub fn why(&self) -> String {
        if self.node.is_none() {
            return self.mark.say().to_owned();
        }
        let node = self.node.as_deref().unwrap_or_default();
        let answer = if self.answer { " (the answer)" } else { "" };
        let written = self.origin.as_ref().map_or_else(String::new, |o| format!("  {o}"));
        let what = match &self.rule {
            Some(rule) => rule.as_str(),
            None => self.mark.say(),
        };
        format!("{node}{answer}: {what}{written}")
    }
}
