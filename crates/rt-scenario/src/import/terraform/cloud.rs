//! What a plan comes to: the network in the words of the scenario language, before it is written.
//!
//! Every `resource` is a Terraform address; `None` for what AWS makes by itself.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// All of it.
#[derive(Default)]
pub(super) struct Cloud {
    pub(super) region: Option<String>,
    pub(super) vpcs: Vec<Vpc>,
    pub(super) peerings: Vec<Peering>,
    pub(super) hubs: Vec<Hub>,
    /// Services outside that endpoints lead to.
    pub(super) services: Vec<Service>,
}

#[derive(Default)]
pub(super) struct Vpc {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) cidrs: Vec<Ipv4Net>,
    /// The internet gateway's address, when there is one.
    pub(super) gateway: Option<String>,
    pub(super) dns: bool,
    pub(super) subnets: Vec<Subnet>,
    pub(super) tables: Vec<Table>,
    /// The main one, in `tables`.
    pub(super) main: Option<usize>,
    pub(super) nats: Vec<Nat>,
    pub(super) eips: Vec<Eip>,
    pub(super) groups: Vec<Group>,
    pub(super) acls: Vec<Acl>,
    pub(super) lists: Vec<PrefixList>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) instances: Vec<Machine>,
}

pub(super) struct Subnet {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) cidr: Ipv4Net,
    pub(super) zone: Option<String>,
    pub(super) public: bool,
    /// In the VPC's `tables`.
    pub(super) table: Option<usize>,
    /// In the VPC's `acls`.
    pub(super) acl: Option<usize>,
    /// Addresses that are taken.
    pub(super) taken: BTreeSet<Ipv4Addr>,
    /// Behind the last address that was chosen.
    pub(super) next: u32,
}

pub(super) struct Table {
    pub(super) name: String,
    pub(super) resource: Option<String>,
    pub(super) routes: Vec<Route>,
}

pub(super) struct Route {
    pub(super) destination: String,
    pub(super) target: String,
    pub(super) resource: String,
}

pub(super) struct Nat {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) subnet: String,
    pub(super) address: Ipv4Addr,
    /// The name of its elastic IP.
    pub(super) public: Option<String>,
}

pub(super) struct Eip {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) address: Ipv4Addr,
}

pub(super) struct Group {
    pub(super) name: String,
    pub(super) resource: Option<String>,
    pub(super) about: Option<String>,
    pub(super) ins: Vec<Line>,
    pub(super) outs: Vec<Line>,
}

#[derive(Clone, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) resource: String,
    /// A single TCP port that it opens.
    pub(super) port: Option<u16>,
}

pub(super) struct Acl {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) ins: BTreeMap<u16, Line>,
    pub(super) outs: BTreeMap<u16, Line>,
}

pub(super) struct PrefixList {
    pub(super) name: String,
    pub(super) cidrs: Vec<Ipv4Net>,
}

pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) gateway: bool,
    /// The site of the service.
    pub(super) service: String,
    pub(super) tables: Vec<String>,
    /// Subnets with the address of its interface there.
    pub(super) subnets: Vec<(String, Ipv4Addr)>,
    pub(super) groups: Vec<String>,
    pub(super) private_dns: bool,
}

pub(super) struct Machine {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) subnet: String,
    pub(super) address: Ipv4Addr,
    pub(super) public: Public,
    pub(super) groups: Vec<String>,
    pub(super) check: bool,
}

/// How an instance is seen from the internet.
pub(super) enum Public {
    /// Not at all, whatever the subnet says.
    No,
    /// By an address that AWS picks.
    Yes,
    /// By this one.
    Address(Ipv4Addr),
    /// By the elastic IP of this name.
    Elastic(String),
}

pub(super) struct Peering {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) between: [String; 2],
    pub(super) accepted: bool,
}

/// A transit gateway.
pub(super) struct Hub {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) attachments: Vec<Attachment>,
    pub(super) tables: Vec<Table>,
}

pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) vpc: String,
    pub(super) subnets: Vec<String>,
    /// Name of the table that it is associated with.
    pub(super) table: Option<String>,
    /// Tables that learn it; `None` is the default.
    pub(super) learnt_by: Option<Vec<String>>,
}

pub(super) struct Service {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) host: String,
}
