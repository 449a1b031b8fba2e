//! From a plan to a script: what must be checked, and which steps make the machine that it describes.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use super::files;
use super::identity::Identity;
use super::init::Setup;
use super::netlink::{self, Link};
use super::script::{Action, MAX_DEVICES, Program, Script, Step};
use super::sys::Strings;
use crate::{AttachError, DeviceKind, GuestInterface, GuestStdio, Plan};

/// The index of a guest's first interface: high enough for whatever the kernel puts into each new namespace by itself.
const FIRST_INDEX: u32 = 100;
/// Packets that wait in a TAP; with the kernel's 1000, a burst would be lost in the attachment.
const QUEUE: u32 = 10_000;
/// The most that a TAP takes.
const LONGEST_MTU: u32 = 65_521;

/// Everything that the first process of a guest needs.
pub(super) fn setup(plan: &Plan, kind: DeviceKind, identity: Identity) -> Result<Setup, AttachError> {
    check(plan)?;
    let mut script = Script::default();
    network(&mut script, plan, kind)?;
    settings(&mut script, &identity);
    let name = plan.hostname.clone().into_bytes();
    script.must("set the host name", Step::Hostname { name });
    let environment = files::add(&mut script, plan, &identity)?;
    let program = (!plan.command.is_empty()).then(|| program(&plan.command, environment)).transpose()?;
    Ok(Setup { identity, script, program, streams: streams(&plan.stdio)? })
}

/// What the program's standard streams are to be: files that must stay open until it runs.
pub(super) fn streams(stdio: &[GuestStdio; 3]) -> Result<[Option<Arc<File>>; 3], AttachError> {
    let mut files = [None, None, None];
    for (file, stream) in files.iter_mut().zip(stdio) {
        *file = match stream {
            GuestStdio::Inherit => None,
            GuestStdio::Null => {
                let null = File::options().read(true).write(true).open("/dev/null");
                let what = || "open /dev/null".to_owned();
                Some(Arc::new(null.map_err(|error| AttachError::Step { what: what(), error })?))
            }
            GuestStdio::File(file) => Some(file.clone()),
        };
    }
    Ok(files)
}

/// A string for the kernel.
pub(super) fn c(text: impl AsRef<OsStr>) -> Result<CString, AttachError> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| misuse(format!("{:?} has a zero byte in it", text.as_ref())))
}

pub(super) fn misuse(what: String) -> AttachError {
    AttachError::Misuse { what }
}

fn check(plan: &Plan) -> Result<(), AttachError> {
    if plan.hostname.len() > 64 || plan.hostname.contains('\0') {
        return Err(misuse(format!("{:?} cannot be a host name: at most 64 bytes", plan.hostname)));
    }
    if plan.interfaces.len() > MAX_DEVICES {
        return Err(misuse(format!("{} interfaces: at most {MAX_DEVICES}", plan.interfaces.len())));
    }
    for (index, interface) in plan.interfaces.iter().enumerate() {
        check_interface(interface)?;
        if plan.interfaces[..index].iter().any(|other| other.name == interface.name) {
            return Err(misuse(format!("two interfaces are called `{}`", interface.name)));
        }
    }
    for route in &plan.routes {
        if route.interface >= plan.interfaces.len() {
            return Err(misuse(format!(
                "a route leaves by interface {}, which is not there",
                route.interface
            )));
        }
        if route.to.is_some_and(|(_, prefix)| prefix > 32) {
            return Err(misuse("a route's prefix is longer than 32 bits".to_owned()));
        }
    }
    Ok(())
}

fn check_interface(interface: &GuestInterface) -> Result<(), AttachError> {
    let name = &interface.name;
    let odd = |c: char| c == '/' || c == ':' || c == '%' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.len() > 15 || name.contains(odd) || name == "." || name == ".." || name == "lo"
    {
        return Err(misuse(format!("{name:?} cannot be the name of an interface")));
    }
    if !(68..=LONGEST_MTU).contains(&interface.mtu) {
        return Err(misuse(format!("{name}: an MTU of {}: 68 to {LONGEST_MTU} are possible", interface.mtu)));
    }
    if interface.mac[0] & 1 == 1 || interface.mac == [0; 6] {
        return Err(misuse(format!("{name}: its hardware address is not one of a single machine")));
    }
    if interface.addresses.iter().any(|(_, prefix)| *prefix > 32) {
        return Err(misuse(format!("{name}: a prefix is longer than 32 bits")));
    }
    Ok(())
}

