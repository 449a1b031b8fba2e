//! From an attribute to the resources that it means.
//!
//! A known id is looked up. An id that is "known after apply" is followed through what the configuration says: the
//! references of the expression, through module inputs and outputs, `each` and `count`. The JSON holds no expressions,
//! only what they refer to, and no locals: where that leaves several answers the caller is told so, and nothing is
//! guessed; where a local leaves only one resource of the type in the module, that one is taken and said to be assumed.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::address::{Key, Part, Reference, heads};
use super::graph::{At, Graph};

/// References are followed through so many modules, variables and outputs.
const DEEPEST: u32 = 40;
/// So many references of one expression are looked at.
const WIDEST: usize = 1_000;
/// So many expressions are looked at for one attribute. Modules that pass things round in circles end here.
const LONGEST: u32 = 20_000;

/// Kinds of which a module usually has one, so that a local can be taken for it.
const SINGLE: &[&str] = &["aws_vpc", "aws_default_vpc", "aws_internet_gateway", "aws_ec2_transit_gateway"];

/// What an attribute means.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Meaning {
    /// The resources, each with the attribute of it that is meant.
    pub(super) found: Vec<(At, String)>,
    /// Resources of which this is some, and nothing says which.
    pub(super) unclear: Vec<At>,
    /// Known text that is no resource here: an id from outside, an address.
    pub(super) texts: Vec<String>,
    /// The same, to be found.
    said: BTreeSet<String>,
    /// What was taken for granted on the way.
    pub(super) assumed: Option<String>,
    /// Whether anything was written at all.
    pub(super) written: bool,
}

/// Where an expression is evaluated: the module instance, and the key of the thing that it belongs to.
#[derive(Clone, Copy)]
struct Place<'a, 'd> {
    scope: usize,
    key: &'a Key,
    for_each: Option<&'d Value>,
    depth: u32,
}

impl<'d> Graph<'d> {
    /// What an attribute of an instance means, as far as it means one of `kinds`.
    pub(super) fn meaning(&self, at: At, attribute: &str, kinds: &[&str]) -> Meaning {
        let instance = &self.instances[at];
        let mut out = Meaning::default();
        self.known(instance.values.get(attribute), kinds, &mut out);
        let whole = !matches!(instance.values.get(attribute), None | Some(Value::Null))
            && !holds_unknown(instance.values.get(attribute));
        if whole || !self.is_plan {
            return out;
        }
        let expression = instance.config.and_then(|c| c.expressions.get(attribute));
        self.expressed(at, expression, kinds, &mut out);
        out
    }

    /// What an attribute of an item in a list of blocks means: `gateway_id` of a `route`. An item that lacks the attribute
    /// does not know it yet; then the configuration has either a block for each item, or one list of references for all.
    pub(super) fn meaning_in(
        &self,
        at: At,
        (block, item): (&str, &Map<String, Value>),
        attribute: &str,
        kinds: &[&str],
    ) -> Meaning {
        let mut out = Meaning::default();
        if let Some(value) = item.get(attribute) {
            self.known(Some(value), kinds, &mut out);
            if !holds_unknown(Some(value)) {
                return out;
            }
        }
        let expression = self.instances[at].config.and_then(|c| c.expressions.get(block));
        match expression {
            Some(Value::Array(blocks)) => {
                let fits =
                    |b: &&Value| b.as_object().is_some_and(|b| b.iter().all(|(k, v)| agrees(item, k, v)));
                for one in blocks.iter().filter(fits).take(WIDEST) {
                    self.expressed(at, one.get(attribute), kinds, &mut out);
                }
            }
            _ => {
                self.expressed(at, expression, kinds, &mut out);
                let items = self.instances[at].values.get(block).and_then(Value::as_array);
                let open = items.into_iter().flatten().filter(|i| i.get(attribute).is_none()).count();
                if open > 1 && out.found.len() > 1 {
                    out.unclear = out.found.drain(..).map(|(at, _)| at).collect();
                }
            }
        }
        out
    }

