//! A recursive resolver: walks the tree from the root for others, and remembers what it learns (RFC 1034, 5.3.3).
//!
//! Follows referrals with glue and without (it then looks up the server's own name first), CNAME chains, and caches all of
//! it with TTLs, negative answers too. Believes a server only about names at or below the zone that it was asked for.
//!
//! Bounded: [`QUESTIONS`] questions to servers per question of a client, so that no zone can make it run in circles or
//! attack others. Simplifications: servers are asked in the order in which the zone names them, silent ones last, instead
//! of by measured round-trip time; no query-name minimisation (RFC 9156), no DNSSEC, no prefetch; equal questions that
//! come at the same time are each worked on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::base::iana::{Rcode, Rtype};
use ipnet::IpNet;
use rt_base::{AppRecord, CacheKind, CacheOutcome, Nanos, ReqId, ReqKind, Time, Wait};

use super::cache::{Found, Known, NameCache};
use super::exchange::{self, NoAnswer};
use super::message::{Data, EDNS_SIZE, Message, Name, Record, Subnet};
use super::rotate::Rotation;
use super::server::{self, Asked};
use crate::net::Net;

/// Questions to servers on behalf of one question of a client.
const QUESTIONS: u32 = 64;

/// CNAMEs followed.
const ALIASES: usize = 12;

/// How long answers about names of its own may be kept (a private zone of AWS: 60 s).
const OWN_TTL: u32 = 60;

/// Names of servers looked up within one another.
const DEPTH: u32 = 5;

/// Referrals down the tree for one name.
const REFERRALS: usize = 24;

/// Wait for a server this long, then for twice as long in the second round.
const PATIENCE: Nanos = Nanos::from_millis(1500);

/// Rounds over the servers of a zone.
const ROUNDS: u64 = 2;

/// A server that was silent is asked last for this long.
const SULK: Nanos = Nanos::from_secs(300);

/// What a recursive resolver needs to know.
#[derive(Clone, Debug, Default)]
pub struct RecursiveConfig {
    /// Root servers: name and address.
    pub roots: Vec<(String, IpAddr)>,
    /// Names that it answers itself, with their addresses: a private zone. It knows nothing else of these names.
    pub own: Vec<(String, IpAddr)>,
    /// Time per question of a client.
    pub think: Nanos,
    /// Takes questions and never answers.
    pub silent: bool,
    /// Several addresses of a name stand in each answer as they came, instead of by turns.
    pub fixed_order: bool,
    /// It tells authoritative servers the network of its client (EDNS Client Subnet, RFC 7871).
    pub client_subnet: bool,
}

/// A recursive resolver on port 53. Runs until the end.
///
/// # Errors
/// Port 53 is taken.
pub async fn recursive_resolver(net: Net, config: RecursiveConfig) -> std::io::Result<()> {
    if config.silent {
        return server::serve_silence(&net).await;
    }
    let shared = Arc::new(Shared {
        net: net.clone(),
        roots: config.roots,
        own: config.own,
        memory: Mutex::default(),
        rotation: Rotation::new(config.fixed_order),
        client_subnet: config.client_subnet,
    });
    let think = config.think;
    server::serve(net, move |query, asked| {
        let shared = Arc::clone(&shared);
        async move { serve_client(&shared, think, query, asked).await }
    })
    .await
}

struct Shared {
    net: Net,
    roots: Vec<(String, IpAddr)>,
    own: Vec<(String, IpAddr)>,
    memory: Mutex<Memory>,
    rotation: Rotation,
    client_subnet: bool,
}

#[derive(Default)]
struct Memory {
    cache: NameCache,
    /// Servers that were silent, and until when that counts.
    silent: BTreeMap<IpAddr, Time>,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of a name of its own; none of a type that it has not.
    fn own_answer(&self, name: &Name, rtype: Rtype) -> Option<Vec<Record>> {
        let text = name.to_string().to_lowercase();
        let mut mine = self.own.iter().filter(|(own, _)| *own == text).peekable();
        mine.peek()?;
        let v4 = mine.filter_map(|(_, address)| match address {
            IpAddr::V4(address) if rtype == Rtype::A => Some(*address),
            _ => None,
        });
        let record = |address| Record {
            name: name.clone(),
            ttl: OWN_TTL,
            data: Data::A(domain::rdata::A::new(address)),
        };
        Some(v4.map(record).collect())
    }

    fn cached(&self, name: &Name, rtype: Rtype) -> Option<Found> {
        self.memory().cache.get(self.net.now(), name, rtype)
    }

