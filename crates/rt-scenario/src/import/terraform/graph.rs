//! All resources of a plan or a state, found by module, type and name, and by id.
//!
//! A plan has two trees: the values, one node per module instance, and the configuration, one node per module block.
//! Here each module instance knows its block, so that an expression can be read where it was written and for the
//! instance that it was evaluated for.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::address::{Key, calls};
use super::json::{ConfigModule, ConfigResource, Document, Module, ModuleCall, Resource};

/// Where an instance stands in [`Graph::instances`].
pub(super) type At = usize;

/// One instance of a module; the first is the root.
pub(super) struct Scope<'d> {
    /// The one that calls it, and the name of the call there.
    pub(super) parent: Option<(usize, String)>,
    /// Its own key.
    pub(super) key: Key,
    /// The call that made it.
    pub(super) call: Option<&'d ModuleCall>,
    /// What is written in it.
    pub(super) config: Option<&'d ConfigModule>,
}

/// One instance of a resource.
pub(super) struct Instance<'d> {
    /// Its full address.
    pub(super) address: &'d str,
    /// In [`Graph::scopes`].
    pub(super) scope: usize,
    pub(super) kind: &'d str,
    pub(super) name: &'d str,
    pub(super) key: Key,
    pub(super) values: &'d Map<String, Value>,
    /// Its block, in a plan.
    pub(super) config: Option<&'d ConfigResource>,
    /// A data source: something that stands already.
    pub(super) data: bool,
}

/// Everything.
pub(super) struct Graph<'d> {
    pub(super) scopes: Vec<Scope<'d>>,
    pub(super) instances: Vec<Instance<'d>>,
    /// How many more steps a search may take; set anew for each.
    pub(super) steps_left: Cell<u32>,
    /// Whether unknown values may be found in the configuration.
    pub(super) is_plan: bool,
    pub(super) document: &'d Document,
    /// Addresses that came twice (the first is kept), and modules whose address could not be read.
    pub(super) doubtful: Vec<(String, &'static str)>,
    by_name: BTreeMap<(usize, bool, &'d str, &'d str), Vec<At>>,
    by_id: BTreeMap<&'d str, Vec<At>>,
    /// By what other attributes ([`OTHER_IDS`]) name a resource: the kind's place there, the resource, the attribute.
    by_other_id: BTreeMap<&'d str, Vec<(usize, At, &'static str)>>,
    by_kind: BTreeMap<&'d str, Vec<At>>,
    called: BTreeMap<(usize, String), Vec<usize>>,
}

/// Attributes by which other resources name one, beside its id: the main route table of a VPC has an id of its own.
const OTHER_IDS: &[(&str, &[&str])] = &[
    ("aws_vpc", OF_A_VPC),
    ("aws_default_vpc", OF_A_VPC),
    ("aws_eip", &["allocation_id", "public_ip"]),
    ("aws_instance", &["primary_network_interface_id"]),
    (
        "aws_ec2_transit_gateway",
        &["association_default_route_table_id", "propagation_default_route_table_id"],
    ),
    ("aws_vpc_endpoint", &["prefix_list_id"]),
];
const OF_A_VPC: &[&str] =
    &["main_route_table_id", "default_route_table_id", "default_security_group_id", "default_network_acl_id"];

static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

