//! Addresses of a VPC: the private ones of its subnets, and public ones (elastic IPs).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::super::{Plan, with_length};
use super::{Subnet, Vpc, nth, origin_of, unknown};
use crate::diag::{Code, Span};
use crate::tree::Value;
use crate::world::World;
use rt_rules::Origin;

/// A public address of a VPC.
pub(in crate::sites) struct Elastic {
    /// Under `elastic-ips`; `None` for one that an instance or NAT gateway wrote or got itself.
    name: Option<String>,
    pub(in crate::sites) outside: IpAddr,
    /// Whose it is, once it is known.
    pub(in crate::sites) inside: Option<IpAddr>,
    pub(in crate::sites) span: Span,
    pub(in crate::sites) origin: Origin,
}

impl Subnet<'_> {
    /// Whether `address` can be a machine's here; reported when not.
    fn takes(&self, world: &mut World<'_, '_>, address: Ipv4Addr, span: Span) -> bool {
        let reserved = match address {
            a if !self.net.contains(&a) => {
                let message = format!("{address} is not in the subnet `{}`, {}", self.name, self.net);
                world
                    .problems
                    .add(Code::ForeignAddress, span, message, "outside the subnet")
                    .related(self.span, "the subnet")
                    .help(self.usable());
                return false;
            }
            a if a == self.net.network() => "it is the network's own",
            a if a == nth(self.net, 1) => "it is the VPC router's",
            a if a == nth(self.net, 2) => "it is reserved for DNS",
            a if a == nth(self.net, 3) => "it is reserved for future use",
            a if a == self.net.broadcast() => "it is the network's broadcast address",
            _ => return true,
        };
        let message = format!("{address} is reserved in the subnet {}: {reserved}", self.net);
        world
            .problems
            .add(Code::ForeignAddress, span, message, "reserved")
            .related(self.span, "the subnet")
            .help(format!(
                "AWS keeps the first four addresses and the last one of every subnet: {}",
                self.usable()
            ));
        false
    }

    fn usable(&self) -> String {
        let last = Ipv4Addr::from(u32::from(self.net.broadcast()).saturating_sub(1));
        format!("use one from {} to {last}", nth(self.net, 4))
    }

    /// The next free address.
    fn next(&mut self) -> Option<Ipv4Addr> {
        let last = u32::from(self.net.broadcast());
        let free =
            (u32::from(nth(self.net, 4))..last).map(Ipv4Addr::from).find(|a| !self.taken.contains(a))?;
        self.taken.insert(free);
        Some(free)
    }
}