    fn keep(&self, name: &Name, rtype: Rtype, known: (Known, Option<IpNet>)) -> Nanos {
        self.memory().cache.put_for(self.net.now(), name.clone(), rtype, known)
    }
}

async fn serve_client(shared: &Shared, think: Nanos, query: Message, asked: Asked) -> Message {
    let mut reply = query.reply();
    reply.recursion_available = true;
    let Some((name, rtype)) = query.question.clone() else {
        reply.rcode = Rcode::FORMERR;
        return reply;
    };
    let net = &shared.net;
    let req = net.new_req();
    let (method, target) = (rtype.to_string(), name.to_string());
    net.say(AppRecord::RequestBegin { req, parent: ReqId(0), kind: ReqKind::Lookup, method, target });
    let Asked { local, from } = asked;
    net.say(AppRecord::UsesConnection { req, local, remote: from, reused: false, protocol: "dns".into() });
    net.sleep(think, Wait::DnsThink).await;
    let subnet = shared.client_subnet.then(|| network_of(from.ip()));
    let mut walk = Walk { shared, req, left: QUESTIONS, resolving: BTreeSet::new(), subnet };
    let result = match shared.own_answer(&name, rtype) {
        Some(answer) => Ok(Resolved { rcode: Rcode::NOERROR, answer, soa: None }),
        None => walk.resolve(name, rtype, 0).await,
    };
    let note = match result {
        Ok(Resolved { rcode, answer, soa }) => {
            reply.rcode = rcode;
            reply.answer = answer;
            shared.rotation.turn(&mut reply.answer);
            reply.authority = soa.into_iter().collect();
            if rcode == Rcode::NXDOMAIN { "no such name".into() } else { data_of(&reply.answer) }
        }
        Err(Failure(why)) => {
            reply.rcode = Rcode::SERVFAIL;
            why
        }
    };
    let (status, ok) = (u16::from(reply.rcode.to_int()), reply.rcode == Rcode::NOERROR);
    net.say(AppRecord::RequestEnd { req, status, ok, body_bytes: 0, note });
    reply
}

/// What a name comes to.
struct Resolved {
    rcode: Rcode,
    answer: Vec<Record>,
    soa: Option<Record>,
}

/// Why it comes to nothing; one sentence.
struct Failure(String);

/// The work for one question of a client.
struct Walk<'a> {
    shared: &'a Shared,
    req: ReqId,
    left: u32,
    /// Names of servers being looked up, so that two zones that name each other's servers end in a failure.
    resolving: BTreeSet<Name>,
    /// The client's network, if it is told to authoritative servers.
    subnet: Option<IpNet>,
}

/// As much of an address as is told: the rest is the client's own business (RFC 7871, 11.1).
fn network_of(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { 24 } else { 56 };
    IpNet::new_assert(address, length).trunc()
}

/// The servers of a zone: names, and addresses as far as they are known.
struct Servers {
    zone: Name,
    names: Vec<Name>,
    known: Vec<(Name, IpAddr)>,
}

impl<'a> Walk<'a> {
    /// Follows CNAMEs until there is an answer. Boxed, because looking up a server's name comes back here.
    fn resolve<'b>(
        &'b mut self,
        name: Name,
        rtype: Rtype,
        depth: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Resolved, Failure>> + Send + 'b>>
    where
        'a: 'b,
    {
        Box::pin(async move {
            let mut chain: Vec<Record> = Vec::new();
            let mut name = name;
            for _ in 0..ALIASES {
                match self.step(&name, rtype, depth).await? {
                    Known::NoName(soa) => return Ok(Resolved { rcode: Rcode::NXDOMAIN, answer: chain, soa }),
                    Known::NoData(soa) => return Ok(Resolved { rcode: Rcode::NOERROR, answer: chain, soa }),
                    Known::Records(records) => {
                        let alias = alias_of(&records, &name, rtype);
                        chain.extend(records);
                        match alias {
                            Some(target) if chain.iter().any(|r| r.name == target) => {
                                return Err(Failure(format!("CNAMEs that lead back to {target}")));
                            }
                            Some(target) => name = target,
                            None => return Ok(Resolved { rcode: Rcode::NOERROR, answer: chain, soa: None }),
                        }
                    }
                }
            }
            Err(Failure(format!("more than {ALIASES} CNAMEs from one to the next")))
        })
    }

