//! What an address means: the special-purpose registries of IANA (RFC 6890 and what was entered since), multicast, and the
//! few addresses that clouds gave a meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Serialize;

/// One entry of the registries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Special {
    /// The addresses.
    pub(super) prefix: &'static str,
    /// Its name in few words.
    pub(super) name: &'static str,
    /// Where it is defined.
    pub(super) defined_in: &'static str,
    /// Whether packets to it cross the public internet.
    pub(super) global: bool,
    /// What that means for a user.
    pub(super) meaning: &'static str,
}

impl Special {
    fn net(&self) -> IpNet {
        self.prefix.parse().expect("invariant: the table holds prefixes, a test reads them all")
    }

    /// `private (RFC 1918): ...`.
    pub(super) fn line(&self) -> String {
        format!("{} ({}): {}", self.name, self.defined_in, self.meaning)
    }
}

/// Why no machine can have an address of a prefix, if that is so of all of them.
pub(super) fn of_no_machine(net: IpNet) -> Option<&'static str> {
    let never = [
        ("0.0.0.0/8", "they mean this network, and only as a source before a machine knows its address"),
        ("127.0.0.0/8", "all of them mean the machine itself"),
        ("224.0.0.0/4", "they are groups of receivers"),
        ("240.0.0.0/4", "they are reserved, and most machines refuse them"),
        ("::/128", "it means that there is no address"),
        ("::1/128", "it means the machine itself"),
        ("ff00::/8", "they are groups of receivers"),
    ];
    never.iter().find(|(prefix, _)| holds(prefix, net)).map(|(_, why)| *why)
}

/// Whether a prefix is of addresses that mean something on one link only.
pub(super) fn is_link_local(net: IpNet) -> bool {
    holds("169.254.0.0/16", net) || holds("fe80::/10", net)
}

fn holds(prefix: &str, net: IpNet) -> bool {
    prefix.parse::<IpNet>().is_ok_and(|prefix| prefix.contains(&net))
}

/// The narrowest entry that holds the whole prefix.
pub(super) fn of(net: IpNet) -> Option<&'static Special> {
    TABLE.iter().filter(|s| s.net().contains(&net)).max_by_key(|s| s.net().prefix_len())
}

/// The entries inside a prefix that is wider than they are, without those that lie in another one of them.
pub(super) fn inside(net: IpNet) -> Vec<&'static Special> {
    let within: Vec<&Special> = TABLE.iter().filter(|s| net.contains(&s.net()) && net != s.net()).collect();
    let outermost = |s: &&&Special| {
        !within.iter().any(|other| other.prefix != s.prefix && other.net().contains(&s.net()))
    };
    within.iter().filter(outermost).copied().collect()
}

/// What is written inside an address: an IPv4 address in an IPv6 one, a MAC, a multicast scope.
pub(super) fn embedded(address: IpAddr) -> Option<String> {
    let IpAddr::V6(v6) = address else { return multicast_mac(address) };
    let octets = v6.octets();
    let v4 = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    let is = |prefix: &str| prefix.parse::<IpNet>().is_ok_and(|p| p.contains(&address));
    if is("::ffff:0:0/96") || is("64:ff9b::/96") {
        return Some(format!("the IPv4 address {}", v4(12)));
    }
    if is("2002::/16") {
        return Some(format!("the site's IPv4 address {}", v4(2)));
    }
    if is("2001::/32") {
        let (port, client) =
            (!u16::from_be_bytes([octets[10], octets[11]]), Ipv4Addr::from(!u32::from(v4(12))));
        return Some(format!("the Teredo server {}, the client {client}:{port} as its NAT shows it", v4(4)));
    }
    if is("ff02::1:ff00:0/104") {
        let [.., a, b, c] = octets;
        return Some(format!("the end of the address that is asked for, {a:02x}:{b:02x}{c:02x}"));
    }
    if v6.is_multicast() {
        return Some(format!("{} scope", scope(octets[1] & 0x0f)));
    }
    eui64(v6).map(|mac| format!("the MAC address {mac} (EUI-64)"))
}

/// RFC 7346's names of multicast scopes.
fn scope(nibble: u8) -> String {
    let known = match nibble {
        0x1 => "interface-local",
        0x2 => "link-local",
        0x3 => "realm-local",
        0x4 => "admin-local",
        0x5 => "site-local",
        0x8 => "organisation-local",
        0xe => "global",
        _ => return format!("unassigned ({nibble:x})"),
    };
    known.to_owned()
}

/// The MAC that an interface identifier was made from (RFC 4291, appendix A).
fn eui64(address: Ipv6Addr) -> Option<String> {
    let o = address.octets();
    (o[11] == 0xff && o[12] == 0xfe).then(|| {
        let mac = [o[8] ^ 0x02, o[9], o[10], o[13], o[14], o[15]];
        mac.map(|b| format!("{b:02x}")).join(":")
    })
}

