//! A host: one machine with a public address.

use super::{Plan, Public, attach, place_of, publish, read_names, server_wire, with_length};
use crate::apps::HTTP_THINK;
use crate::model::{App, Hosting, NodeKind};
use crate::tree::{Key, Value};
use crate::world::World;

pub(super) fn build(world: &mut World<'_, '_>, plan: &mut Plan, name: &Key, value: &Value) {
    let id = world.add_node(&name.text, NodeKind::Host, &name.text, name.span);
    world.node(id).node.site = Some(name.text.clone());
    let place = place_of(world, plan, value);
    let at = value.get("address");
    let address = at.and_then(|v| v.host(24)).unwrap_or_else(|| plan.server_address(world, name.span));
    let span = at.map_or(name.span, |v| v.span);
    let wire = server_wire().read(value.get("access"), ("up", "down"));
    if let Some(access) = value.get("access") {
        world.check_mtu(access);
    }
    let public =
        Public { address, place: place.clone(), anycast: false, by_isp: false, pppoe: false, wire, span };
    attach(world, id, "eth0", public);
    world.set_mac((id, rt_base::PortId(0)), value.mac_at("mac"), value.get("mac").map(|v| v.span));
    world.read_machine(id, value);
    if world.node(id).node.resolver.servers.is_empty() {
        world.node(id).node.resolver.servers.clone_from(&plan.resolvers);
    }
    world.read_firewall(id, value);
    let names = read_names(world, value);
    let written = value.get("certificate");
    let with_tls = written.is_some_and(|word| word.text() != Some("none"));
    let hosting = world.read_hosted(&name.text, value, with_tls);
    // Names of sites with a certificate of their own are not in the first one.
    let own: Vec<String> =
        names.iter().filter(|name| !hosting.sites.iter().any(|(site, _)| site == *name)).cloned().collect();
    let first = written.and_then(|written| world.read_certificate(&name.text, Some(written), &own));
    // Its programs may name its certificate.
    world.read_apps(id, value);
    host(world, id, &hosting);
    let own_server = hosting.sites.is_empty() && shows(&world.node(id).node.apps, first);
    let certificates: Vec<usize> = first.into_iter().chain(hosting.certificates).collect();
    if !certificates.is_empty() && !own_server {
        secure(world, id, &certificates);
    }
    let address = with_length(address.addr(), 32).addr();
    publish(world, plan, name, value, (&names, address, &place));
}

/// Whether a program on the port of HTTPS shows this certificate already.
fn shows(apps: &[App], wanted: Option<usize>) -> bool {
    apps.iter().any(|app| match app {
        App::HttpServer { port: 443, certificate, .. } | App::Edge { port: 443, certificate, .. } => {
            certificate.is_some() && *certificate == wanted
        }
        _ => false,
    })
}

/// Its plain web servers, or one that is made, have these sites too.
fn host(world: &mut World<'_, '_>, id: rt_base::NodeId, hosting: &Hosting) {
    let apps = &mut world.node(id).node.apps;
    if hosting.sites.is_empty() {
        return;
    }
    if !apps.iter().any(|app| matches!(app, App::HttpServer { certificate: None, .. })) {
        apps.push(App::HttpServer {
            port: 80,
            certificate: None,
            http2: false,
            pages: hosting.sites[0].1.clone(),
            think: HTTP_THINK,
            silent: false,
            idle_unused: None,
            idle: None,
            hosting: Box::default(),
        });
    }
    for app in apps {
        if let App::HttpServer { certificate: None, hosting: has, .. } = app {
            has.sites.extend(hosting.sites.iter().cloned());
        }
    }
}

/// Its web server also answers on port 443, with the same pages; the first certificate is the default.
pub(super) fn secure(world: &mut World<'_, '_>, id: rt_base::NodeId, certificates: &[usize]) {
    let node = &mut world.node(id).node;
    let plain = node.apps.iter().find_map(|app| match app {
        App::HttpServer { certificate: None, pages, think, silent, hosting, .. } => {
            Some((pages.clone(), *think, *silent, hosting.clone()))
        }
        _ => None,
    });
    let (pages, think, silent, mut hosting) = plain.unwrap_or_else(|| {
        (crate::model::Pages::BuiltIn("hello".to_owned()), HTTP_THINK, false, Box::default())
    });
    let certificate = certificates.first().copied();
    hosting.certificates = certificates.iter().skip(1).copied().collect();
    node.apps.push(App::HttpServer {
        port: 443,
        certificate,
        http2: true,
        pages,
        think,
        silent,
        idle_unused: None,
        idle: None,
        hosting,
    });
}