    /// One name: from the cache, or from its servers. A CNAME counts as an answer.
    async fn step(&mut self, name: &Name, rtype: Rtype, depth: u32) -> Result<Known, Failure> {
        let theirs = self.subnet.and_then(|_| {
            self.shared.memory().cache.get_for(self.shared.net.now(), name, rtype, self.subnet)
        });
        let found = theirs.or_else(|| self.shared.cached(name, rtype));
        let found =
            found.or_else(|| self.shared.cached(name, Rtype::CNAME).filter(|_| rtype != Rtype::CNAME));
        let (outcome, note) = match &found {
            Some(f) => (CacheOutcome::Hit { age: f.age, fresh_for: f.fresh_for }, words(&f.known)),
            None => (CacheOutcome::Miss, String::new()),
        };
        self.say_cache(format!("{name} {rtype}"), outcome, note);
        match found {
            Some(found) => Ok(found.known),
            None => self.iterate(name, rtype, depth).await,
        }
    }

    /// From the closest zone whose servers are known, down referral by referral.
    async fn iterate(&mut self, name: &Name, rtype: Rtype, depth: u32) -> Result<Known, Failure> {
        let mut servers = self.closest_servers(name);
        for _ in 0..REFERRALS {
            let answer = self.ask_zone(&mut servers, name, rtype, depth).await?;
            match self.judge(&servers, name, rtype, answer) {
                Verdict::Answer(known) => return Ok(known),
                Verdict::Referral(below) => servers = below,
                Verdict::Lame => {
                    return Err(Failure(format!("the servers of {} do not know it", servers.zone)));
                }
            }
        }
        Err(Failure(format!("more than {REFERRALS} referrals")))
    }

    /// The deepest zone above `name` whose servers the cache knows; else the root.
    fn closest_servers(&self, name: &Name) -> Servers {
        for zone in name.iter_suffixes().map(|s| Name::from_octets(s.into_octets())).filter_map(Result::ok) {
            if zone.is_root() {
                break;
            }
            let Some(found) = self.shared.cached(&zone, Rtype::NS) else { continue };
            let Known::Records(records) = &found.known else { continue };
            let outcome = CacheOutcome::Hit { age: found.age, fresh_for: found.fresh_for };
            self.say_cache(format!("{zone} NS"), outcome, words(&found.known));
            return self.servers_of(zone, records);
        }
        let known: Vec<(Name, IpAddr)> = self
            .shared
            .roots
            .iter()
            .filter_map(|(name, address)| Some((Name::bytes_from_str(name).ok()?, *address)))
            .collect();
        Servers { zone: Name::root_bytes(), names: known.iter().map(|(n, _)| n.clone()).collect(), known }
    }

    fn servers_of(&self, zone: Name, records: &[Record]) -> Servers {
        let mut names = Vec::new();
        let mut known = Vec::new();
        for record in records {
            let Data::Ns(ns) = &record.data else { continue };
            names.push(ns.nsdname().clone());
            if let Some(Found { known: Known::Records(found), .. }) =
                self.shared.cached(ns.nsdname(), Rtype::A)
            {
                known.extend(found.iter().filter_map(address).map(|a| (ns.nsdname().clone(), a)));
            }
        }
        Servers { zone, names, known }
    }

