//! From text to model: read, check the shape, expand, fill in, check the whole.

use crate::check;
use crate::diag::{Code, Diagnostic, Problems, Severity, Source};
use crate::language;
use crate::model::{Link, Model, Node};
use crate::plain;
use crate::routing;
use crate::shape;
use crate::sites;
use crate::tree::{self, Value};
use crate::units;
use crate::world::{CertDraft, World};

/// Civil time at the start of a run when none is written: 2026-01-15T12:00:00Z.
pub const DEFAULT_EPOCH: u64 = 1_768_478_400;

/// More steps, expectations or zones than this are refused.
const MOST_ENTRIES: usize = 1_000;

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// What probably does not mean what it says.
    pub warnings: Vec<Diagnostic>,
}

/// Gives the files of page folders to [`load_with`], which touches no file itself.
pub trait PageFolders {
    /// The files below `folder` (as written, relative to the scenario): paths beginning with a slash, and bytes.
    ///
    /// # Errors
    /// A few words on why it cannot be read.
    fn read(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String>;
}

/// No folders: scenarios that name one are refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFolders;

impl PageFolders for NoFolders {
    fn read(&self, _folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        Err("there are no folders here".to_owned())
    }
}

/// Reads a scenario that names no page folders. `file_name` appears in diagnostics and origins.
///
/// # Errors
/// All problems, in the order of the file; at least one is an error.
pub fn load(file_name: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(file_name, text, &NoFolders)
}

/// Reads a scenario; page folders come from `folders`.
///
/// # Errors
/// All problems, in the order of the file; at least one is an error.
pub fn load_with(file_name: &str, text: &str, folders: &dyn PageFolders) -> Result<Loaded, Vec<Diagnostic>> {
    let source = Source::new(file_name, text);
    let mut problems = Problems::new(&source);
    let model = tree::read(&mut problems).and_then(|root| build(&mut problems, folders, &root));
    let problems = problems.finish();
    match model {
        Some(model) if problems.iter().all(|p| p.severity == Severity::Warning) => {
            Ok(Loaded { model, warnings: problems })
        }
        _ => Err(problems),
    }
}

/// YAML text as JSON, for tools that check it against [`crate::schema()`]. The same limits hold as for [`load()`].
///
/// # Errors
/// What keeps the text from being YAML.
pub fn yaml_as_json(text: &str) -> Result<serde_json::Value, Vec<Diagnostic>> {
    let source = Source::new("-", text);
    let mut problems = Problems::new(&source);
    match tree::read(&mut problems) {
        Some(root) if !problems.has(&[]) => Ok(crate::steps::to_json(&root)),
        _ => Err(problems.finish()),
    }
}

fn build(problems: &mut Problems<'_>, folders: &dyn PageFolders, root: &Value) -> Option<Model> {
    shape::check(problems, root, &shape::Ty::Object(&language::SCENARIO));
    check_name(problems, root);
    check_counts(problems, root);
    if problems.has(&[Code::TooLarge]) {
        return None;
    }
    let epoch = root.str_at("epoch").and_then(|t| units::instant(t).ok()).unwrap_or(DEFAULT_EPOCH);
    let mut world = World::new(problems, folders, epoch);
    read_certificates(&mut world, root);
    if let Some(sites) = root.get("sites") {
        sites::expand(&mut world, sites);
    }
    let served = root.get("topology").map(|t| plain::expand(&mut world, t)).unwrap_or_default();
    if world.problems.has(&[Code::TooLarge, Code::NoAddressLeft]) {
        return None;
    }
    if let Some(names) = root.get("names") {
        read_hosts(&mut world, names);
        world.read_zones(names);
    }
    world.join_zones(&served);
    let segments = routing::segments(&world);
    check::before_routes(&mut world, &segments);
    routing::fill(&mut world, &segments);
    if world.problems.has(&[Code::TooLarge]) {
        return None;
    }
    world.fill_groups(root.get("groups"));
    let steps = world.read_steps(root.get("steps"));
    let expect = world.read_expect(root.get("expect"), steps.len());
    let timeline = world.read_timeline(root.get("timeline"));
    check::steps(&mut world, &segments, &steps, &expect);
    pin_server_numbers(&mut world, &steps);
    for draft in &mut world.nodes {
        draft.node.chains.sort_by_key(|c| match c.hook {
            rt_base::HookPoint::Input => 0,
            rt_base::HookPoint::Output => 1,
            rt_base::HookPoint::Forward => 2,
            rt_base::HookPoint::Prerouting => 3,
            rt_base::HookPoint::Postrouting => 4,
        });
    }
    let text = |key: &str| root.str_at(key).unwrap_or("").to_owned();
    Some(Model {
        name: text("name"),
        about: text("about"),
        file: world.problems.source.file.to_owned(),
        epoch,
        links: links(&world),
        zones: world.zones.iter().map(|z| z.zone.clone()).collect(),
        certificates: world.certificates.iter().map(|c| c.certificate.clone()).collect(),
        steps: steps.into_iter().flatten().map(|d| d.step).collect(),
        expect,
        timeline,
        nodes: world.nodes.into_iter().map(|d| d.node).collect::<Vec<Node>>(),
    })
}

fn check_name(problems: &mut Problems<'_>, root: &Value) {
    let Some(name) = root.get("name") else { return };
    if name.text().is_some_and(|t| t.contains("..")) {
        problems.add(Code::BadName, name.span, "a scenario's name is also a folder's", "not a name");
    }
}

/// Lists of which every entry is compared with much else.
fn check_counts(problems: &mut Problems<'_>, root: &Value) {
    let zones = root.get("names").and_then(|n| n.get("zones"));
    for (what, list) in [("steps", root.get("steps")), ("expectations", root.get("expect")), ("zones", zones)]
    {
        let Some(list) = list else { continue };
        let count = list.items().len().max(list.entries().len());
        if count > MOST_ENTRIES {
            let message = format!("there are {count} {what}, more than {MOST_ENTRIES}");
            problems.add(Code::TooLarge, shape::head(list), message, "too many").help("split the scenario");
        }
    }
}

fn read_certificates(world: &mut World<'_, '_>, root: &Value) {
    let list = root.get("names").and_then(|n| n.get("certificates"));
    for (name, value) in list.map(Value::entries).unwrap_or_default() {
        let mut certificate = world.plain_certificate(Vec::new());
        world.read_certificate_keys(&mut certificate, value);
        world.certificates.push(CertDraft { name: name.text.clone(), certificate });
    }
}

/// `names: hosts:` goes into every machine's hosts file.
fn read_hosts(world: &mut World<'_, '_>, names: &Value) {
    for (name, value) in names.get("hosts").map(Value::entries).unwrap_or_default() {
        let Some(address) = value.address() else { continue };
        for draft in world.nodes.iter_mut().filter(|d| d.node.kind != crate::model::NodeKind::Switch) {
            let name = name.text.to_lowercase();
            let hosts = &mut draft.node.resolver.hosts;
            if hosts.iter().all(|(n, _)| *n != name) {
                hosts.push((name, address));
            }
        }
    }
}

fn links(world: &World<'_, '_>) -> Vec<Link> {
    let link = |l: &crate::world::LinkDraft| Link {
        a: l.a,
        b: l.b,
        ab: l.wire.ab.clone(),
        ba: l.wire.ba.clone(),
        mtu: l.wire.mtu,
        origin: l.origin.clone(),
    };
    world.links.iter().map(link).collect()
}

/// `isn: { server: 300 }` goes to every machine that bears the target's address.
fn pin_server_numbers(world: &mut World<'_, '_>, steps: &[Option<crate::steps::StepDraft>]) {
    for draft in steps.iter().flatten() {
        let Some(isn) = draft.server_isn else { continue };
        let targets = check::addresses(world, draft);
        for node in &mut world.nodes {
            let bears =
                node.node.interfaces.iter().flat_map(|i| &i.addresses).any(|n| targets.contains(&n.addr()));
            if bears && !node.node.apps.is_empty() {
                node.node.stack.listen_isns.push(isn);
            }
        }
    }
}