    /// What an expression in the block of an instance means.
    pub(super) fn expressed(&self, at: At, expression: Option<&'d Value>, kinds: &[&str], out: &mut Meaning) {
        let instance = &self.instances[at];
        let for_each = instance.config.and_then(|c| c.for_each_expression.as_ref());
        let place = Place { scope: instance.scope, key: &instance.key, for_each, depth: 0 };
        self.steps_left.set(LONGEST);
        if let Some(expression) = expression {
            self.follow(place, expression, kinds, out);
        }
    }

    /// Adds what a known value means: ids are looked up.
    fn known(&self, value: Option<&Value>, kinds: &[&str], out: &mut Meaning) {
        match value {
            Some(Value::String(text)) if !text.is_empty() => {
                out.written = true;
                let mine: Vec<At> = self
                    .with_id(text)
                    .iter()
                    .copied()
                    .filter(|at| kinds.contains(&self.instances[*at].kind))
                    .collect();
                match mine.first() {
                    Some(at) => push(&mut out.found, (*at, "id".to_owned())),
                    None => match self.with_other_id(text, kinds) {
                        Some((at, attribute)) => push(&mut out.found, (at, attribute.to_owned())),
                        None => out.say(text),
                    },
                }
            }
            Some(Value::Array(items)) => {
                out.written |= !items.is_empty();
                items.iter().for_each(|item| self.known(Some(item), kinds, out));
            }
            _ => {}
        }
    }

    /// Follows an expression: `{ "constant_value": ... }` or `{ "references": [...] }`, or blocks of these.
    fn follow(&self, place: Place<'_, 'd>, expression: &'d Value, kinds: &[&str], out: &mut Meaning) {
        if place.depth > DEEPEST || self.steps_left.get() == 0 {
            return;
        }
        self.steps_left.set(self.steps_left.get() - 1);
        match expression {
            Value::Array(blocks) => {
                blocks.iter().take(WIDEST).for_each(|b| self.follow(place, b, kinds, out))
            }
            Value::Object(map) => match (map.get("constant_value"), map.get("references")) {
                (Some(constant), _) => self.known(Some(constant), kinds, out),
                (None, Some(Value::Array(list))) => self.follow_all(place, list, kinds, out),
                // A block: its attributes are expressions in turn.
                (None, _) => map.values().filter(|v| v.is_object() || v.is_array()).for_each(|inner| {
                    self.follow(Place { depth: place.depth + 1, ..place }, inner, kinds, out);
                }),
            },
            _ => {}
        }
    }

    fn follow_all(&self, place: Place<'_, 'd>, list: &'d [Value], kinds: &[&str], out: &mut Meaning) {
        out.written = true;
        let texts: Vec<&str> = list.iter().take(WIDEST).filter_map(Value::as_str).collect();
        let refs: Vec<Reference> = heads(&texts).into_iter().filter_map(Reference::parse).collect();
        let keys = self.keys_of(place, &refs);
        // `var.groups[each.value.name]` names `each.value` as well, and a local beside a resource only chooses: these two
        // mean something themselves only where nothing else does.
        let rank = |reference: &&Reference| match reference {
            Reference::EachValue(_) => 1,
            Reference::Local(_) => 2,
            _ => 0,
        };
        for step in 0..3 {
            let before = (out.found.len(), out.texts.len());
            for reference in refs.iter().filter(|r| rank(r) == step) {
                self.follow_one(place, reference, &keys, kinds, out);
            }
            if (out.found.len(), out.texts.len()) != before {
                return;
            }
        }
    }