    /// Asks the servers of a zone until one answers.
    async fn ask_zone(
        &mut self,
        servers: &mut Servers,
        name: &Name,
        rtype: Rtype,
        depth: u32,
    ) -> Result<Message, Failure> {
        let mut last = format!("no server of {} has an address", servers.zone);
        for round in 0..ROUNDS {
            let mut tried = BTreeSet::new();
            while let Some((server, address)) = self.next_server(servers, &tried, depth).await {
                tried.insert(address);
                match self.ask_server(servers, (&server, address), (name, rtype), round).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failure(why)) => last = why,
                }
                if self.left == 0 {
                    return Err(Failure(format!("gave up after {QUESTIONS} questions")));
                }
            }
        }
        Err(Failure(last))
    }

    /// The next server not tried in this round: those that answer first; then one whose address must be looked up.
    async fn next_server(
        &mut self,
        servers: &mut Servers,
        tried: &BTreeSet<IpAddr>,
        depth: u32,
    ) -> Option<(Name, IpAddr)> {
        loop {
            let now = self.shared.net.now();
            let pick = {
                let memory = self.shared.memory();
                let sulks = |a: &IpAddr| memory.silent.get(a).is_some_and(|&until| until > now);
                let untried = servers.known.iter().filter(|(_, a)| !tried.contains(a));
                untried.min_by_key(|(_, a)| sulks(a)).cloned()
            };
            if pick.is_some() {
                return pick;
            }
            let nameless =
                |n: &&Name| !servers.known.iter().any(|(k, _)| k == *n) && !self.resolving.contains(*n);
            let unknown = servers.names.iter().find(nameless).cloned()?;
            servers.names.retain(|n| *n != unknown);
            if depth >= DEPTH || self.left == 0 {
                return None;
            }
            self.resolving.insert(unknown.clone());
            let found = self.resolve(unknown.clone(), Rtype::A, depth + 1).await;
            self.resolving.remove(&unknown);
            let records = found.map(|r| r.answer).unwrap_or_default();
            servers.known.extend(records.iter().filter_map(address).map(|a| (unknown.clone(), a)));
        }
    }

    /// One question to one server, told as a request of its own.
    async fn ask_server(
        &mut self,
        servers: &Servers,
        (server, address): (&Name, IpAddr),
        (name, rtype): (&Name, Rtype),
        round: u64,
    ) -> Result<Message, Failure> {
        self.left = self.left.saturating_sub(1);
        let net = &self.shared.net;
        let req = net.new_req();
        let (kind, method, target) = (ReqKind::ResolverQuery, rtype.to_string(), name.to_string());
        net.say(AppRecord::RequestBegin { req, parent: self.req, kind, method, target });
        let text = format!("asks {server} ({address}), which serves {}", zone_words(&servers.zone));
        net.say(AppRecord::Note { req, code: "dns.ask".into(), text });
        let mut query = Message::query(net.next_query_id(), name.clone(), rtype);
        query.edns = Some(EDNS_SIZE);
        // Not to the root and the top-level domains, whose answers are the same for everybody.
        let leaf = servers.zone.label_count() > 2;
        query.client_subnet = self.subnet.filter(|_| leaf).map(|network| Subnet { network, scope: 0 });
        let patience = PATIENCE.times(1 << round);
        let outcome = match net.udp_bind(None, 0, None) {
            Ok(socket) => {
                exchange::say_uses(net, req, &socket, address, false);
                exchange::ask(net, req, &socket, address, &query, patience).await
            }
            Err(error) => Err(NoAnswer::Network(error)),
        };
        let (status, result, note) = match outcome {
            Ok(answer) if answer.rcode == Rcode::NOERROR || answer.rcode == Rcode::NXDOMAIN => {
                let note = what_it_says(name, &answer);
                (u16::from(answer.rcode.to_int()), Ok(answer), note)
            }
            Ok(answer) => {
                let why = format!("{server} answers {}", answer.rcode);
                (u16::from(answer.rcode.to_int()), Err(Failure(why.clone())), why)
            }
            Err(error) => {
                let why = match error {
                    NoAnswer::Silent => format!("no answer from {server} within {patience}"),
                    NoAnswer::Network(error) => format!("{server}: {error}"),
                };
                self.shared.memory().silent.insert(address, net.now() + SULK);
                (0, Err(Failure(why.clone())), why)
            }
        };
        net.say(AppRecord::RequestEnd { req, status, ok: result.is_ok(), body_bytes: 0, note });
        result
    }

    /// Takes from an answer what its server may say, and remembers it.
    fn judge(&self, servers: &Servers, name: &Name, rtype: Rtype, answer: Message) -> Verdict {
        let zone = &servers.zone;
        let believed = |r: &&Record| r.name.ends_with(zone);
        let soa = answer.authority.iter().find(|r| r.rtype() == Rtype::SOA && believed(r)).cloned();
        let own: Vec<Record> =
            answer.answer.iter().filter(believed).filter(|r| r.name == *name).cloned().collect();
        for wanted in [rtype, Rtype::CNAME] {
            let records: Vec<Record> =
                own.iter().filter(|r| r.rtype() == wanted || rtype == Rtype::ANY).cloned().collect();
            if !records.is_empty() {
                let known = Known::Records(records);
                match answer.client_subnet.filter(|subnet| subnet.scope > 0) {
                    Some(_) => self.keep_for(name, wanted, (known.clone(), self.subnet)),
                    None => self.keep(name, wanted, known.clone()),
                }
                self.keep_chain(zone, name, &answer);
                return Verdict::Answer(known);
            }
        }
        if answer.rcode == Rcode::NXDOMAIN {
            let known = Known::NoName(soa);
            self.keep(name, rtype, known.clone());
            return Verdict::Answer(known);
        }
        let cut = |r: &&Record| {
            r.rtype() == Rtype::NS && name.ends_with(&r.name) && r.name.ends_with(zone) && r.name != *zone
        };
        let Some(below) = answer.authority.iter().find(cut).map(|r| r.name.clone()) else {
            if !answer.authoritative && soa.is_none() {
                return Verdict::Lame;
            }
            let known = Known::NoData(soa);
            self.keep(name, rtype, known.clone());
            return Verdict::Answer(known);
        };
        Verdict::Referral(self.take_referral(zone, below, &answer))
    }

    /// What the server says beside the name asked for: where a CNAME's target is of the same zone, no need to ask again.
    fn keep_chain(&self, zone: &Name, name: &Name, answer: &Message) {
        let mut sets: BTreeMap<(Name, Rtype), Vec<Record>> = BTreeMap::new();
        for record in answer.answer.iter().filter(|r| r.name != *name && r.name.ends_with(zone)) {
            sets.entry((record.name.clone(), record.rtype())).or_default().push(record.clone());
        }
        for ((owner, rtype), records) in sets.into_iter().filter(|_| answer.authoritative) {
            self.keep(&owner, rtype, Known::Records(records));
        }
    }

    /// NS records of the zone below, and the glue that this server may give.
    fn take_referral(&self, zone: &Name, below: Name, answer: &Message) -> Servers {
        let records: Vec<Record> =
            answer.authority.iter().filter(|r| r.rtype() == Rtype::NS && r.name == below).cloned().collect();
        let names: Vec<Name> = records
            .iter()
            .filter_map(|r| if let Data::Ns(ns) = &r.data { Some(ns.nsdname().clone()) } else { None })
            .collect();
        let mut known = Vec::new();
        for server in names.iter().filter(|n| n.ends_with(zone)) {
            let glue = |r: &&Record| r.name == *server && r.rtype() == Rtype::A;
            let glue: Vec<Record> = answer.additional.iter().filter(glue).cloned().collect();
            known.extend(glue.iter().filter_map(address).map(|a| (server.clone(), a)));
            if !glue.is_empty() {
                self.shared.keep(server, Rtype::A, (Known::Records(glue), None));
            }
        }
        self.keep(&below, Rtype::NS, Known::Records(records));
        Servers { zone: below, names, known }
    }

    /// Stores and says so.
    fn keep(&self, name: &Name, rtype: Rtype, known: Known) {
        self.keep_for(name, rtype, (known, None));
    }

    /// The same, for clients of one network only.
    fn keep_for(&self, name: &Name, rtype: Rtype, (known, subnet): (Known, Option<IpNet>)) {
        let note = words(&known);
        let fresh_for = self.shared.keep(name, rtype, (known, subnet));
        let outcome = if fresh_for == Nanos::ZERO {
            CacheOutcome::NotStored
        } else {
            CacheOutcome::Stored { fresh_for }
        };
        self.say_cache(format!("{name} {rtype}"), outcome, note);
    }

    fn say_cache(&self, key: String, outcome: CacheOutcome, note: String) {
        self.shared.net.say(AppRecord::Cache {
            req: self.req,
            cache: CacheKind::Resolver,
            key,
            outcome,
            note,
        });
    }
}

