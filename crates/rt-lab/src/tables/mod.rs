//! `show RUN --at MACHINE --table ...`: what a machine remembers at a moment of a run. NAT mappings, flows, routes,
//! neighbours and rules with their counters, lifetimes and origins.
//!
//! The run is made again up to that moment and the machine's stack is asked; nothing is kept while a run goes on. Not for:
//! what happened to a packet (`follow`). Simplified: a machine that a real program plays has its tables elsewhere.
//!
//! Main types: [`TablesQuery`], [`Shown`].

mod data;
mod text;

use rt_base::NodeId;
use rt_scenario::model::NodeKind;
use rt_stack::Tables;
use serde_json::{Value, json};

use crate::facts::node_named;
use crate::source::Source;
use crate::{Model, Refusal, Time, World};

/// One of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableKind {
    /// NAT mappings.
    Nat,
    /// Flows that connection tracking knows.
    Conntrack,
    /// Routes.
    Routes,
    /// Neighbours: which MAC an address on a link has.
    Neighbors,
    /// Filter and NAT rules with what they decided.
    Rules,
}

impl TableKind {
    /// All, in the order in which they are shown.
    pub const ALL: [TableKind; 5] =
        [TableKind::Nat, TableKind::Conntrack, TableKind::Routes, TableKind::Neighbors, TableKind::Rules];
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TablesQuery {
    /// Machines.
    pub at: Vec<String>,
    /// Tables; all when empty.
    pub tables: Vec<TableKind>,
    /// When, in virtual time; the end of the run when not given.
    pub time: Option<Time>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Remarks for stderr.
    pub talk: Vec<String>,
}

/// The tables of machines of a run's folder, of the last run of a scenario, or of a run made now.
///
/// # Errors
/// [`Refusal::Unknown`] for a machine that is not there, [`Refusal::Misuse`] for one that has no tables.
pub fn tables(source: &str, query: &TablesQuery) -> Result<Shown, Refusal> {
    let mut talk = Vec::new();
    let source = Source::last_run(source, &mut talk)?;
    let nodes: Vec<NodeId> =
        query.at.iter().map(|name| machine(source.model(), name)).collect::<Result<_, _>>()?;
    let (mut world, now) = source.world_at(query.time)?;
    if query.time.is_some_and(|asked| asked > now) {
        talk.push(format!("the run was stopped at {} s: this is how things stood then", seconds(now)));
    }
    let kinds: &[TableKind] = if query.tables.is_empty() { &TableKind::ALL } else { &query.tables };
    let mut text = String::new();
    let mut machines = Vec::new();
    for node in nodes {
        let tables = of(&mut world, node, now)?;
        let at = At { model: source.model(), node, now, tables: &tables };
        for kind in kinds {
            if !text.is_empty() {
                text.push('\n');
            }
            text += &text::table(&at, *kind);
        }
        machines.push(data::machine(&at, kinds));
    }
    let json = json!({ "scenario": source.model().name, "time_ns": now.0, "machines": machines });
    Ok(Shown { text, json, talk })
}

/// What is shown of one machine.
struct At<'t> {
    model: &'t Model,
    node: NodeId,
    now: Time,
    tables: &'t Tables,
}

impl At<'_> {
    fn node(&self) -> &rt_scenario::model::Node {
        &self.model.nodes[self.node.index()]
    }

    fn interface(&self, port: rt_base::PortId) -> &str {
        crate::facts::port_name(self.node(), port)
    }
}

/// A machine by its name, if it is one that has tables.
fn machine(model: &Model, name: &str) -> Result<NodeId, Refusal> {
    let Some(node) = node_named(model, name) else {
        let known: Vec<&str> =
            model.nodes.iter().filter(|n| n.kind != NodeKind::Switch).map(|n| n.name.as_str()).collect();
        return Err(Refusal::unknown("machine", name, &known));
    };
    if model.nodes[node.index()].kind == NodeKind::Switch {
        let why = format!("`{name}` is a switch: it has no addresses, and none of these tables");
        return Err(Refusal::Misuse { why });
    }
    Ok(node)
}

/// The tables of one machine of a world.
pub(crate) fn of(world: &mut World, node: NodeId, now: Time) -> Result<Tables, Refusal> {
    let name = world.model().nodes[node.index()].name.clone();
    let tables = world.host(node).and_then(|host| host.with_stack(|stack| stack.tables(now)));
    tables.ok_or_else(|| Refusal::Misuse {
        why: format!("a real program plays `{name}`: its tables were those of the machine that it ran on"),
    })
}

/// `1.200`.
fn seconds(time: Time) -> String {
    format!("{}.{:03}", time.0 / 1_000_000_000, time.0 / 1_000_000 % 1_000)
}

/// `tcp`, `udp`, `icmp`, or the number.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    }
}
