//! Addresses that nobody wrote: those of the lines between the routers of sites, which are numbered through (198.18.0.0/15, RFC
//! 2544). One line more and all behind it have others, which is no difference that anybody asked for. So they are named after
//! the ends of their line.
//!
//! Simplified: an address of that network which somebody wrote for a site of his own is named so too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use rt_scenario::model::Model;

/// The hidden addresses of one side.
#[derive(Default)]
pub(super) struct Hidden {
    /// Whose an address is: `aws.router:igw`.
    owners: BTreeMap<IpAddr, String>,
    /// Who has an address in a network, in the order of names.
    lines: BTreeMap<IpNet, Vec<String>>,
}

impl Hidden {
    pub(super) fn of(model: &Model) -> Hidden {
        let numbered = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);
        let mut hidden = Hidden::default();
        for node in model.nodes.iter().filter(|node| node.site.is_some()) {
            for interface in &node.interfaces {
                for net in &interface.addresses {
                    if !matches!(net, IpNet::V4(v4) if numbered.contains(v4)) {
                        continue;
                    }
                    let name = format!("{}:{}", node.name, interface.name);
                    hidden.owners.insert(net.addr(), name.clone());
                    hidden.lines.entry(net.trunc()).or_default().push(name);
                }
            }
        }
        hidden.lines.values_mut().for_each(|ends| ends.sort());
        hidden
    }

    /// The same text with names in place of hidden addresses.
    pub(super) fn name(&self, text: &str) -> String {
        let edge = |c: char| matches!(c, ',' | '.' | ';' | ':' | '(' | ')' | '`');
        let word = |word: &str| {
            let bare = word.trim_matches(edge);
            let name = self.word(bare)?;
            Some(word.replacen(bare, &name, 1))
        };
        let words: Vec<String> = text.split(' ').map(|w| word(w).unwrap_or_else(|| w.to_owned())).collect();
        words.join(" ")
    }

    fn word(&self, word: &str) -> Option<String> {
        if let Ok(address) = word.parse::<IpAddr>() {
            return self.owners.get(&address).cloned();
        }
        if let Ok(socket) = word.parse::<SocketAddr>() {
            return self.owners.get(&socket.ip()).map(|name| format!("{name} port {}", socket.port()));
        }
        let net: IpNet = word.parse().ok()?;
        let ends = self.lines.get(&net.trunc())?;
        match self.owners.get(&net.addr()) {
            Some(own) => {
                let others: Vec<&str> = ends.iter().filter(|e| *e != own).map(String::as_str).collect();
                Some(format!("to {}", others.join(" and ")))
            }
            None => Some(format!("the line {}", ends.join(" - "))),
        }
    }
}
