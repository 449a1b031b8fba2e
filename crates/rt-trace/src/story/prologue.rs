//! Before the first step: machines get their addresses by DHCP, or help themselves to a link-local one.

use rt_base::{AppRecord, Time};

use super::model::{Chapter, Line};
use super::view::View;
use super::words;
use crate::read::{DhcpExchange, DhcpMessage};

const EXPLAIN: &str = "A machine that has just been switched on has no address. It shouts into its network, and a DHCP \
                       server lends it one, with the way out (gateway) and whom to ask for names (resolver).";

/// One chapter per machine that asked for an address, in order of asking.
pub(crate) fn tell(view: &View<'_>) -> Vec<Chapter> {
    let mut chapters = Vec::new();
    for (&node, read) in &view.read {
        for exchange in
            read.dhcp.iter().filter(|d| d.outgoing && d.messages.iter().any(|m| m.kind == "DISCOVER"))
        {
            chapters.push(chapter(view, node, exchange));
        }
    }
    for (event, record) in view.trace.said() {
        if let AppRecord::AddressAssigned { how, address, interface, .. } = record
            && how == "link-local"
        {
            chapters.push(link_local(view, event, &address.to_string(), interface));
        }
    }
    chapters.sort_by_key(|c| c.start_ns);
    chapters
}

fn chapter(view: &View<'_>, node: rt_base::NodeId, exchange: &DhcpExchange) -> Chapter {
    let start = exchange.messages.first().map_or(Time::ZERO, |m| m.mark.at);
    let mut end = exchange.messages.last().map_or(start, |m| m.mark.at);
    let mut lines: Vec<Line> = exchange.messages.iter().map(|m| message(view, m, start)).collect();
    if !exchange.messages.iter().any(|m| m.kind == "ACK") {
        lines.push(Line::new("dhcp.silence", "so", "nobody gave it an address"));
    }
    for (event, record) in view.trace.said().filter(|(e, _)| e.node() == node && e.at >= start) {
        let AppRecord::AddressAssigned { interface, address, prefix, how, gateway, resolvers, .. } = record
        else {
            continue;
        };
        if how == "dhcp" {
            let gateway = gateway.map_or(String::new(), |g| format!(" · gateway {g}"));
            let resolvers: Vec<String> = resolvers.iter().map(ToString::to_string).collect();
            let text =
                format!("{interface} is now {address}/{prefix}{gateway} · resolver {}", resolvers.join(", "));
            lines
                .push(Line::new("dhcp.bound", "so", text).at(event.at).margin(words::after(start, event.at)));
            end = end.max(event.at);
            break;
        }
    }
    Chapter {
        code: "address".into(),
        title: "get an address".into(),
        subject: view.name(node),
        start_ns: start.0,
        end_ns: end.0,
        remark: format!("xid {:#010x}", exchange.xid),
        explain: EXPLAIN.into(),
        lines,
    }
}

fn message(view: &View<'_>, m: &DhcpMessage, start: Time) -> Line {
    let offered = m.your_address.map_or(String::new(), |a| a.to_string());
    let lease = m
        .lease_secs
        .map_or(String::new(), |s| format!(" for {}", words::about(rt_base::Nanos::from_secs(u64::from(s)))));
    let server = m.server.map_or(String::new(), |s| view.bearer_name(s.into()));
    let (code, text) = match m.kind.as_str() {
        "DISCOVER" => ("dhcp.discover", "to everyone: is there a DHCP server?".to_string()),
        "OFFER" => ("dhcp.offer", format!("from {server}: you could have {offered}{lease}")),
        "REQUEST" => {
            let wanted = m.requested.or(m.client_address).map_or(String::new(), |a| a.to_string());
            ("dhcp.request", format!("to everyone: I take {wanted} from {server}"))
        }
        "ACK" => ("dhcp.ack", format!("from {server}: {offered} is yours{lease}")),
        "NAK" => ("dhcp.nak", format!("from {server}: no, not that one")),
        other => ("dhcp.message", other.to_string()),
    };
    let mut line = Line::new(code, m.kind.clone(), text)
        .at(m.mark.at)
        .margin(words::after(start, m.mark.at))
        .with("from", m.src)
        .with("to", m.dst);
    for option in &m.options {
        line = line.with(&format!("option_{}_{}", option.code, option.name.replace(' ', "_")), &option.value);
    }
    line
}

fn link_local(view: &View<'_>, event: &rt_base::Event, address: &str, interface: &str) -> Chapter {
    let name = view.name(event.node());
    let text = format!(
        "no DHCP server answered, so {interface} took {address} (RFC 3927): good enough for this cable, but nobody beyond it \
         can be reached"
    );
    Chapter {
        code: "address".into(),
        title: "help itself to an address".into(),
        subject: name,
        start_ns: event.at.0,
        end_ns: event.at.0,
        remark: String::new(),
        explain: EXPLAIN.into(),
        lines: vec![Line::new("dhcp.link_local", "so", text).at(event.at)],
    }
}
