//! NAT tables over the whole run: which inner end was shown to the world as which, machine by machine. One row for each
//! flow that was translated anew; what a table held at one moment is `roundtrip show --at`.

use std::collections::BTreeMap;

use rt_base::{NatRecord, NatSide, NodeId, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::View;

/// The NAT table of one machine, over the whole run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NatTable {
    /// The machine that translates.
    pub machine: String,
    /// Flows in the order in which they were first translated.
    pub rows: Vec<NatRow>,
    /// So many more that are not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

/// One translated flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NatRow {
    /// When its first packet was translated.
    pub at_ns: u64,
    /// Which side was rewritten: `source`, or `destination` for a port forward.
    pub side: String,
    /// `tcp`, `udp`, `icmp`.
    pub protocol: String,
    /// The inner address and port (ICMP: identifier).
    pub inside: String,
    /// As which the world sees it.
    pub outside: String,
    /// The other end.
    pub remote: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Rows of one machine that are told; the rest is counted.
const MOST_ROWS: usize = 64;

/// The tables, in the order of the machines.
pub(super) fn tell(view: &View<'_>) -> Vec<NatTable> {
    let mut tables: BTreeMap<NodeId, NatTable> = BTreeMap::new();
    for event in &view.trace.events {
        let What::Nat(record) = &event.what else { continue };
        if !record.created {
            continue;
        }
        let table = tables
            .entry(event.node())
            .or_insert_with(|| NatTable { machine: view.name(event.node()), ..NatTable::default() });
        if table.rows.len() < MOST_ROWS {
            table.rows.push(row(record, event.at.0));
        } else {
            table.more += 1;
        }
    }
    tables.into_values().collect()
}

fn row(record: &NatRecord, at_ns: u64) -> NatRow {
    let (side, inside, outside, remote) = match record.side {
        NatSide::Source => ("source", record.src_before, record.src_after, record.dst_after),
        NatSide::Destination => ("destination", record.dst_after, record.dst_before, record.src_before),
    };
    let protocol = match record.protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    };
    NatRow {
        at_ns,
        side: side.to_owned(),
        protocol,
        inside: inside.to_string(),
        outside: outside.to_string(),
        remote: remote.to_string(),
    }
}
