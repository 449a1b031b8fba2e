//! Views of a lowered model: text for people, diagrams, JSON, and the plain level of the language.

mod acl_yaml;
mod app_yaml;
mod balancer_yaml;
mod conntrack;
mod diagram;
mod forward_yaml;
mod grpc_yaml;
mod names_yaml;
mod plain_yaml;
mod proxy_yaml;
mod routes_yaml;
mod step_yaml;
mod text;
mod web_yaml;
mod websocket_yaml;

pub use crate::guard::reverse_path_word;
pub use diagram::{dot, mermaid};
pub use plain_yaml::plain_yaml;
pub(crate) use text::PENDING_PEERING;
pub use text::{
    acl_direction, clamp_line, filter_line, is_pending_peering, is_vpc_router, middlebox_line, nat_line,
    policy_line, policy_route_line, text,
};

use crate::model::{Model, Node, NodeKind};

/// The model as JSON, indented.
#[must_use]
pub fn json(model: &Model) -> String {
    let mut out = serde_json::to_string_pretty(model).expect("invariant: a model has only text keys");
    out.push('\n');
    out
}

/// Nodes by site, those without one last; in the order of the model.
fn by_site(model: &Model) -> Vec<(Option<&str>, Vec<usize>)> {
    let mut out: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
    for (index, node) in model.nodes.iter().enumerate() {
        let site = node.site.as_deref();
        match out.iter_mut().find(|(s, _)| *s == site) {
            Some((_, list)) => list.push(index),
            None => out.push((site, vec![index])),
        }
    }
    out.sort_by_key(|(site, _)| site.is_none());
    out
}

/// What a table of routes is called in lines of policy routing; table 0 is `main`.
#[must_use]
pub fn table_name(node: &Node, table: u32) -> &str {
    match table {
        0 => "main",
        n => node.tables.get(n as usize - 1).map_or("main", |t| t.name.as_str()),
    }
}

/// `host`, `router` or `switch`.
fn kind_word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Host => "host",
        NodeKind::Router => "router",
        NodeKind::Switch => "switch",
    }
}
