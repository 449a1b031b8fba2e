//! What a port or a range of ports means: IANA's three parts (RFC 6335, section 6), the ranges from which systems take the
//! ports of outgoing connections, and the names of the ports that people meet.

use serde_json::{Value, json};

use super::table;

/// RFC 6335's parts.
const PARTS: [(u16, u16, &str, &str); 3] = [
    (0, 1023, "well known", "services that everybody knows; on Unix only root may listen here"),
    (1024, 49151, "registered", "entered at IANA by applications, free to use otherwise"),
    (49152, 65535, "ephemeral", "never registered, for the near end of connections"),
];

/// Where outgoing connections take their port from, unless configured otherwise.
const OUTGOING: [(u16, u16, &str); 5] = [
    (32768, 60999, "Linux (net.ipv4.ip_local_port_range)"),
    (49152, 65535, "Windows since Vista and macOS"),
    (10000, 65535, "FreeBSD (net.inet.ip.portrange)"),
    (1025, 5000, "Windows XP and 2003, old BSDs"),
    (
        1024,
        65535,
        "AWS NAT gateways, load balancers and Lambda, and of clients in general (what a network ACL must let back in)",
    ),
];

/// So many names are listed at most.
const MOST_NAMES: usize = 8;

/// Ports that people meet.
#[rustfmt::skip]
const NAMES: [(u16, &str); 53] = [
    (7, "echo"), (20, "FTP data"), (21, "FTP"), (22, "SSH"), (23, "Telnet"), (25, "SMTP"), (53, "DNS"),
    (67, "DHCP server"), (68, "DHCP client"), (69, "TFTP"), (80, "HTTP"), (88, "Kerberos"), (110, "POP3"),
    (123, "NTP"), (143, "IMAP"), (161, "SNMP"), (162, "SNMP traps"), (179, "BGP"), (389, "LDAP"),
    (443, "HTTPS, and QUIC over UDP"), (445, "SMB"), (465, "SMTP in TLS"), (500, "IKE (IPsec)"), (514, "syslog"),
    (546, "DHCPv6 client"), (547, "DHCPv6 server"), (587, "mail submission"), (631, "IPP (printing)"),
    (636, "LDAP in TLS"), (853, "DNS in TLS or QUIC"), (993, "IMAP in TLS"), (995, "POP3 in TLS"),
    (1194, "OpenVPN"), (1433, "SQL Server"), (1521, "Oracle"), (1883, "MQTT"), (2049, "NFS"), (2379, "etcd"),
    (3306, "MySQL"), (3389, "RDP"), (3478, "STUN and TURN"), (4500, "IPsec through NAT"), (4789, "VXLAN"),
    (5060, "SIP"), (5353, "multicast DNS"), (5432, "PostgreSQL"), (6081, "GENEVE"), (6379, "Redis"),
    (6443, "Kubernetes API"), (8080, "HTTP, second choice"), (9092, "Kafka"), (27017, "MongoDB"), (51820, "WireGuard"),
];

/// All about them.
pub(super) fn about(first: u16, last: u16) -> (String, Value) {
    let one = first == last;
    let title = if one { format!("port {first}") } else { format!("ports {first} to {last}") };
    let count = u32::from(last - first) + 1;
    let mut rows = Vec::new();
    if !one {
        rows.push(("how many", count.to_string()));
    }
    let names: Vec<_> = NAMES.iter().filter(|(port, _)| (first..=last).contains(port)).collect();
    if !names.is_empty() {
        let word =
            |(port, name): &&(u16, &str)| if one { (*name).to_owned() } else { format!("{name} {port}") };
        let shown: Vec<String> = names.iter().take(MOST_NAMES).map(word).collect();
        let more = names.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        rows.push(("usually", format!("{}{more}", shown.join(", "))));
    }
    let parts: Vec<_> = PARTS.iter().filter(|(from, to, ..)| first <= *to && last >= *from).collect();
    for (from, to, name, meaning) in &parts {
        rows.push(match one {
            true => ("is", format!("{name} ({from} to {to}): {meaning}")),
            false => (*name, format!("{} to {}: {meaning}", first.max(*from), last.min(*to))),
        });
    }
    let taken: Vec<_> = OUTGOING.iter().filter(|(from, to, _)| first <= *to && last >= *from).collect();
    for (from, to, who) in &taken {
        let how = match (first <= *from && last >= *to, one) {
            (true, false) if (first, last) == (*from, *to) => "exactly the range of",
            (true, false) => "holds the range of",
            _ if first >= *from && last <= *to => "inside the range of",
            _ => "overlaps the range of",
        };
        rows.push(("outgoing", format!("{how} {who}: {from} to {to}")));
    }
    if first == 0 {
        rows.push((
            "note",
            "port 0 is never on a wire: a program that binds it gets any free one".to_owned(),
        ));
    }
    let json = json!({
        "first": first,
        "last": last,
        "count": count,
        "names": names.iter().map(|(port, name)| json!({ "port": port, "name": name })).collect::<Vec<_>>(),
        "parts": parts.iter().map(|(from, to, name, _)| json!({ "first": from, "last": to, "name": name })).collect::<Vec<_>>(),
        "outgoing": taken.iter().map(|(from, to, who)| json!({ "first": from, "last": to, "of": who })).collect::<Vec<_>>(),
    });
    (table(&title, &rows), json)
}