    /// The keys that references beside a resource choose an instance by: `count.index`, `each.key`, a constant.
    fn keys_of(&self, place: Place<'_, 'd>, refs: &[Reference]) -> Vec<Key> {
        let mut keys = Vec::new();
        for reference in refs {
            match reference {
                Reference::CountIndex | Reference::EachKey => keys.push(place.key.clone()),
                Reference::EachValue(path) => {
                    keys.extend(self.each_value(place, path).as_ref().and_then(as_key));
                    keys.push(place.key.clone());
                }
                Reference::Variable(name, path) => {
                    let value = self.variable(place.scope, name, place.depth);
                    keys.extend(value.and_then(|v| walk(&v, path)).as_ref().and_then(as_key));
                }
                _ => {}
            }
        }
        keys
    }

    fn follow_one(
        &self,
        place: Place<'_, 'd>,
        reference: &Reference,
        keys: &[Key],
        kinds: &[&str],
        out: &mut Meaning,
    ) {
        match reference {
            Reference::Resource { data, kind, name, key, attribute, path } => {
                let mut all = self.named(place.scope, *data, kind, name);
                self.narrow(&mut all, key, path, keys);
                for at in all {
                    self.land(place, (at, attribute.as_deref().unwrap_or("id")), kinds, out);
                }
            }
            Reference::Variable(name, path) => self.follow_variable(place, name, (path, keys), kinds, out),
            Reference::EachValue(path) => self.follow_each(place, path, kinds, out),
            Reference::Module { call, key, output, path } => {
                let mut scopes = self.modules(place.scope, call).to_vec();
                let wanted: Vec<&Key> = if *key == Key::None { keys.iter().collect() } else { vec![key] };
                if let Some(one) =
                    wanted.iter().find_map(|k| scopes.iter().find(|s| self.scopes[**s].key == **k))
                {
                    scopes = vec![*one];
                }
                for scope in scopes {
                    self.follow_output(place, (scope, output.as_deref(), path, keys), kinds, out);
                }
            }
            Reference::Local(name) => self.guess(place, name, kinds, out),
            Reference::EachKey | Reference::CountIndex | Reference::Other => {}
        }
    }

    /// Keeps the one instance that a key names; all of them when none does.
    fn narrow(&self, all: &mut Vec<At>, written: &Key, path: &[Part], keys: &[Key]) {
        if *written != Key::None {
            all.retain(|at| self.instances[*at].key == *written);
            return;
        }
        if all.len() < 2 {
            return;
        }
        let behind = path.iter().find_map(|p| match p {
            Part::Index(key) => Some(key),
            Part::Name(_) => None,
        });
        for key in keys.iter().chain(behind) {
            if let Some(one) = all.iter().copied().find(|at| self.instances[*at].key == *key) {
                *all = vec![one];
                return;
            }
        }
        // `element(aws_subnet.public[*].id, count.index)` wraps around.
        if let Some(Key::Number(n)) = keys.iter().find(|k| matches!(k, Key::Number(_))) {
            let counted = all.iter().all(|at| matches!(self.instances[*at].key, Key::Number(_)));
            if let (true, Ok(n)) = (counted, usize::try_from(*n)) {
                *all = vec![all[n % all.len()]];
            }
        }
    }

    /// A resource was reached: it is one of `kinds`, or the attribute of it leads on.
    fn land(&self, place: Place<'_, 'd>, (at, attribute): (At, &str), kinds: &[&str], out: &mut Meaning) {
        let instance = &self.instances[at];
        if kinds.contains(&instance.kind) {
            push(&mut out.found, (at, attribute.to_owned()));
            return;
        }
        if place.depth >= DEEPEST {
            return;
        }
        self.known(instance.values.get(attribute), kinds, out);
        let for_each = instance.config.and_then(|c| c.for_each_expression.as_ref());
        let next = Place { scope: instance.scope, key: &instance.key, for_each, depth: place.depth + 1 };
        if let Some(expression) = instance.config.and_then(|c| c.expressions.get(attribute)) {
            self.follow(next, expression, kinds, out);
        }
    }