impl<'d> Graph<'d> {
    pub(super) fn new(document: &'d Document) -> Option<Graph<'d>> {
        let (values, is_plan) = match (&document.planned_values, &document.values) {
            (Some(values), _) => (values, true),
            (None, Some(values)) => (values, false),
            (None, None) => return None,
        };
        let config = is_plan.then_some(&document.configuration.root_module);
        let mut graph = Graph {
            scopes: vec![Scope { parent: None, key: Key::None, call: None, config }],
            instances: Vec::new(),
            is_plan,
            steps_left: Cell::new(0),
            document,
            doubtful: Vec::new(),
            by_name: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_other_id: BTreeMap::new(),
            by_kind: BTreeMap::new(),
            called: BTreeMap::new(),
        };
        graph.read(&values.root_module, 0, false);
        // Data sources that were read before planning stand in the state before.
        let before = document.prior_state.as_ref().and_then(|s| s.values.as_ref());
        if let Some(before) = before.filter(|_| is_plan) {
            graph.read(&before.root_module, 0, true);
        }
        Some(graph)
    }

    /// Reads a module and those below; `data_only` takes no managed resource.
    fn read(&mut self, module: &'d Module, scope: usize, data_only: bool) {
        for resource in &module.resources {
            if !data_only || resource.mode == "data" {
                self.add(resource, scope);
            }
        }
        for child in &module.child_modules {
            let Some((name, key)) = calls(&child.address).and_then(|mut calls| calls.pop()) else {
                self.doubtful
                    .push((child.address.clone(), "its address cannot be read, so nothing in it is"));
                continue;
            };
            let below = self.scope(scope, name, key);
            self.read(child, below, data_only);
        }
    }

    /// The module instance of that name and key below `parent`, made when it is new.
    fn scope(&mut self, parent: usize, name: String, key: Key) -> usize {
        let known = self.called.get(&(parent, name.clone())).map(Vec::as_slice).unwrap_or_default();
        if let Some(same) = known.iter().find(|s| self.scopes[**s].key == key) {
            return *same;
        }
        let call = self.scopes[parent].config.and_then(|c| c.module_calls.get(&name));
        let config = call.map(|c| &c.module);
        self.scopes.push(Scope { parent: Some((parent, name.clone())), key, call, config });
        let at = self.scopes.len() - 1;
        self.called.entry((parent, name)).or_default().push(at);
        at
    }

    fn add(&mut self, resource: &'d Resource, scope: usize) {
        let data = resource.mode == "data";
        let (kind, name) = (resource.kind.as_str(), resource.name.as_str());
        let key = Key::of(resource.index.as_ref());
        let known = self.by_name.get(&(scope, data, kind, name)).map(Vec::as_slice).unwrap_or_default();
        if known.iter().any(|at| self.instances[*at].key == key) {
            self.doubtful.push((resource.address.clone(), "it comes twice; the first one is kept"));
            return;
        }
        let wanted = if data { "data" } else { "managed" };
        let config = self.scopes[scope].config.and_then(|c| {
            c.resources
                .iter()
                .find(|r| r.kind == kind && r.name == name && (r.mode == wanted || r.mode.is_empty()))
        });
        let values = resource.values.as_ref().unwrap_or(&NOTHING);
        let at = self.instances.len();
        if let Some(Value::String(id)) = values.get("id") {
            self.by_id.entry(id).or_default().push(at);
        }
        if let Some((rank, (_, attributes))) =
            OTHER_IDS.iter().enumerate().find(|(_, (of, _))| *of == kind && !data)
        {
            for attribute in *attributes {
                if let Some(Value::String(id)) = values.get(*attribute) {
                    self.by_other_id.entry(id).or_default().push((rank, at, *attribute));
                }
            }
        }
        self.by_name.entry((scope, data, kind, name)).or_default().push(at);
        self.by_kind.entry(kind).or_default().push(at);
        self.instances.push(Instance {
            address: &resource.address,
            scope,
            kind,
            name,
            key,
            values,
            config,
            data,
        });
    }

    /// The instances of a resource block in one module instance.
    pub(super) fn named(&self, scope: usize, data: bool, kind: &str, name: &str) -> Vec<At> {
        self.by_name.get(&(scope, data, kind, name)).cloned().unwrap_or_default()
    }

    /// The instances with that id.
    pub(super) fn with_id(&self, id: &str) -> &[At] {
        self.by_id.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// The instance of one of `kinds` that another of its attributes names, with that attribute.
    pub(super) fn with_other_id(&self, id: &str, kinds: &[&str]) -> Option<(At, &'static str)> {
        let all = self.by_other_id.get(id)?.iter().filter(|(rank, ..)| kinds.contains(&OTHER_IDS[*rank].0));
        all.min_by_key(|(rank, at, _)| (*rank, *at)).map(|(_, at, attribute)| (*at, *attribute))
    }

    /// The instances of a module call.
    pub(super) fn modules(&self, scope: usize, call: &str) -> &[usize] {
        self.called.get(&(scope, call.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }

    /// All managed instances of a type, in the order of the document.
    pub(super) fn of(&self, kind: &str) -> Vec<At> {
        let all = self.by_kind.get(kind).map(Vec::as_slice).unwrap_or_default();
        all.iter().copied().filter(|at| !self.instances[*at].data).collect()
    }
}
