//! VPCs, subnets and internet gateways.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::cloud::{Subnet, Vpc};
use super::graph::At;
use super::reader::{Reader, SUBNETS, VPCS, shown};
use crate::sites::{MOST_SUBNETS, never_private};

/// Whether two networks have an address in common.
pub(super) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// A network that AWS takes for a VPC, or why it does not.
fn of_a_vpc(cidr: Ipv4Net) -> Result<Ipv4Net, String> {
    match never_private(cidr) {
        Some(why) => Err(format!("{cidr} is no network of a VPC: {why}")),
        None if !(16..=28).contains(&cidr.prefix_len()) => {
            Err(format!("{cidr} is no network of a VPC: they are /16 to /28"))
        }
        None => Ok(cidr),
    }
}

impl Reader<'_> {
    pub(super) fn read_vpcs(&mut self) {
        for at in (0..self.graph.instances.len())
            .filter(|at| VPCS.contains(&self.graph.instances[*at].kind))
            .collect::<Vec<At>>()
        {
            let cidr = match self.network_at(at, "cidr_block").and_then(of_a_vpc) {
                Ok(cidr) => cidr,
                Err(why) => {
                    self.left_out(at, why);
                    continue;
                }
            };
            let data = self.graph.instances[at].data;
            if data {
                self.assumed(
                    at,
                    "a data source: what this file does not have of it (gateways, tables, groups) is missing",
                );
            }
            if self.flag(at, "assign_generated_ipv6_cidr_block") == Some(true) {
                self.left_out(at, "its IPv6 network: clouds speak IPv4 here");
            }
            self.carry(at);
            self.vpcs.insert(at, self.cloud.vpcs.len());
            // What a VPC of the scenario language has by itself.
            let own = ["router", "igw", "resolver"].map(str::to_owned);
            self.part_names.insert((self.cloud.vpcs.len(), "node"), own.into());
            let vpc = Vpc {
                name: self.site_name(at),
                resource: self.address(at),
                cidrs: vec![cidr],
                dns: self.flag(at, "enable_dns_support").unwrap_or(true),
                ..Vpc::default()
            };
            self.cloud.vpcs.push(vpc);
        }
        for at in self.graph.of("aws_vpc_ipv4_cidr_block_association") {
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            let cidrs = &self.cloud.vpcs[vpc].cidrs;
            let apart = |cidr: Ipv4Net| match cidrs.iter().find(|c| overlap(**c, cidr)) {
                Some(other) => Err(format!("{cidr} overlaps {other} of the same VPC")),
                None => Ok(cidr),
            };
            match self.network_at(at, "cidr_block").and_then(of_a_vpc).and_then(apart) {
                Ok(cidr) => {
                    self.carry(at);
                    self.cloud.vpcs[vpc].cidrs.push(cidr);
                }
                Err(why) => self.left_out(at, why),
            }
        }
    }

    pub(super) fn read_subnets(&mut self) {
        for at in (0..self.graph.instances.len())
            .filter(|at| SUBNETS.contains(&self.graph.instances[*at].kind))
            .collect::<Vec<At>>()
        {
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            if self.text(at, "cidr_block").is_none() && self.text(at, "ipv6_cidr_block").is_some() {
                self.left_out(at, "it has IPv6 only: clouds speak IPv4 here");
                continue;
            }
            let cidr = match self.network_at(at, "cidr_block") {
                Ok(cidr) => cidr,
                Err(why) => {
                    self.left_out(at, why);
                    continue;
                }
            };
            if let Some(why) = self.unfit(vpc, cidr) {
                self.left_out(at, why);
                continue;
            }
            if self.text(at, "ipv6_cidr_block").is_some() || self.flag(at, "ipv6_native") == Some(true) {
                self.left_out(at, "its IPv6 network: clouds speak IPv4 here");
            }
            self.carry(at);
            let name = self.part_name(vpc, "subnet", at);
            let zone = self
                .text(at, "availability_zone")
                .map(shown)
                .filter(|z| crate::shape::name_problem(z).is_none());
            let subnet = Subnet {
                name,
                resource: self.address(at),
                cidr,
                zone,
                public: self.flag(at, "map_public_ip_on_launch").unwrap_or(false),
                table: None,
                acl: None,
                taken: BTreeSet::new(),
                next: 0,
            };
            self.subnets.insert(at, (vpc, self.cloud.vpcs[vpc].subnets.len()));
            self.cloud.vpcs[vpc].subnets.push(subnet);
        }
    }

    /// Why AWS would refuse a subnet.
    fn unfit(&self, vpc: usize, cidr: Ipv4Net) -> Option<String> {
        let vpc = &self.cloud.vpcs[vpc];
        if vpc.subnets.len() >= MOST_SUBNETS {
            return Some(format!("a VPC has at most {MOST_SUBNETS} subnets here"));
        }
        if !(16..=28).contains(&cidr.prefix_len()) {
            return Some(format!("{cidr} is no network of a subnet: they are /16 to /28"));
        }
        if !vpc.cidrs.iter().any(|c| c.contains(&cidr)) {
            return Some(format!("{cidr} is not within the networks of its VPC {}", vpc.resource));
        }
        let other = vpc.subnets.iter().find(|s| overlap(s.cidr, cidr))?;
        Some(format!("{cidr} overlaps {} of {}", other.cidr, other.resource))
    }

    pub(super) fn read_gateways(&mut self) {
        for at in self.graph.of("aws_internet_gateway") {
            // Attached by a resource of its own when it says no VPC.
            let said = self.graph.meaning(at, "vpc_id", VPCS);
            if said.written {
                let vpc = self.the_one(at, "vpc_id", said).and_then(|(vpc, _)| self.vpcs.get(&vpc).copied());
                if let Some(vpc) = vpc {
                    self.attach_gateway(at, vpc);
                }
            }
        }
        for at in self.graph.of("aws_internet_gateway_attachment") {
            let Some((gateway, _)) = self.one(at, "internet_gateway_id", &["aws_internet_gateway"]) else {
                continue;
            };
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            self.carry(at);
            self.attach_gateway(gateway, vpc);
        }
        for at in self.graph.of("aws_internet_gateway") {
            if !self.seen.contains(&at) {
                self.left_out(at, "it is attached to no VPC");
            }
        }
    }

    fn attach_gateway(&mut self, at: At, vpc: usize) {
        if let Some(other) = self.cloud.vpcs[vpc].gateway.clone() {
            self.left_out(at, format!("its VPC has an internet gateway already: {other}"));
            return;
        }
        self.carry(at);
        self.gateways.insert(at, vpc);
        self.cloud.vpcs[vpc].gateway = Some(self.address(at));
    }
}
