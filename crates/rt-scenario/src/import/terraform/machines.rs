//! Instances with their interfaces, elastic IPs and NAT gateways.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::cloud::{Eip, Machine, Nat, Public, Subnet};
use super::graph::At;
use super::reader::{Inside, Reader, SUBNETS, shown};

const INTERFACE: &[&str] = &["aws_network_interface"];
const EIP: &[&str] = &["aws_eip"];

impl Reader<'_> {
    pub(super) fn read_elastic_ips(&mut self) {
        let all = self.graph.of("aws_eip");
        let mut refused: BTreeMap<At, String> = BTreeMap::new();
        for at in &all {
            match self.text(*at, "public_ip").map(|text| self.take_public(text)) {
                Some(Ok(address)) => {
                    self.eips.insert(*at, address);
                }
                Some(Err(why)) => {
                    refused.insert(*at, why);
                }
                None => {}
            }
            let instances = self.graph.meaning(*at, "instance", &["aws_instance"]).found;
            self.with_eip.extend(instances.into_iter().map(|(instance, _)| instance));
        }
        for at in all {
            if !self.eips.contains_key(&at) {
                let address = self.public_address();
                self.eips.insert(at, address);
                let why = refused.remove(&at).unwrap_or_else(|| self.unknown(at, "address"));
                self.assumed(at, format!("{why}; {address} was chosen"));
            }
        }
    }

    /// Gives an elastic IP a place in a VPC; its name there.
    fn settle(&mut self, eip: At, vpc: usize) -> String {
        let resource = self.address(eip);
        if let Some(known) = self.cloud.vpcs[vpc].eips.iter().find(|e| e.resource == resource) {
            return known.name.clone();
        }
        self.carry(eip);
        let name = self.part_name(vpc, "eip", eip);
        let address = self.eips[&eip];
        self.cloud.vpcs[vpc].eips.push(Eip { name: name.clone(), resource, address });
        name
    }

    pub(super) fn read_nat_gateways(&mut self) {
        for at in self.graph.of("aws_nat_gateway") {
            if self.text(at, "connectivity_type") == Some("private") {
                self.left_out(at, "a private NAT gateway");
                continue;
            }
            if self.text(at, "availability_mode") == Some("regional") {
                self.left_out(at, "a regional NAT gateway");
                continue;
            }
            let Some((vpc, subnet)) = self.subnet_at(at, "subnet_id") else { continue };
            if self.cloud.vpcs[vpc].gateway.is_none() {
                self.left_out(at, "its VPC has no internet gateway, so it has no public address");
                continue;
            }
            let written = self.text(at, "private_ip");
            let Some(address) = self.address_in((vpc, subnet), written, at) else { continue };
            let eip = self.graph.meaning(at, "allocation_id", EIP);
            let eip = if eip.written { self.the_one(at, "allocation_id", eip) } else { None };
            let public = eip.map(|(eip, _)| self.settle(eip, vpc));
            let more = self.graph.meaning(at, "secondary_allocation_ids", EIP);
            if !more.found.is_empty() || !more.texts.is_empty() {
                self.left_out(at, "its secondary addresses");
            }
            self.carry(at);
            let name = self.part_name(vpc, "node", at);
            let subnet = self.cloud.vpcs[vpc].subnets[subnet].name.clone();
            let resource = self.address(at);
            let nats = &mut self.cloud.vpcs[vpc].nats;
            nats.push(Nat { name, resource, subnet, address, public });
            self.nats.insert(at, (vpc, nats.len() - 1));
        }
    }

    /// The public address of a NAT gateway.
    pub(super) fn nat_address(&self, at: At) -> Option<Ipv4Addr> {
        let (vpc, nat) = self.nats.get(&at)?;
        let vpc = &self.cloud.vpcs[*vpc];
        let name = vpc.nats[*nat].public.as_ref()?;
        vpc.eips.iter().find(|e| e.name == *name).map(|e| e.address)
    }

    /// The address written, or the next free one of the subnet. Says when it was chosen, or why there is none.
    pub(super) fn address_in(&mut self, at: Inside, written: Option<&str>, of: At) -> Option<Ipv4Addr> {
        let subnet = &mut self.cloud.vpcs[at.0].subnets[at.1];
        let why = match written.map(|text| (text, text.parse::<Ipv4Addr>())) {
            None => self.unknown(of, "private address"),
            Some((text, Err(_))) => format!("its private address `{}` is no IPv4 address", shown(text)),
            Some((_, Ok(address))) => match subnet.refuses(address) {
                None => {
                    subnet.taken.insert(address);
                    return Some(address);
                }
                Some(why) => format!("its private address {address} {why}"),
            },
        };
        let chosen = self.private_address(at);
        match chosen {
            Some(address) => self.assumed(of, format!("{why}; {address} was chosen")),
            None => self.left_out(of, "its subnet has no address left"),
        }
        chosen
    }

    pub(super) fn read_instances(&mut self) {
        // Addresses that are written come before those that are chosen.
        let mut all = self.graph.of("aws_instance");
        all.sort_by_key(|at| (self.text(*at, "private_ip").is_none(), *at));
        let mut read = Vec::new();
        for at in all {
            if let Some(machine) = self.read_instance(at) {
                read.push((at, machine));
            }
        }
        read.sort_by_key(|(at, _)| *at);
        for (at, (vpc, machine)) in read {
            let machines = &mut self.cloud.vpcs[vpc].instances;
            machines.push(machine);
            self.instances.insert(at, (vpc, machines.len() - 1));
        }
        for at in self.graph.of("aws_network_interface") {
            if !self.seen.contains(&at) {
                let why = if self.list(at, "attachment").is_empty() && !self.is_written(at, "attachment") {
                    "a network interface that no instance here has as its first one"
                } else {
                    "a second network interface of an instance"
                };
                self.left_out(at, why);
            }
        }
        for at in self.graph.of("aws_network_interface_attachment") {
            self.left_out(at, "a second network interface of an instance");
        }
    }

    fn read_instance(&mut self, at: At) -> Option<(usize, Machine)> {
        let interface = self.first_interface(at);
        let home = interface.unwrap_or(at);
        let said = self.graph.meaning(home, "subnet_id", SUBNETS);
        if !said.written {
            self.left_out(at, "it names no subnet, so it stands in the account's default VPC");
            return None;
        }
        let found = self.the_one(home, "subnet_id", said).map(|(subnet, _)| subnet);
        let Some((vpc, subnet)) = found.and_then(|s| self.subnets.get(&s).copied()) else {
            self.left_out(at, "its subnet is left out");
            return None;
        };
        let listed = |key: &str| self.list(home, key).first().and_then(Value::as_str);
        let written = self.text(home, "private_ip").or(listed("private_ips"));
        let address = self.address_in((vpc, subnet), written, at)?;
        let more = self.list(home, "secondary_private_ips").len()
            + self.list(home, "private_ips").len().saturating_sub(1);
        if more > 0 {
            self.left_out(at, format!("{more} more private addresses of it"));
        }
        if !self.list(home, "ipv6_addresses").is_empty()
            || self.value(home, "ipv6_address_count").and_then(Value::as_u64).is_some_and(|n| n > 0)
        {
            self.left_out(at, "its IPv6 addresses: clouds speak IPv4 here");
        }
        let key = if interface.is_some() { "security_groups" } else { "vpc_security_group_ids" };
        let groups = self.groups_at(home, key, vpc);
        let named = self.list(at, "security_groups");
        if interface.is_none() && !named.is_empty() && groups == ["default"] {
            self.left_out(at, "security_groups name groups of a default VPC; write vpc_security_group_ids");
        }
        let check = self.flag(home, "source_dest_check").unwrap_or(true);
        let public = self.public_of(at, (vpc, subnet), interface.is_some());
        self.carry(at);
        if let Some(interface) = interface {
            self.carry(interface);
            self.interfaces.insert(interface, at);
        }
        let name = self.part_name(vpc, "node", at);
        let subnet = self.cloud.vpcs[vpc].subnets[subnet].name.clone();
        Some((vpc, Machine { name, resource: self.address(at), subnet, address, public, groups, check }))
    }

    /// What it has before elastic IPs are given out.
    fn public_of(&mut self, at: At, (vpc, subnet): Inside, own_interface: bool) -> Public {
        let known = self.text(at, "public_ip");
        let of_an_eip = known
            .and_then(|t| t.parse::<Ipv4Addr>().ok())
            .is_some_and(|a| self.eips.values().any(|e| *e == a));
        let wanted = self.flag(at, "associate_public_ip_address");
        let inherits = self.cloud.vpcs[vpc].subnets[subnet].public;
        if self.cloud.vpcs[vpc].gateway.is_none() {
            return Public::No;
        }
        match known.filter(|_| !of_an_eip) {
            Some(text) => match self.take_public(text) {
                Ok(address) => Public::Address(address),
                Err(why) => {
                    let address = self.public_address();
                    self.assumed(at, format!("{why}; {address} was chosen"));
                    Public::Address(address)
                }
            },
            // AWS gives a public address only to interfaces that it makes itself.
            None if own_interface => Public::No,
            // In a state it would be known.
            None if !self.graph.is_plan => Public::No,
            None if wanted.unwrap_or(inherits) => self.chosen_public(at),
            None => Public::No,
        }
    }

    /// A public address for an instance that no elastic IP is for.
    fn chosen_public(&mut self, at: At) -> Public {
        if self.with_eip.contains(&at) {
            return Public::Yes;
        }
        let address = self.public_address();
        self.assumed(at, format!("its public address is known only after apply; {address} was chosen"));
        Public::Address(address)
    }

    /// The network interface that an instance names as its first.
    fn first_interface(&mut self, at: At) -> Option<At> {
        for block in ["primary_network_interface", "network_interface"] {
            for item in self.list(at, block).iter().filter_map(Value::as_object) {
                let first = item.get("device_index").is_none_or(|n| n.as_u64() == Some(0));
                if !first {
                    continue;
                }
                let meaning = self.graph.meaning_in(at, (block, item), "network_interface_id", INTERFACE);
                if let Some((found, _)) = meaning.found.first() {
                    return Some(*found);
                }
                if let Some(id) = meaning.texts.first() {
                    self.left_out(at, format!("its network interface {} is not in this file", shown(id)));
                }
            }
        }
        None
    }

    pub(super) fn read_elastic_ip_associations(&mut self) {
        for at in self.graph.of("aws_eip_association") {
            let Some((eip, _)) = self.one(at, "allocation_id", EIP) else { continue };
            let Some(owner) = self.owner_of(at, ("instance_id", "network_interface_id")) else { continue };
            self.carry(at);
            self.give(eip, owner);
        }
        for eip in self.graph.of("aws_eip") {
            if let Some(owner) = self.owner_of(eip, ("instance", "network_interface")) {
                self.give(eip, owner);
            }
        }
        for eip in self.graph.of("aws_eip") {
            if !self.carried.contains(&eip) {
                self.left_out(eip, "nothing here has it");
            }
        }
    }

    /// The instance that an elastic IP is for, named by itself or by its interface.
    fn owner_of(&mut self, at: At, (instance, interface): (&str, &str)) -> Option<At> {
        let by_instance = self.graph.meaning(at, instance, &["aws_instance"]);
        if by_instance.written {
            return self.the_one(at, instance, by_instance).map(|(found, _)| found);
        }
        let by_interface = self.graph.meaning(at, interface, &["aws_network_interface", "aws_instance"]);
        if !by_interface.written || by_interface.found.is_empty() {
            // In a state the interface of a NAT gateway stands here: it has its elastic IP already.
            return None;
        }
        let (found, _) = self.the_one(at, interface, by_interface)?;
        self.interfaces.get(&found).copied().or(Some(found))
    }

    fn give(&mut self, eip: At, owner: At) {
        let Some((vpc, index)) = self.instances.get(&owner).copied() else {
            let why = format!("{}, which has it, is left out", self.address(owner));
            return self.left_out(eip, why);
        };
        if self.cloud.vpcs[vpc].gateway.is_none() {
            return self.left_out(eip, "the VPC of its instance has no internet gateway");
        }
        let name = self.settle(eip, vpc);
        self.cloud.vpcs[vpc].instances[index].public = Public::Elastic(name);
    }
}

impl Subnet {
    /// Why an address cannot be a machine's here.
    fn refuses(&self, address: Ipv4Addr) -> Option<String> {
        let place = u32::from(address).wrapping_sub(u32::from(self.cidr.network()));
        if !self.cidr.contains(&address) {
            Some(format!("is not in {}", self.cidr))
        } else if place < 4 || address == self.cidr.broadcast() {
            Some(format!("is one of the five that AWS keeps of {}", self.cidr))
        } else if self.taken.contains(&address) {
            Some("is another's already".to_owned())
        } else {
            None
        }
    }
}
