//! Names that people write to nodes: full names, and short ones when they are unique.

use rt_base::NodeId;

use crate::diag::{Code, Span};
use crate::world::World;

/// What a written name means.
pub(crate) enum Found {
    /// This node.
    Node(NodeId),
    /// Several nodes, by their full names.
    Several(Vec<String>),
    /// None.
    Nobody,
}

impl World<'_, '_> {
    /// `home.laptop`, or `laptop` when only one node is called so.
    pub(crate) fn find_node(&self, name: &str) -> Found {
        if let Some(id) = self.index.get(name) {
            return Found::Node(*id);
        }
        let fits = |full: &str| full.rsplit_once('.').is_some_and(|(_, short)| short == name);
        let several: Vec<(&String, &NodeId)> = self.index.iter().filter(|(full, _)| fits(full)).collect();
        match several.as_slice() {
            [] => Found::Nobody,
            [(_, id)] => Found::Node(**id),
            many => Found::Several(many.iter().map(|(full, _)| (*full).clone()).collect()),
        }
    }

    /// The node of that name; unknown and ambiguous names are reported at `span`.
    pub(crate) fn node_named(&mut self, name: &str, span: Span) -> Option<NodeId> {
        match self.find_node(name) {
            Found::Node(id) => Some(id),
            Found::Several(full) => {
                self.problems
                    .add(
                        Code::AmbiguousName,
                        span,
                        format!("`{name}` may be any of several nodes"),
                        "which one?",
                    )
                    .help("write the full name")
                    .known(name, full);
                None
            }
            Found::Nobody => {
                let known = self.known_nodes();
                let shorts = known.iter().map(|n| n.rsplit('.').next().unwrap_or(n).to_owned());
                let all: Vec<String> = known.iter().cloned().chain(shorts).collect();
                self.problems
                    .add(Code::UnknownNode, span, format!("no node is called `{name}`"), "no such node")
                    .known(name, known)
                    .guess(name, &all);
                None
            }
        }
    }

    /// Full names of all nodes, and the short ones of sites, for "did you mean".
    pub(crate) fn known_nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|d| d.node.name.clone()).collect()
    }
}
