//! Instances: machines in subnets.

use std::net::IpAddr;

use rt_base::NodeId;

use super::super::{Plan, publish, read_names};
use super::groups::Eni;
use super::{Vpc, fine_name, origin_of, set_up};
use crate::diag::Code;
use crate::model::NodeKind;
use crate::tree::{Key, Value};
use crate::world::World;

/// An instance.
pub(in crate::sites) struct Instance<'v> {
    pub(in crate::sites) name: &'v str,
    pub(in crate::sites) subnet: usize,
    pub(in crate::sites) address: IpAddr,
}

impl<'v> Vpc<'v> {
    pub(super) fn build_instances(&mut self, world: &mut World<'_, '_>, plan: Option<&mut Plan>) {
        let mut plan = plan;
        for (name, value) in self.value.get("instances").map(Value::entries).unwrap_or_default() {
            if fine_name(world, name, "an instance") && world.room_for(1, name.span) {
                self.build_instance(world, plan.as_deref_mut(), (name, value));
            }
        }
    }

    fn build_instance(
        &mut self,
        world: &mut World<'_, '_>,
        plan: Option<&mut Plan>,
        (name, value): (&'v Key, &'v Value),
    ) -> Option<()> {
        let mut plan = plan;
        let subnet = self.subnet(world, value.get("subnet")?)?;
        let (address, span) = self.private_address(world, subnet, (value.get("address"), name.span))?;
        let checked = value.flag_at("source-dest-check").unwrap_or(true);
        let kind = if checked { NodeKind::Host } else { NodeKind::Router };
        let role = value.str_at("role").unwrap_or(&name.text);
        let id = world.add_site_node(self.name, &name.text, kind, role, name.span);
        let usual = world.node(id).node.processing;
        set_up(world, id, (self.place.as_ref(), self.wire.mtu));
        world.node(id).node.processing = usual;
        world.node(id).node.origin = origin_of(world, value, name.span);
        let port = self.plug_in(world, (id, "eth0"), (subnet, address, span));
        world.set_mac((id, port), value.mac_at("mac"), value.get("mac").map(|v| v.span));
        world.read_machine(id, value);
        let servers = &mut world.node(id).node.resolver.servers;
        if servers.is_empty() {
            servers.extend(self.resolver.as_ref().map(|r| r.address));
        }
        for key in ["firewall", "acl", "reverse-path"] {
            let Some((key, _)) = value.entry(key) else { continue };
            let message =
                "an instance's own rules stand behind its security groups, which are all that is built here";
            world
                .problems
                .add(Code::NoEffect, key.span, message, "has no effect")
                .help("write the lines into a security group, or a network ACL of its subnet");
        }
        world.read_apps(id, value);
        let unsaid = self.subnets[subnet].value.flag_at("public").unwrap_or(false);
        let public = match value.get("public") {
            None if !unsaid => None,
            wanted => self.bind_public(world, plan.as_deref_mut(), (wanted, address.into(), name.span)),
        };
        self.name_publicly(world, plan, (name, value, id, public));
        let (name, span) = (name.text.as_str(), name.span);
        let address = address.into();
        let groups = self.groups_of(world, value.get("groups"));
        self.enis.push(Eni { id, span, address, groups, checked });
        self.instances.push(Instance { name, subnet, address });
        Some(())
    }

    /// Certificate and public names.
    fn name_publicly(
        &self,
        world: &mut World<'_, '_>,
        plan: Option<&mut Plan>,
        (name, value, id, public): (&Key, &Value, NodeId, Option<IpAddr>),
    ) {
        let names = read_names(world, value);
        if let Some(written) = value.get("certificate") {
            let whose = format!("{}.{}", self.name, name.text);
            if let Some(certificate) = world.read_certificate(&whose, Some(written), &names) {
                super::super::host::secure(world, id, &[certificate]);
            }
        }
        let Some(at) = value.get("names").filter(|_| !names.is_empty()) else { return };
        let (Some(plan), Some(public)) = (plan, public) else {
            let message = format!("`{}` has no public address that its names could mean", name.text);
            world
                .problems
                .add(Code::MissingKey, crate::shape::head(at), message, "names of what?")
                .help("write `public: yes`, or leave the names away");
            return;
        };
        let place = self.place.clone().unwrap_or_default();
        let site = Key { text: self.name.to_owned(), span: name.span };
        publish(world, plan, &site, value, (&names, public, &place));
    }
}
