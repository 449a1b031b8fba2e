//! One zone with authority: from master-file text (RFC 1035, 5) to answers (RFC 1034, 4.3.2).
//!
//! Knows delegations with glue, CNAME chains inside the zone, wildcards (RFC 4592, the simple case), NXDOMAIN and NODATA
//! with SOA. Simplifications: no DNSSEC, no zone transfer, no dynamic update; ANY is answered with what is there.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::base::iana::{Rcode, Rtype};
use domain::base::name::FlattenInto;
use domain::zonefile::inplace::{Entry, Zonefile};

use super::message::{Data, Message, Name, Record};

/// CNAMEs followed inside one zone before we leave the rest to the asker.
const CHAIN_LIMIT: usize = 8;

type Sets = BTreeMap<Rtype, Vec<Record>>;

/// A zone: its records by owner and type.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    names: BTreeMap<Name, Sets>,
}

/// A zone file that cannot be used, with the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneError(pub String);

impl std::fmt::Display for ZoneError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ZoneError {}

/// How a name stands to a zone.
enum Place<'a> {
    /// Below this delegation.
    Delegated(&'a Name, &'a Sets),
    /// The zone has it.
    Here(&'a Sets),
    /// The zone has something below it only (an empty non-terminal).
    Empty,
    /// Covered by this wildcard.
    Wild(&'a Sets),
    /// It does not exist.
    Nowhere,
}

impl Zone {
    /// Reads a master file; relative names belong below `apex`.
    ///
    /// # Errors
    /// [`ZoneError`] with the line, when the text is not a master file.
    pub fn parse(apex: &str, text: &str) -> Result<Zone, ZoneError> {
        let apex = Name::bytes_from_str(apex).map_err(|e| ZoneError(format!("bad zone name {apex}: {e}")))?;
        let mut file = Zonefile::from(text);
        // The reader wants the last line to end.
        file.extend_from_slice(b"\n");
        file.set_origin(apex.clone());
        file.set_default_class(domain::base::iana::Class::IN);
        let mut zone = Zone { apex, names: BTreeMap::new() };
        while let Some(entry) =
            file.next_entry().map_err(|e| ZoneError(format!("zone {}: {e}", zone.apex)))?
        {
            let Entry::Record(record) = entry else {
                return Err(ZoneError(format!("zone {}: $INCLUDE is not supported", zone.apex)));
            };
            let ttl = record.ttl().as_secs();
            let record: domain::base::Record<Name, Data> = record
                .try_flatten_into()
                .map_err(|_| ZoneError(format!("zone {}: a name is too long", zone.apex)))?;
            let (name, data) = record.into_owner_and_data();
            zone.insert(Record { name, ttl, data });
        }
        Ok(zone)
    }

    fn insert(&mut self, record: Record) {
        let sets = self.names.entry(record.name.clone()).or_default();
        sets.entry(record.rtype()).or_default().push(record);
    }

    /// The zone's own name.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The records of a name and type as they stand in the zone.
    #[must_use]
    pub fn records(&self, name: &Name, rtype: Rtype) -> &[Record] {
        self.names.get(name).and_then(|sets| sets.get(&rtype)).map_or(&[], Vec::as_slice)
    }

    /// Fills in the answer to `reply`'s question, which must be about a name at or below the apex.
    pub fn answer(&self, name: &Name, rtype: Rtype, reply: &mut Message) {
        reply.authoritative = true;
        let mut name = name.clone();
        for _ in 0..CHAIN_LIMIT {
            if !name.ends_with(&self.apex) {
                return;
            }
            let (sets, wild) = match self.place(&name) {
                Place::Delegated(cut, sets) => return self.refer(cut, sets, reply),
                Place::Here(sets) => (sets, false),
                Place::Wild(sets) => (sets, true),
                Place::Empty => return self.negative(reply, Rcode::NOERROR),
                Place::Nowhere => return self.negative(reply, Rcode::NXDOMAIN),
            };
            let found = select(sets, rtype, wild.then_some(&name));
            if !found.is_empty() {
                self.add_helpful(&found, reply);
                reply.answer.extend(found);
                return;
            }
            let Some(alias) = select(sets, Rtype::CNAME, wild.then_some(&name)).pop() else {
                return self.negative(reply, Rcode::NOERROR);
            };
            if let Data::Cname(target) = &alias.data {
                name = target.cname().clone();
            }
            reply.answer.push(alias);
            // Names that point at each other: the asker will see the circle.
            if reply.answer.iter().any(|r| r.name == name) {
                return;
            }
        }
    }

    fn place(&self, name: &Name) -> Place<'_> {
        // From the top down, so that the highest delegation wins (RFC 1034, 4.3.2, step 3b).
        let mut suffixes: Vec<Name> = name.iter_suffixes().filter(|s| s.ends_with(&self.apex)).collect();
        suffixes.reverse();
        for cut in suffixes.iter().filter(|s| **s != self.apex) {
            if let Some((owner, sets)) =
                self.names.get_key_value(cut).filter(|(_, sets)| sets.contains_key(&Rtype::NS))
            {
                return Place::Delegated(owner, sets);
            }
        }
        if let Some(sets) = self.names.get(name) {
            return Place::Here(sets);
        }
        if self.is_occupied(name) {
            return Place::Empty;
        }
        // The closest name that exists; a wildcard right below it covers us (RFC 4592, 3.3.1).
        let encloser = suffixes.iter().rev().find(|s| self.names.contains_key(*s) || self.is_occupied(s));
        encloser.and_then(|at| self.names.get(&wildcard_below(at)?)).map_or(Place::Nowhere, Place::Wild)
    }

    /// Whether the zone has names below `name`.
    fn is_occupied(&self, name: &Name) -> bool {
        // Names are in canonical order (RFC 4034, 6.1): what is below a name comes right behind it.
        let mut behind = self.names.range(name.clone()..).map(|(n, _)| n).skip_while(|n| *n == name);
        behind.next().is_some_and(|n| n.ends_with(name))
    }

    /// A referral: NS records in the authority section, glue beside it, no AA.
    fn refer(&self, cut: &Name, sets: &Sets, reply: &mut Message) {
        reply.authoritative = !reply.answer.is_empty();
        let servers = sets.get(&Rtype::NS).cloned().unwrap_or_default();
        for record in &servers {
            if let Data::Ns(ns) = &record.data
                && (ns.nsdname().ends_with(cut) || ns.nsdname().ends_with(&self.apex))
            {
                self.add_addresses(ns.nsdname(), reply);
            }
        }
        reply.authority.extend(servers);
    }

    fn negative(&self, reply: &mut Message, rcode: Rcode) {
        reply.rcode = rcode;
        reply.authority.extend(self.records(&self.apex, Rtype::SOA).iter().cloned().map(|mut soa| {
            // RFC 2308, 3: so that caches keep it no longer than MINIMUM.
            if let Data::Soa(data) = &soa.data {
                soa.ttl = soa.ttl.min(data.minimum().as_secs());
            }
            soa
        }));
    }

    /// Addresses of the names that the answer points to (MX, NS).
    fn add_helpful(&self, found: &[Record], reply: &mut Message) {
        for record in found {
            match &record.data {
                Data::Mx(mx) => self.add_addresses(mx.exchange(), reply),
                Data::Ns(ns) => self.add_addresses(ns.nsdname(), reply),
                _ => {}
            }
        }
    }

    fn add_addresses(&self, name: &Name, reply: &mut Message) {
        for rtype in [Rtype::A, Rtype::AAAA] {
            reply.additional.extend(self.records(name, rtype).iter().cloned());
        }
    }
}