fn network(script: &mut Script, plan: &Plan, kind: DeviceKind) -> Result<(), AttachError> {
    if kind == DeviceKind::Veth {
        script.must("make a second network namespace", Step::SplitNetwork);
    }
    // The simulated world is IPv4; a kernel without IPv6 needs no telling. `default` first: for interfaces yet to be made.
    for name in ["default", "all"] {
        let path = c(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"))?;
        let action = script.action("switch IPv6 off", Step::Write { path, bytes: b"1".to_vec() });
        let optional = !std::path::Path::new("/proc/sys/net/ipv6").exists();
        script.actions.push(Action { optional, ..action });
    }
    let lo = Link { index: 1, mac: None, mtu: None, queue: None, arp: true, name: "lo" };
    script.must("switch the loopback interface on", Step::Netlink(netlink::set_up(&lo)));
    for (index, interface) in (FIRST_INDEX..).zip(&plan.interfaces) {
        interface_steps(script, plan, interface, index, kind);
    }
    for route in &plan.routes {
        let interface = &plan.interfaces[route.interface];
        let index = FIRST_INDEX + u32::try_from(route.interface).expect("invariant: few interfaces");
        let reached = |via| interface.addresses.iter().any(|(own, prefix)| same_network(*own, via, *prefix));
        let onlink = route.via.is_some_and(|via| !reached(via));
        let message = netlink::add_route(index, route.to, route.via, onlink);
        let to = route.to.map_or("default".to_owned(), |(network, prefix)| format!("{network}/{prefix}"));
        script.must(format!("add the route to {to}"), Step::Netlink(message));
    }
    Ok(())
}

fn same_network(one: std::net::Ipv4Addr, other: std::net::Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    (u32::from(one) ^ u32::from(other)) & mask == 0
}

fn interface_steps(script: &mut Script, plan: &Plan, eth: &GuestInterface, index: u32, kind: DeviceKind) {
    let name = &eth.name;
    let queue = (kind == DeviceKind::Tap).then_some(QUEUE);
    let link = Link { index, mac: Some(eth.mac), mtu: Some(eth.mtu), queue, arp: true, name };
    let bytes = |name: &str| name.as_bytes().to_vec();
    match kind {
        DeviceKind::Tap => {
            let step = Step::Tap { name: bytes(name), index, offload: plan.offload };
            script.must(format!("make the TAP device {name}"), step);
        }
        DeviceKind::Veth => {
            let peer = format!("sim{}", index - FIRST_INDEX);
            let step = Step::Netlink(netlink::make_veth(&link, &peer));
            script.must(format!("make the veth pair {name}"), step);
            if !plan.offload {
                let step = Step::OffloadsOff { name: bytes(name) };
                script.must(format!("switch the offloads of {name} off"), step);
            }
            script.must("go to the outer end's namespace", Step::Cross { ours: true });
            for conf in ["default", "all"] {
                let path = CString::new(format!("/proc/sys/net/ipv6/conf/{conf}/disable_ipv6"))
                    .expect("invariant: no zero in it");
                script.may("switch IPv6 off outside", Step::Write { path, bytes: b"1".to_vec() });
            }
            if !plan.offload {
                script.must(
                    format!("switch the offloads of {peer} off"),
                    Step::OffloadsOff { name: bytes(&peer) },
                );
            }
            let outer = Link { index, mac: None, mtu: None, queue: None, arp: false, name: &peer };
            script.must(format!("switch {peer} on"), Step::Netlink(netlink::set_up(&outer)));
            let step = Step::Packets { index, offload: plan.offload };
            script.must(format!("open a packet socket on {peer}"), step);
            script.must("go back to the program's namespace", Step::Cross { ours: false });
        }
    }
    for (address, prefix) in &eth.addresses {
        let message = netlink::add_address(index, *address, *prefix);
        script.must(format!("give {name} the address {address}/{prefix}"), Step::Netlink(message));
    }
    script.must(format!("switch {name} on"), Step::Netlink(netlink::set_up(&link)));
}

/// Settings with which a program needs no capability to serve on a low port and to ping.
fn settings(script: &mut Script, identity: &Identity) {
    let values: [(&std::ffi::CStr, Vec<u8>); 2] = [
        (c"/proc/sys/net/ipv4/ip_unprivileged_port_start", b"0".to_vec()),
        (c"/proc/sys/net/ipv4/ping_group_range", identity.ping_groups()),
    ];
    for (path, bytes) in values {
        let words = format!("set {}", path.to_string_lossy());
        script.may(words, Step::Write { path: path.to_owned(), bytes });
    }
}

/// A program to be started with exactly that environment.
pub(super) fn program(
    command: &[OsString],
    environment: Vec<(OsString, OsString)>,
) -> Result<Program, AttachError> {
    let Some(first) = command.first() else { return Err(misuse("there is no command".to_owned())) };
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let path = path.unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let arguments = || command.iter().map(c).collect::<Result<Vec<_>, _>>();
    let strings = Strings::new(arguments()?);
    let mut candidates = Vec::new();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for file in paths(first, &folders) {
        let file = c(file)?;
        let script = strings.script(c"/bin/sh", &file);
        candidates.push((file, script));
    }
    let pairs = environment.into_iter().map(|(name, value)| {
        let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
        c(OsString::from_vec(pair))
    });
    let environment = Strings::new(pairs.collect::<Result<Vec<_>, _>>()?);
    let folder = std::env::current_dir().ok().map(c).transpose()?;
    Ok(Program { candidates, arguments: strings, environment, folder })
}

/// The files that a command may mean.
fn paths(command: &OsStr, folders: &[PathBuf]) -> Vec<PathBuf> {
    if command.is_empty() || command.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(command)];
    }
    folders
        .iter()
        .map(|folder| if folder.as_os_str().is_empty() { PathBuf::from("./") } else { folder.clone() })
        .map(|folder| folder.join(command))
        .collect()
}