/// The MAC address that frames to an IPv4 group have (RFC 1112, section 6.4).
fn multicast_mac(address: IpAddr) -> Option<String> {
    let IpAddr::V4(v4) = address else { return None };
    let [_, b, c, d] = v4.octets();
    v4.is_multicast().then(|| format!("on Ethernet sent to 01:00:5e:{:02x}:{c:02x}:{d:02x}", b & 0x7f))
}

const fn entry(
    prefix: &'static str,
    name: &'static str,
    defined_in: &'static str,
    global: bool,
    meaning: &'static str,
) -> Special {
    Special { prefix, name, defined_in, global, meaning }
}

/// IPv4, then IPv6, each by address.
#[rustfmt::skip]
pub(super) const TABLE: &[Special] = &[
    entry("0.0.0.0/8", "this network", "RFC 791, 3.2", false, "only a source, and only before a machine knows its address"),
    entry("0.0.0.0/32", "unspecified", "RFC 1122, 3.2.1.3", false, "the source of a DHCP request; for a server, all of its own addresses; as 0.0.0.0/0, everything"),
    entry("10.0.0.0/8", "private", "RFC 1918", false, "for networks of one's own; no router of the internet has a route to it, NAT is needed to go out"),
    entry("100.64.0.0/10", "shared address space", "RFC 6598", false, "between a provider's carrier-grade NAT (CGNAT) and its customers; who has one on the WAN side is behind two NATs"),
    entry("127.0.0.0/8", "loopback", "RFC 1122, 3.2.1.3", false, "the machine itself; never on a wire"),
    entry("169.254.0.0/16", "link-local", "RFC 3927", false, "chosen by the machine itself, mostly because no DHCP server answered; never forwarded"),
    entry("169.254.169.123/32", "Amazon's time server", "AWS", false, "NTP of every VPC; link-local, so it never leaves the instance's host"),
    entry("169.254.169.253/32", "Amazon's resolver", "AWS", false, "the same as the VPC's base address plus two"),
    entry("169.254.169.254/32", "instance metadata", "AWS, Azure, GCP", false, "credentials and facts of a cloud machine; a proxy must not fetch it for strangers"),
    entry("172.16.0.0/12", "private", "RFC 1918", false, "for networks of one's own; no router of the internet has a route to it, NAT is needed to go out"),
    entry("172.17.0.0/16", "private", "RFC 1918", false, "for networks of one's own; Docker's usual bridge, so a VPC of this range gives trouble with containers"),
    entry("192.0.0.0/24", "IETF protocol assignments", "RFC 6890", false, "for protocols, never for machines"),
    entry("192.0.0.0/29", "IPv4 service continuity", "RFC 7335", false, "inside DS-Lite and 464XLAT"),
    entry("192.0.0.8/32", "IPv4 dummy address", "RFC 7600", false, "source of ICMP errors from routers without IPv4"),
    entry("192.0.0.9/32", "Port Control Protocol anycast", "RFC 7723", true, "the nearest NAT that takes port mapping requests"),
    entry("192.0.0.10/32", "TURN anycast", "RFC 8155", true, "the nearest relay"),
    entry("192.0.0.170/31", "NAT64 discovery", "RFC 7050", false, "what ipv4only.arpa has"),
    entry("192.0.2.0/24", "documentation (TEST-NET-1)", "RFC 5737", false, "for examples; must not appear on the internet"),
    entry("192.31.196.0/24", "AS112-v4", "RFC 7535", true, "answers reverse look-ups of private addresses"),
    entry("192.52.193.0/24", "AMT", "RFC 7450", true, "automatic multicast tunnelling relays"),
    entry("192.88.99.0/24", "6to4 relay anycast, deprecated", "RFC 7526", false, "no longer to be used"),
    entry("192.168.0.0/16", "private", "RFC 1918", false, "for networks of one's own, homes above all; no router of the internet has a route to it, NAT is needed to go out"),
    entry("192.175.48.0/24", "direct delegation AS112", "RFC 7534", true, "answers reverse look-ups of private addresses"),
    entry("198.18.0.0/15", "benchmarking", "RFC 2544", false, "for tests of network devices; must not appear on the internet"),
    entry("198.51.100.0/24", "documentation (TEST-NET-2)", "RFC 5737", false, "for examples; must not appear on the internet"),
    entry("203.0.113.0/24", "documentation (TEST-NET-3)", "RFC 5737", false, "for examples; must not appear on the internet"),
    entry("224.0.0.0/4", "multicast", "RFC 5771", true, "a group of receivers; never a source"),
    entry("224.0.0.0/24", "multicast on the local network", "RFC 5771", false, "routing protocols and discovery; never forwarded"),
    entry("224.0.0.251/32", "multicast DNS", "RFC 6762", false, "names in .local; never forwarded"),
    entry("232.0.0.0/8", "source-specific multicast", "RFC 4607", true, "a group of one sender's receivers"),
    entry("233.252.0.0/24", "documentation (MCAST-TEST-NET)", "RFC 6676", false, "groups for examples"),
    entry("239.0.0.0/8", "multicast of one organisation", "RFC 2365", false, "does not leave its network"),
    entry("240.0.0.0/4", "reserved (class E)", "RFC 1112, 4", false, "never given out; most machines refuse it"),
    entry("255.255.255.255/32", "limited broadcast", "RFC 919, 7", false, "everybody on this link; never forwarded"),
    entry("::/128", "unspecified", "RFC 4291, 2.5.2", false, "a source before a machine knows its address; for a server, all of its own"),
    entry("::1/128", "loopback", "RFC 4291, 2.5.3", false, "the machine itself; never on a wire"),
    entry("::ffff:0:0/96", "IPv4-mapped", "RFC 4291, 2.5.5.2", false, "how IPv6 sockets show IPv4 peers; never on a wire"),
    entry("64:ff9b::/96", "NAT64", "RFC 6052", true, "an IPv4 address as an IPv6-only machine sees it"),
    entry("64:ff9b:1::/48", "NAT64 of one's own", "RFC 8215", false, "the same with a translator of the own network"),
    entry("100::/64", "discard only", "RFC 6666", false, "thrown away by routers, on purpose"),
    entry("100:0:0:1::/64", "dummy prefix", "RFC 9780", false, "never on a wire"),
    entry("2000::/3", "global unicast", "RFC 4291, 2.5.4", true, "routed on the internet once given out"),
    entry("2001::/23", "IETF protocol assignments", "RFC 2928", false, "for protocols, unless a narrower entry says otherwise"),
    entry("2001::/32", "Teredo", "RFC 4380", true, "IPv6 through NATs in UDP; hardly used now"),
    entry("2001:1::1/128", "Port Control Protocol anycast", "RFC 7723", true, "the nearest NAT that takes port mapping requests"),
    entry("2001:1::2/128", "TURN anycast", "RFC 8155", true, "the nearest relay"),
    entry("2001:1::3/128", "DNS-SD service registration anycast", "RFC 9665", true, "the nearest registrar"),
    entry("2001:2::/48", "benchmarking", "RFC 5180", false, "for tests of network devices; must not appear on the internet"),
    entry("2001:3::/32", "AMT", "RFC 7450", true, "automatic multicast tunnelling relays"),
    entry("2001:4:112::/48", "AS112-v6", "RFC 7535", true, "answers reverse look-ups of private addresses"),
    entry("2001:10::/28", "ORCHID, deprecated", "RFC 4843", false, "no longer to be used"),
    entry("2001:20::/28", "ORCHIDv2", "RFC 7343", true, "identities that look like addresses"),
    entry("2001:30::/28", "drone remote identification", "RFC 9374", true, "identities that look like addresses"),
    entry("2001:db8::/32", "documentation", "RFC 3849", false, "for examples; must not appear on the internet"),
    entry("2002::/16", "6to4", "RFC 3056", true, "a site's IPv4 address inside an IPv6 prefix; its relays are gone"),
    entry("2620:4f:8000::/48", "direct delegation AS112", "RFC 7534", true, "answers reverse look-ups of private addresses"),
    entry("3fff::/20", "documentation", "RFC 9637", false, "for examples; must not appear on the internet"),
    entry("5f00::/16", "segment routing (SRv6) identifiers", "RFC 9602", false, "instructions in a packet, not machines"),
    entry("fc00::/7", "unique local (ULA)", "RFC 4193", false, "for networks of one's own; no router of the internet has a route to it"),
    entry("fd00::/8", "unique local (ULA), locally assigned", "RFC 4193", false, "for networks of one's own; the next 40 bits are to be rolled, so that two networks can be joined"),
    entry("fd00:ec2::254/128", "instance metadata", "AWS", false, "credentials and facts of a cloud machine; a proxy must not fetch it for strangers"),
    entry("fe80::/10", "link-local", "RFC 4291, 2.5.6", false, "every interface has one; never forwarded, and only meant with an interface (fe80::1%eth0)"),
    entry("fec0::/10", "site-local, deprecated", "RFC 3879", false, "no longer to be used; take a unique local prefix"),
    entry("ff00::/8", "multicast", "RFC 4291, 2.7", true, "a group of receivers; never a source"),
    entry("ff02::1/128", "all nodes on the link", "RFC 4291, 2.7.1", false, "what IPv6 has in place of broadcast"),
    entry("ff02::2/128", "all routers on the link", "RFC 4291, 2.7.1", false, "where router solicitations go"),
    entry("ff02::fb/128", "multicast DNS", "RFC 6762", false, "names in .local; never forwarded"),
    entry("ff02::1:ff00:0/104", "solicited-node multicast", "RFC 4291, 2.7.1", false, "where neighbour solicitations go, in place of ARP's broadcast"),
];
