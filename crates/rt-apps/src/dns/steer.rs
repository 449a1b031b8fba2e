//! Geo DNS: an answer that depends on where the asker is.
//!
//! A server with several places gives each asker only the address of the place nearest to it. It sees who asks, which is
//! the resolver, not the person: whoever uses a resolver far away is sent to a place near that, unless the resolver tells
//! the person's network (EDNS Client Subnet, RFC 7871).
//!
//! Not for: knowing which place is near, or which network lies where; the scenario tells, as a table that a CDN buys.

use std::net::{IpAddr, SocketAddr};

use domain::base::iana::Rtype;
use ipnet::IpNet;
use rt_base::AppRecord;

use super::message::{Message, Name, Record};

/// The places of a name, and which networks are nearest to which.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Steering {
    /// The name that this is for.
    pub name: String,
    /// Address and place of each.
    pub places: Vec<(IpAddr, String)>,
    /// Where networks lie, and the index of the place nearest to each; the longest prefix counts.
    pub networks: Vec<Whereabouts>,
}

/// Where a network lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whereabouts {
    /// The network.
    pub network: IpNet,
    /// The city.
    pub city: String,
    /// The index of the nearest of [`Steering::places`].
    pub nearest: usize,
}

impl Steering {
    fn is_for(&self, name: &Name) -> bool {
        self.name.eq_ignore_ascii_case(name.to_string().trim_end_matches('.'))
    }

    /// Leaves one address in the answer to `asker`'s question, and says which and why.
    pub(super) fn steer(&self, query: &Message, asker: SocketAddr, reply: &mut Message) -> Option<AppRecord> {
        let (name, _) = query.question.as_ref()?;
        let mine = |r: &Record| r.rtype() == Rtype::A && self.is_for(&r.name);
        if !reply.answer.iter().any(mine) {
            return None;
        }
        let told = query.client_subnet.map(|subnet| subnet.network);
        let about = told.map_or(asker.ip(), |network| network.addr());
        let who = match told {
            Some(network) => format!("the client's network {network}, which the resolver tells,"),
            None => format!("the asker {about}"),
        };
        let known = self.networks.iter().filter(|one| one.network.contains(&about));
        let known = known.max_by_key(|one| one.network.prefix_len());
        let place = known.and_then(|one| Some((one, self.places.get(one.nearest)?)));
        let (chosen, why) = match place {
            Some((one, (address, place))) => {
                reply.answer.retain(|r| !mine(r) || r.shown() == address.to_string());
                if let (Some(subnet), Some(asked)) = (&mut reply.client_subnet, told) {
                    // RFC 7871, 7.2.1: the answer is for as much of the address as was told.
                    subnet.scope = asked.prefix_len();
                }
                let places: Vec<&str> = self.places.iter().map(|(_, place)| place.as_str()).collect();
                let all = format!("out of {}", places.join(", "));
                (Some(*address), format!("{who} is in {}: {place} is nearest, {all}", one.city))
            }
            None => (None, format!("nobody knows where {who} is: all addresses, by turns")),
        };
        Some(AppRecord::Steered { asker, id: query.id, name: name.to_string(), chosen, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::message::Subnet;
    use crate::dns::zone::Zone;

    fn steering() -> Steering {
        let whereabouts = |network: &str, city: &str, nearest| Whereabouts {
            network: network.parse().unwrap(),
            city: city.to_owned(),
            nearest,
        };
        Steering {
            name: "cdn.test".into(),
            places: vec![
                ("10.1.0.1".parse().unwrap(), "tokyo".into()),
                ("10.2.0.1".parse().unwrap(), "paris".into()),
            ],
            networks: vec![
                whereabouts("203.0.113.0/24", "osaka", 0),
                whereabouts("8.8.8.0/24", "frankfurt", 1),
                whereabouts("8.8.8.128/25", "osaka", 0),
            ],
        }
    }

    /// What `asker` hears about `name`, and what was said about it.
    fn ask(name: &str, asker: &str, subnet: Option<&str>) -> (String, String, Option<u8>) {
        let zone = "a.test. 60 IN CNAME cdn.test.\n".to_owned()
            + "cdn.test. 60 IN A 10.1.0.1\ncdn.test. 60 IN A 10.2.0.1\n";
        let zone = Zone::parse("test", &zone).unwrap();
        let mut query = Message::query(7, Name::bytes_from_str(name).unwrap(), Rtype::A);
        query.edns = Some(1232);
        query.client_subnet = subnet.map(|network| Subnet { network: network.parse().unwrap(), scope: 0 });
        let mut reply = query.reply();
        zone.answer(&query.question.clone().unwrap().0, Rtype::A, &mut reply);
        let asker = SocketAddr::new(asker.parse().unwrap(), 4000);
        let said = steering().steer(&query, asker, &mut reply);
        let why = said.map_or_else(String::new, |said| match said {
            AppRecord::Steered { why, .. } => why,
            _ => String::new(),
        });
        let reply = Message::parse(&reply.emit(512)).unwrap();
        let addresses: Vec<String> = reply.answer.iter().map(Record::shown).collect();
        (addresses.join(" "), why, reply.client_subnet.map(|subnet| subnet.scope))
    }

    #[test]
    fn an_asker_gets_the_nearest_place() {
        let (got, why, _) = ask("cdn.test", "8.8.8.8", None);
        assert_eq!(got, "10.2.0.1");
        assert_eq!(why, "the asker 8.8.8.8 is in frankfurt: paris is nearest, out of tokyo, paris");
        // The longest prefix, and behind an alias.
        assert_eq!(ask("a.test", "8.8.8.200", None).0, "cdn.test 10.1.0.1");
        let (got, why, _) = ask("cdn.test", "192.0.2.1", None);
        assert_eq!(
            (got.as_str(), why.as_str()),
            ("10.1.0.1 10.2.0.1", "nobody knows where the asker 192.0.2.1 is: all addresses, by turns")
        );
        assert_eq!(ask("b.test", "8.8.8.8", None).1, "");
    }

    #[test]
    fn a_resolver_that_tells_the_network_gets_an_answer_for_it() {
        let (got, why, scope) = ask("cdn.test", "8.8.8.8", Some("203.0.113.0/24"));
        assert_eq!((got.as_str(), scope), ("10.1.0.1", Some(24)));
        assert!(
            why.starts_with("the client's network 203.0.113.0/24, which the resolver tells, is in osaka"),
            "{why}"
        );
        // An answer for everybody says so (RFC 7871, 7.2.1).
        assert_eq!(ask("cdn.test", "8.8.8.8", Some("192.0.2.0/24")).2, Some(0));
    }
}
