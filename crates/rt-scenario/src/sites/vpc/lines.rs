//! Lines of security groups and network ACLs: text to conditions.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_rules::{Action, IcmpMatch, Match, PortRange};

use crate::units;

/// Which way a line is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Toward {
    In,
    Out,
}

/// One end that a line names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    Net(IpNet),
    /// The members of the line's own group.
    Own,
    Group(String),
    List(String),
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) action: Action,
    /// Protocol, ports and ICMP type.
    pub(super) when: Match,
    /// The other ends; none is any.
    pub(super) ends: Vec<End>,
}

/// How lines look.
pub(super) const HELP: &str = "lines look like `tcp port 443 from 0.0.0.0/0`, `all from self`, `udp port 53 to group dns`, `icmp type 8 from any`";
pub(super) const ACL_HELP: &str = "lines look like `allow tcp port 443 from 0.0.0.0/0`, `deny all from 198.51.100.0/24`, `allow tcp port 1024-65535 to any`";

/// Reads a line of a security group, which begins with `allow` or at once with its conditions.
pub(super) fn group_line(text: &str, toward: Toward) -> Result<Line, String> {
    let mut words = text.split_whitespace().peekable();
    let _ = words.next_if(|w| *w == "allow");
    if words.peek() == Some(&"deny") {
        return Err("a security group only allows; a network ACL can deny".to_owned());
    }
    conditions(Action::Accept, words, (toward, true))
}

/// Reads a line of a network ACL.
pub(super) fn acl_line(text: &str, toward: Toward) -> Result<Line, String> {
    let mut words = text.split_whitespace().peekable();
    let action = match words.next() {
        Some("allow") => Action::Accept,
        Some("deny") => Action::Drop,
        _ => return Err("it begins with `allow` or `deny`".to_owned()),
    };
    conditions(action, words, (toward, false))
}

fn conditions<'t>(
    action: Action,
    words: impl Iterator<Item = &'t str>,
    (toward, groups): (Toward, bool),
) -> Result<Line, String> {
    let mut line = Line { action, when: Match::default(), ends: Vec::new() };
    let mut code = None;
    let mut any = false;
    let mut words = words;
    let mut something = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("something must follow `{word}`"));
        something = true;
        match word {
            "all" => {}
            "tcp" => line.when.protocol = Some(6),
            "udp" => line.when.protocol = Some(17),
            "icmp" => line.when.protocol = Some(1),
            "protocol" => {
                let number = value()?;
                line.when.protocol =
                    Some(number.parse().map_err(|_| format!("`{number}` is not a protocol number"))?);
            }
            "port" | "ports" => line.when.dport = Some(units::ports(value()?)?),
            "type" => line.when.icmp = Some(IcmpMatch { kind: number(value()?)?, code: None }),
            "code" => code = Some(number(value()?)?),
            "from" | "to" => {
                if (word == "from") != (toward == Toward::In) {
                    let fits = if toward == Toward::In { "from" } else { "to" };
                    return Err(format!("a line for this direction says `{fits}`, not `{word}`"));
                }
                let first = value()?;
                match first {
                    "any" | "anywhere" => any = true,
                    "self" if groups => line.ends.push(End::Own),
                    "group" if groups => line.ends.push(End::Group(value()?.to_owned())),
                    "self" | "group" => return Err("a network ACL knows networks, not groups".to_owned()),
                    "prefix-list" => line.ends.push(End::List(value()?.to_owned())),
                    nets => line.ends.extend(networks(nets)?),
                }
            }
            other => return Err(format!("`{other}` is not a condition")),
        }
    }
    if !something {
        return Err("it says nothing; `all` is every packet".to_owned());
    }
    if any {
        line.ends.clear();
    }
    finish(line, code)
}

fn finish(mut line: Line, code: Option<u8>) -> Result<Line, String> {
    let protocol = line.when.protocol;
    if line.when.dport.is_some() && !matches!(protocol, Some(6 | 17)) {
        return Err("`port` needs `tcp` or `udp`".to_owned());
    }
    if line.when.dport == Some(PortRange { first: 1, last: 65_535 }) {
        // `0-65535` of Terraform cannot be written; `1-` is as good.
        line.when.dport = None;
    }
    if line.when.icmp.is_some() && protocol != Some(1) {
        return Err("`type` needs `icmp`".to_owned());
    }
    match (&mut line.when.icmp, code) {
        (Some(icmp), code) => icmp.code = code,
        (None, Some(_)) => return Err("`code` needs `icmp type`".to_owned()),
        (None, None) => {}
    }
    Ok(line)
}

fn number(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number from 0 to 255"))
}

/// `10.0.0.0/8,192.168.1.5`.
fn networks(text: &str) -> Result<Vec<End>, String> {
    let one = |text: &str| {
        let whole = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let net = text.parse::<IpNet>().ok().map(|n| n.trunc()).or_else(whole);
        net.filter(|n| matches!(n, IpNet::V4(_)))
            .map(End::Net)
            .ok_or_else(|| format!("`{text}` is not a network"))
    };
    text.split(',').map(one).collect()
}