impl Vpc<'_> {
    /// Notes every address that is written, so that none of them is given out.
    pub(super) fn note_written(&mut self, world: &mut World<'_, '_>) {
        let all = ["nat-gateways", "instances"];
        let machines = all.iter().filter_map(|key| self.value.get(key)).flat_map(Value::entries);
        let mut written: Vec<(&str, IpAddr)> = Vec::new();
        for (_, value) in machines {
            if let (Some(subnet), Some(address)) = (value.str_at("subnet"), value.address_at("address")) {
                written.push((subnet, address));
            }
        }
        for (_, value) in self.value.get("endpoints").map(Value::entries).unwrap_or_default() {
            let entries = value.get("addresses").map(Value::entries).unwrap_or_default();
            written.extend(entries.iter().filter_map(|(k, v)| Some((k.text.as_str(), v.address()?))));
        }
        let _ = world;
        for (subnet, address) in written {
            let found = self.subnets.iter_mut().find(|s| s.name == subnet);
            if let (Some(subnet), IpAddr::V4(address)) = (found, address) {
                subnet.taken.insert(address);
            }
        }
    }

    /// The private address that a machine says, or the next free one of its subnet. Reported when there is none.
    pub(in crate::sites) fn private_address(
        &mut self,
        world: &mut World<'_, '_>,
        subnet: usize,
        (written, span): (Option<&Value>, Span),
    ) -> Option<(Ipv4Addr, Span)> {
        let subnet = &mut self.subnets[subnet];
        if let Some(at) = written {
            let IpAddr::V4(address) = at.address()? else { return None };
            return subnet.takes(world, address, at.span).then_some((address, at.span));
        }
        let next = subnet.next();
        if next.is_none() {
            let message = format!("no address of the subnet `{}`, {}, is left", subnet.name, subnet.net);
            world
                .problems
                .add(Code::NoAddressLeft, span, message, "has none")
                .related(subnet.span, "the subnet")
                .help("give the subnet a shorter prefix, or put the machine into another one");
        }
        next.map(|address| (address, span))
    }

    /// Reads `elastic-ips:`.
    pub(super) fn read_elastic(&mut self, world: &mut World<'_, '_>, plan: Option<&mut Plan>) {
        let mut plan = plan;
        for (name, value) in self.value.get("elastic-ips").map(Value::entries).unwrap_or_default() {
            let written = value.get("address").unwrap_or(value);
            let origin = origin_of(world, value, name.span);
            let at = written.address().map_or(name.span, |_| written.span);
            let Some(outside) = self.public_address(world, plan.as_deref_mut(), (written.address(), at))
            else {
                return;
            };
            let (name, span) = (Some(name.text.clone()), name.span);
            self.elastic.push(Elastic { name, outside, inside: None, span, origin });
        }
    }

    /// The address that is written, or the next of the pool.
    fn public_address(
        &self,
        world: &mut World<'_, '_>,
        plan: Option<&mut Plan>,
        (written, span): (Option<IpAddr>, Span),
    ) -> Option<IpAddr> {
        if !self.has_gateway() {
            let message = format!("`{}` has no internet gateway, so no public address reaches it", self.name);
            world
                .problems
                .add(Code::MissingKey, span, message, "needs an internet gateway")
                .related(self.span, "the VPC")
                .help(format!("write `internet-gateway: yes` in `{}`", self.name));
            return None;
        }
        if let Some(address) = written.filter(|a| self.can_be_public(world, *a, span)) {
            return Some(address);
        }
        // One that was refused is replaced, so that nothing else is said about it.
        let place = self.place.clone().unwrap_or_default();
        Some(plan?.elastic_address(world, &place, span))
    }

    /// Whether an address that is written can be an elastic IP, and nobody here has it; reported when not.
    fn can_be_public(&self, world: &mut World<'_, '_>, address: IpAddr, span: Span) -> bool {
        if let Some(why) = never_public(address) {
            let message = format!("{address} cannot be a public address: {why}");
            world
                .problems
                .add(Code::BadAddress, span, message, "nobody on the internet can reach it")
                .help("take one that is routed on the internet, such as 54.93.0.9");
            return false;
        }
        let Some(first) = self.elastic.iter().find(|e| e.outside == address) else { return true };
        let message = format!("`{}` has the public address {address} already", self.name);
        let help = match &first.name {
            Some(name) => format!("a public address is allocated once: use it by its name, `public: {name}`"),
            None => "a public address belongs to one machine: give the other one another".to_owned(),
        };
        world
            .problems
            .add(Code::DuplicateAddress, span, message, "second one")
            .related(first.span, "first one")
            .help(help);
        false
    }

    /// Whether it has an internet gateway.
    pub(super) fn has_gateway(&self) -> bool {
        self.value
            .get("internet-gateway")
            .is_some_and(|v| v.text().is_none() || v.text().and_then(crate::shape::flag) == Some(true))
    }

    /// Binds a public address to `inside`: `yes`, an address, or the name of an elastic IP. `None` for none.
    pub(super) fn bind_public(
        &mut self,
        world: &mut World<'_, '_>,
        plan: Option<&mut Plan>,
        (wanted, inside, span): (Option<&Value>, IpAddr, Span),
    ) -> Option<IpAddr> {
        let text = wanted.and_then(Value::text).unwrap_or("yes");
        let at = wanted.map_or(span, |v| v.span);
        let written: Option<IpAddr> = text.parse().ok();
        if crate::shape::flag(text) == Some(false) {
            return None;
        }
        if crate::shape::flag(text).is_none() && written.is_none() {
            return self.bind_named(world, (wanted?, text), inside);
        }
        let outside = self.public_address(world, plan, (written, at))?;
        let origin = world.line(at);
        self.elastic.push(Elastic { name: None, outside, inside: Some(inside), span: at, origin });
        Some(outside)
    }

    fn bind_named(
        &mut self,
        world: &mut World<'_, '_>,
        (at, name): (&Value, &str),
        inside: IpAddr,
    ) -> Option<IpAddr> {
        let Some(found) = self.elastic.iter_mut().find(|e| e.name.as_deref() == Some(name)) else {
            let known: Vec<&str> = self.elastic.iter().filter_map(|e| e.name.as_deref()).collect();
            unknown(world, at, "elastic IP", (self.name, known));
            return None;
        };
        if found.inside.is_some() {
            let message = format!("the elastic IP `{name}` belongs to another machine already");
            world
                .problems
                .add(Code::DuplicateAddress, at.span, message, "second one")
                .related(found.span, "the elastic IP")
                .help("allocate another one under `elastic-ips:`");
            return None;
        }
        found.inside = Some(inside);
        Some(found.outside)
    }
}

impl Plan {
    /// The next elastic IP for VPCs at `place`, from .10 of 54.93.0.0/24; each further place has the next /24. Addresses
    /// that are written somewhere are left out.
    fn elastic_address(&mut self, world: &mut World<'_, '_>, place: &str, span: Span) -> IpAddr {
        let known = self.clouds_at.iter().position(|(p, _)| p == place);
        let at = known.unwrap_or_else(|| {
            self.clouds_at.push((place.to_owned(), 10));
            self.clouds_at.len() - 1
        });
        let third = at.min(255) as u8;
        loop {
            let next = &mut self.clouds_at[at].1;
            let last = *next;
            *next = last.saturating_add(1);
            if last > 250 {
                super::super::no_address_left(world, span, &format!("54.93.{third}.0/24"));
            }
            let address = IpAddr::V4(Ipv4Addr::new(54, 93, third, last.min(250)));
            if last > 250 || !self.written.contains(&address) {
                return address;
            }
        }
    }
}

/// Why an address can never be reached on the internet (RFC 6890 names the networks). Those for documentation can be: examples
/// live on them.
pub(crate) fn never_public(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(v4) = address else { return Some("no machine here speaks IPv6 yet") };
    let [first, second, ..] = v4.octets();
    Some(match v4 {
        a if a.is_private() => "it is private (RFC 1918)",
        _ if first == 100 && (64..128).contains(&second) => "it is for providers' own NAT (RFC 6598)",
        a if a.is_loopback() => "it means the machine itself (127.0.0.0/8)",
        a if a.is_link_local() => "it is link-local (169.254.0.0/16)",
        a if a.is_multicast() => "it is a multicast group (224.0.0.0/4)",
        _ if first == 0 => "it means this network (0.0.0.0/8)",
        _ if first >= 240 => "it is reserved (240.0.0.0/4)",
        _ => return None,
    })
}

/// The network that a public address is announced in.
pub(super) fn announced(outside: IpAddr) -> IpNet {
    with_length(outside, 24)
}
