//! What a real program finds on the machine that it plays: the addresses, routes and resolvers that the machine has, its
//! names, and the certificate authority that everybody in the simulated internet trusts.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::IpNet;
use rt_attach::{DeviceChoice, GuestFile, GuestInterface, GuestRoute, GuestUser, Plan};
use rt_base::{NodeId, PortId};
use rt_rules::{Route, RouteKind};
use rt_scenario::Model;
use rt_scenario::model::NodeKind;

use crate::{Refusal, World};

/// How programs are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AttachOptions {
    /// Which kind of device connects them.
    pub device: DeviceChoice,
    /// Whether they are root inside.
    pub root: bool,
}

/// A guest to be, and which of the machine's ports its interfaces are.
pub(crate) struct GuestPlan {
    pub(crate) plan: Plan,
    pub(crate) ports: Vec<PortId>,
}

/// Plans the guest for `node`, which has its addresses and has not been given away.
pub(crate) fn plan(
    world: &mut World,
    node: NodeId,
    command: Vec<OsString>,
    options: AttachOptions,
) -> Result<GuestPlan, Refusal> {
    let model = world.model().clone();
    let machine = &model.nodes[node.index()];
    let short = machine.name.rsplit('.').next().unwrap_or(&machine.name).to_owned();
    let (stack, resolvers) = learnt(world, node, machine.interfaces.len());
    let mut plan = Plan::new(short.clone(), command);
    let mut ports = Vec::new();
    for (index, interface) in machine.interfaces.iter().enumerate() {
        let port = PortId(u16::try_from(index).unwrap_or(u16::MAX));
        let linked = model.links.iter().any(|l| l.a == (node, port) || l.b == (node, port));
        if !linked {
            continue;
        }
        ports.push(port);
        plan.interfaces.push(GuestInterface {
            name: interface_name(&interface.name, index),
            mac: interface.mac.0,
            mtu: u32::from(interface.mtu),
            addresses: stack.addresses[index].clone(),
        });
    }
    let of_port = |port: PortId| ports.iter().position(|p| *p == port);
    plan.routes = stack.routes.iter().filter_map(|r| route(r, of_port(r.out)?)).collect();
    let own = stack.addresses.iter().flatten().next().map(|(address, _)| *address);
    plan.files = files(&model, node, &short, own, &resolvers);
    plan.user = if options.root { GuestUser::Root } else { GuestUser::Caller };
    plan.device = options.device;
    plan.offload = true;
    plan.certificate = world.certificates_of(&model.nodes[node.index()]);
    Ok(GuestPlan { plan, ports })
}

/// ENOENT: in the words of a shell, "No such file or directory".
const NO_ENTRY: i32 = 2;

/// Whether a command can be found, as far as that is to be told beforehand: before a mistyped one costs the last run.
pub(crate) fn is_there(command: &[OsString]) -> Result<(), Refusal> {
    let Some(program) = command.first() else { return Ok(()) };
    let path = Path::new(program);
    let found = if path.components().count() > 1 {
        path.exists()
    } else {
        let paths = std::env::var_os("PATH");
        paths.is_none_or(|all| std::env::split_paths(&all).any(|folder| folder.join(path).exists()))
    };
    if found {
        return Ok(());
    }
    let (program, error) =
        (program.to_string_lossy().into_owned(), std::io::Error::from_raw_os_error(NO_ENTRY));
    Err(Refusal::Attach(rt_attach::AttachError::Command { program, error }))
}

/// The machine that `name` means.
pub(crate) fn known(model: &Model, name: &str) -> Result<NodeId, Refusal> {
    crate::facts::node_named(model, name).ok_or_else(|| {
        let known: Vec<&str> = model.nodes.iter().map(|n| n.name.as_str()).collect();
        Refusal::unknown("machine", name, &known)
    })
}

/// The machine that `name` means, if a program can play it.
pub(crate) fn playable(model: &Model, name: &str) -> Result<NodeId, Refusal> {
    let is_host = |n: &&rt_scenario::model::Node| n.kind == NodeKind::Host;
    let Some(node) = crate::facts::node_named(model, name) else {
        let known: Vec<&str> = model.nodes.iter().filter(is_host).map(|n| n.name.as_str()).collect();
        return Err(Refusal::unknown("machine", name, &known));
    };
    if !is_host(&&model.nodes[node.index()]) {
        let why = format!("a real program can play a host; {name} passes other machines' packets on");
        return Err(Refusal::Misuse { why });
    }
    Ok(node)
}

/// What a machine has learnt or was told.
struct Learnt {
    /// By interface.
    addresses: Vec<Vec<(Ipv4Addr, u8)>>,
    routes: Vec<Route>,
}

fn learnt(world: &mut World, node: NodeId, interfaces: usize) -> (Learnt, Vec<IpAddr>) {
    let mut known = Learnt { addresses: vec![Vec::new(); interfaces], routes: Vec::new() };
    let Some(host) = world.host(node) else { return (known, Vec::new()) };
    host.with_stack(|stack| {
        for (index, addresses) in known.addresses.iter_mut().enumerate() {
            let port = PortId(u16::try_from(index).unwrap_or(u16::MAX));
            *addresses = stack.addresses_of(port).iter().filter_map(v4).collect();
        }
        known.routes = stack.live_routes().cloned().collect();
    });
    let resolvers = host.runtime().map(|r| r.net().resolvers()).unwrap_or_default();
    (known, resolvers)
}

fn v4(net: &IpNet) -> Option<(Ipv4Addr, u8)> {
    match net {
        IpNet::V4(net) => Some((net.addr(), net.prefix_len())),
        IpNet::V6(_) => None,
    }
}

/// A route as the kernel takes it; those of the addresses themselves it makes on its own.
fn route(route: &Route, interface: usize) -> Option<GuestRoute> {
    if route.kind != RouteKind::Unicast {
        return None;
    }
    let via = match route.via {
        Some(IpAddr::V4(via)) => Some(via),
        Some(IpAddr::V6(_)) => return None,
        None => None,
    };
    let (to, length) = v4(&route.prefix.trunc())?;
    let to = (length > 0).then_some((to, length));
    (via.is_some() || to.is_none()).then_some(GuestRoute { to, via, interface })
}

/// The interface's own name where Linux takes it.
pub(crate) fn interface_name(name: &str, index: usize) -> String {
    let fits = (1..=15).contains(&name.len())
        && name != "lo"
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && name.chars().any(|c| c != '.');
    if fits { name.to_owned() } else { format!("eth{index}") }
}

fn files(
    model: &Model,
    node: NodeId,
    short: &str,
    own: Option<Ipv4Addr>,
    resolvers: &[IpAddr],
) -> Vec<GuestFile> {
    let machine = &model.nodes[node.index()];
    let mut resolv = format!("# the resolvers of {} in {}\n", machine.name, model.name);
    for address in resolvers {
        resolv.push_str(&format!("nameserver {address}\n"));
    }
    let mut hosts = format!("127.0.0.1 localhost\n{} {short}\n", own.unwrap_or(Ipv4Addr::new(127, 0, 1, 1)));
    for (name, address) in &machine.resolver.hosts {
        hosts.push_str(&format!("{address} {name}\n"));
    }
    let file = |path: &str, content: String| GuestFile { path: path.into(), content: content.into_bytes() };
    vec![file("/etc/resolv.conf", resolv), file("/etc/hosts", hosts)]
}