/// Records of one type (or of all, for ANY); a wildcard's get the asked name as owner.
fn select(sets: &Sets, rtype: Rtype, owner: Option<&Name>) -> Vec<Record> {
    let mut found: Vec<Record> = match rtype {
        Rtype::ANY => sets.values().flatten().cloned().collect(),
        _ => sets.get(&rtype).cloned().unwrap_or_default(),
    };
    for record in &mut found {
        if let Some(owner) = owner {
            record.name = owner.clone();
        }
    }
    found
}

/// `*.name`.
fn wildcard_below(name: &Name) -> Option<Name> {
    let mut octets = vec![1, b'*'];
    octets.extend_from_slice(name.as_slice());
    Name::from_octets(Bytes::from(octets)).ok()
}

#[cfg(test)]
mod tests {
    use super::Zone;
    use crate::dns::message::{Message, Name};

    const TEXT: &str = "\
@ 3600 IN SOA ns1.example.com. admin.example.com. 1 7200 900 1209600 300
@ 3600 IN NS ns1
ns1 3600 IN A 192.0.2.53
www 300 IN CNAME web
web 300 IN A 192.0.2.80
far 300 IN CNAME www.example.net.
@ 300 IN MX 10 web
@ 300 IN TXT \"v=spf1 -all\"
sub 3600 IN NS ns.sub
ns.sub 3600 IN A 192.0.2.99
a.b.c 60 IN A 192.0.2.7
*.wild 60 IN A 192.0.2.8
";

    fn check(name: &str, rtype: &str) -> String {
        let zone = Zone::parse("example.com", TEXT).unwrap();
        let name = Name::bytes_from_str(name).unwrap();
        let rtype = rtype.parse().unwrap();
        let query = Message::query(7, name.clone(), rtype);
        let mut reply = query.reply();
        zone.answer(&name, rtype, &mut reply);
        // Through the bytes, so that what is checked is what the wire carries.
        let reply = Message::parse(&reply.emit(512)).unwrap();
        let mut out = format!("{}{}", reply.rcode, if reply.authoritative { " aa" } else { "" });
        for (title, records) in
            [("answer", &reply.answer), ("authority", &reply.authority), ("extra", &reply.additional)]
        {
            for record in records {
                out += &format!("\n{title}: {record}").replace('\t', " ");
            }
        }
        out
    }

    #[test]
    fn answers() {
        let cases = [
            ("web.example.com", "A"),
            ("WWW.example.com", "A"),
            ("far.example.com", "A"),
            ("example.com", "MX"),
            ("example.com", "TXT"),
            ("web.example.com", "AAAA"),
            ("nope.example.com", "A"),
            ("b.c.example.com", "A"),
            ("x.sub.example.com", "A"),
            ("sub.example.com", "A"),
            ("any.wild.example.com", "A"),
        ];
        let all: Vec<String> = cases.iter().map(|(n, t)| format!("{n} {t}: {}", check(n, t))).collect();
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn truncation_sets_tc_and_keeps_the_question() {
        let text = (0..60).map(|i| format!("big 60 IN A 192.0.2.{i}\n")).collect::<String>();
        let zone = Zone::parse("example.com", &text).unwrap();
        let name = Name::bytes_from_str("big.example.com").unwrap();
        let mut reply = Message::query(7, name.clone(), super::Rtype::A).reply();
        zone.answer(&name, super::Rtype::A, &mut reply);
        let short = Message::parse(&reply.emit(512)).unwrap();
        assert!(short.truncated && short.answer.is_empty() && short.question.is_some());
        let long = Message::parse(&reply.emit(65_535)).unwrap();
        assert!(!long.truncated && long.answer.len() == 60);
    }
}