/// What an answer means for the walk.
enum Verdict {
    Answer(Known),
    Referral(Servers),
    Lame,
}

fn address(record: &Record) -> Option<IpAddr> {
    if let Data::A(a) = &record.data { Some(IpAddr::V4(a.addr())) } else { None }
}

/// The target, when `records` say only that `name` is another name.
fn alias_of(records: &[Record], name: &Name, rtype: Rtype) -> Option<Name> {
    if rtype == Rtype::CNAME || rtype == Rtype::ANY {
        return None;
    }
    let alias = records.iter().find(|r| r.name == *name && r.rtype() == Rtype::CNAME)?;
    if let Data::Cname(target) = &alias.data { Some(target.cname().clone()) } else { None }
}

fn zone_words(zone: &Name) -> String {
    if zone.is_root() { "the root".into() } else { zone.to_string() }
}

fn data_of(records: &[Record]) -> String {
    records.iter().map(Record::shown).collect::<Vec<_>>().join(", ")
}

fn words(known: &Known) -> String {
    match known {
        Known::Records(records) => data_of(records),
        Known::NoName(_) => "no such name".into(),
        Known::NoData(_) => "no such record".into(),
    }
}

/// The answer as its server would say it aloud.
fn what_it_says(name: &Name, answer: &Message) -> String {
    if answer.rcode == Rcode::NXDOMAIN {
        return format!("there is no {name}");
    }
    if let Some(last) = answer.answer.last() {
        return format!("{}, keep it {} s", data_of(&answer.answer), last.ttl);
    }
    let servers: Vec<&Record> = answer.authority.iter().filter(|r| r.rtype() == Rtype::NS).collect();
    match servers.first() {
        Some(first) => {
            let names: Vec<String> = servers.iter().map(|r| r.shown()).collect();
            format!("{} is served by {}", first.name, names.join(", "))
        }
        None => format!("{name} has no such record"),
    }
}