    /// `var.NAME`: what the caller of the module passed.
    fn follow_variable(
        &self,
        place: Place<'_, 'd>,
        name: &str,
        (path, keys): (&[Part], &[Key]),
        kinds: &[&str],
        out: &mut Meaning,
    ) {
        let scope = &self.scopes[place.scope];
        let Some((parent, _)) = &scope.parent else {
            let value = self.variable(place.scope, name, place.depth).and_then(|v| walk(&v, path));
            self.known(value.as_ref(), kinds, out);
            return;
        };
        let Some(call) = scope.call else { return };
        let Some(expression) = call.expressions.get(name) else { return };
        let next = Place {
            scope: *parent,
            key: &scope.key,
            for_each: call.for_each_expression.as_ref(),
            depth: place.depth + 1,
        };
        let mut passed = Meaning::default();
        self.follow(next, expression, kinds, &mut passed);
        self.pick(&mut passed, path, keys);
        out.join(passed);
    }

    /// `module.NAME.OUTPUT`, seen from inside the module.
    fn follow_output(
        &self,
        place: Place<'_, 'd>,
        (scope, output, path, keys): (usize, Option<&str>, &[Part], &[Key]),
        kinds: &[&str],
        out: &mut Meaning,
    ) {
        let Some(config) = self.scopes[scope].config else { return };
        let next = Place { scope, key: &self.scopes[scope].key, for_each: None, depth: place.depth + 1 };
        let outputs = config.outputs.iter().filter(|(name, _)| output.is_none_or(|wanted| wanted == *name));
        for (_, one) in outputs {
            let mut inner = Meaning::default();
            self.follow(next, &one.expression, kinds, &mut inner);
            self.pick(&mut inner, path, keys);
            out.join(inner);
        }
    }

    /// `each.value` of a `for_each` over resources: the one with the same key, or whatever it refers to.
    fn follow_each(&self, place: Place<'_, 'd>, path: &[Part], kinds: &[&str], out: &mut Meaning) {
        let Some(for_each) = place.for_each else { return };
        if let Some(value) = self.each_value(place, path) {
            return self.known(Some(&value), kinds, out);
        }
        let mut inner = Meaning::default();
        let next = Place { for_each: None, depth: place.depth + 1, ..place };
        self.follow(next, for_each, kinds, &mut inner);
        self.pick(&mut inner, path, std::slice::from_ref(place.key));
        out.join(inner);
    }

    /// Of several resources the one whose key is asked for: `module.net.subnet_ids["a"]`, `var.subnets[0]`.
    fn pick(&self, meaning: &mut Meaning, path: &[Part], keys: &[Key]) {
        if meaning.found.len() < 2 {
            return;
        }
        let behind = path.iter().find_map(|p| match p {
            Part::Index(key) => Some(key.clone()),
            Part::Name(_) => None,
        });
        let asked = behind.iter().chain(keys);
        for key in asked {
            if let Some(one) = meaning.found.iter().find(|(at, _)| self.instances[*at].key == *key).cloned() {
                meaning.found = vec![one];
                return;
            }
            if let Key::Number(n) = key
                && let Some(one) = usize::try_from(*n).ok().and_then(|n| meaning.found.get(n)).cloned()
            {
                meaning.found = vec![one];
                return;
            }
        }
    }

    /// A local is not in the JSON; when the module has just one VPC, a local that is a VPC can mean no other.
    fn guess(&self, place: Place<'_, 'd>, name: &str, kinds: &[&str], out: &mut Meaning) {
        if !kinds.iter().all(|kind| SINGLE.contains(kind)) {
            return;
        }
        let all = kinds.iter().flat_map(|kind| self.of(kind));
        let mine: Vec<At> = all.filter(|at| self.instances[*at].scope == place.scope).collect();
        if let [one] = mine[..] {
            push(&mut out.found, (one, "id".to_owned()));
            let address = self.instances[one].address;
            out.assumed = Some(format!(
                "`local.{name}` is taken for {address}, the only one of its type in the module"
            ));
        }
    }

    /// The value of a variable, as far as it is constant.
    fn variable(&self, scope: usize, name: &str, depth: u32) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        let here = &self.scopes[scope];
        let default = || {
            let declared = here.config?.variables.get(name)?;
            (!declared.default.is_null()).then(|| declared.default.clone())
        };
        let Some((parent, _)) = &here.parent else {
            return self.document.variables.get(name).map(|v| v.value.clone()).or_else(default);
        };
        let Some(expression) = here.call.and_then(|c| c.expressions.get(name)) else { return default() };
        self.constant(*parent, expression, depth + 1)
    }

    /// What an expression is worth when it is a constant, or nothing but a variable that is one.
    fn constant(&self, scope: usize, expression: &Value, depth: u32) -> Option<Value> {
        if let Some(constant) = expression.get("constant_value") {
            return Some(constant.clone());
        }
        let list = expression.get("references")?.as_array()?;
        let texts: Vec<&str> = list.iter().take(WIDEST).filter_map(Value::as_str).collect();
        match heads(&texts)[..] {
            [one] => match Reference::parse(one)? {
                Reference::Variable(name, path) => walk(&self.variable(scope, &name, depth)?, &path),
                _ => None,
            },
            _ => None,
        }
    }

    /// `each.value` and a path behind it, when `for_each` is over a constant map.
    fn each_value(&self, place: Place<'_, 'd>, path: &[Part]) -> Option<Value> {
        let all = self.constant(place.scope, place.for_each?, place.depth)?;
        let Key::Text(key) = place.key else { return None };
        match all {
            Value::Object(map) => walk(map.get(key)?, path),
            // A set of texts: value and key are the same.
            Value::Array(items) => items.into_iter().find(|i| i.as_str() == Some(key)),
            _ => None,
        }
    }

    /// The region of the AWS provider, when it is known.
    pub(super) fn region(&self) -> Option<String> {
        let mut providers = self.document.configuration.provider_config.values().filter(|p| p.name == "aws");
        let written = providers.find_map(|p| self.constant(0, p.expressions.get("region")?, 0));
        written.and_then(|v| v.as_str().map(str::to_owned))
    }
}

impl Meaning {
    /// Adds a known text, once.
    fn say(&mut self, text: &str) {
        if self.said.insert(text.to_owned()) {
            self.texts.push(text.to_owned());
        }
    }

    fn join(&mut self, other: Meaning) {
        other.found.into_iter().for_each(|one| push(&mut self.found, one));
        other.texts.iter().for_each(|one| self.say(one));
        self.written |= other.written;
        if self.assumed.is_none() {
            self.assumed = other.assumed;
        }
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

/// Whether a constant of a block is what the item has.
fn agrees(item: &Map<String, Value>, key: &str, expression: &Value) -> bool {
    match (expression.get("constant_value"), item.get(key)) {
        (Some(wanted), Some(found)) => {
            wanted == found || as_key(wanted) == as_key(found) && as_key(wanted).is_some()
        }
        _ => true,
    }
}

/// Whether a list holds something that is known only after apply.
fn holds_unknown(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Array(items)) if items.iter().any(Value::is_null))
}

fn as_key(value: &Value) -> Option<Key> {
    match value {
        Value::String(text) => Some(Key::Text(text.clone())),
        Value::Number(n) => n.as_u64().map(Key::Number),
        _ => None,
    }
}

/// What stands at a path in a value.
fn walk(value: &Value, path: &[Part]) -> Option<Value> {
    let mut at = value;
    for part in path {
        at = match part {
            Part::Name(name) | Part::Index(Key::Text(name)) => at.get(name)?,
            Part::Index(Key::Number(n)) => at.get(usize::try_from(*n).ok()?)?,
            Part::Index(Key::None) => return None,
        };
    }
    Some(at.clone())
}
