//! The machine's own resolver: what `getaddrinfo` does. Asks the stores one after the other (browser's cache, system's
//! cache, hosts file), then a resolver of the network, with the patience of resolv.conf(5).
//!
//! Retry schedule as in glibc: `attempts` rounds over all servers; per server the timeout, doubled for each later server
//! and divided by their number. A server that the network calls unreachable is left at once for the next.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use domain::base::iana::{Rcode, Rtype};
use rt_base::{AppRecord, CacheKind, CacheOutcome, Nanos, ReqId, ReqKind, Rng};

use super::cache::{Known, NameCache};
use super::choose::{ClientBalance, Pickers};
use super::exchange::{self, NoAnswer};
use super::message::{Data, Message, Name, Record};
use crate::net::Net;
use crate::socket::UdpSocket;

/// A name cache that an application keeps for itself (a browser does).
pub type SharedNameCache = Arc<Mutex<NameCache>>;

/// A new, empty one.
#[must_use]
pub fn shared_cache() -> SharedNameCache {
    SharedNameCache::default()
}

/// How a machine resolves names (resolv.conf and hosts).
#[derive(Clone, PartialEq, Debug)]
pub struct ResolverConfig {
    /// Resolvers; those learnt by DHCP are used when this is empty.
    pub servers: Vec<IpAddr>,
    /// The hosts file.
    pub hosts: Vec<(String, IpAddr)>,
    /// Wait for an answer this long (5 s).
    pub timeout: Nanos,
    /// Ask each server so many times (2).
    pub attempts: u32,
    /// Ids of questions count up from here, as they did before 1997; dice when not given (RFC 5452, 4.5).
    pub ids: Option<u16>,
    /// Names whose addresses this machine picks among itself; it takes the others' as they come.
    pub balance: Vec<ClientBalance>,
}

impl Default for ResolverConfig {
    /// No servers, no hosts, 5 s, 2 attempts, as in resolv.conf(5).
    fn default() -> ResolverConfig {
        ResolverConfig {
            servers: Vec::new(),
            hosts: Vec::new(),
            timeout: Nanos::from_secs(5),
            attempts: 2,
            ids: None,
            balance: Vec::new(),
        }
    }
}

/// State of the machine's resolver.
#[derive(Debug, Default)]
pub struct OsResolver {
    pub(super) config: ResolverConfig,
    pub(super) pickers: Pickers,
    /// The dice of the pickers, once there are any.
    pub(super) dice: Option<Rng>,
    learned: Vec<IpAddr>,
    cache: NameCache,
    ids: Option<Rng>,
}

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerFrom {
    /// It was an address already.
    Literal,
    /// The browser's cache.
    BrowserCache,
    /// The system's cache.
    OsCache,
    /// The hosts file.
    HostsFile,
    /// A resolver was asked.
    Resolver,
}

/// The answer to a look-up.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The request's number (0 for a literal address).
    pub req: ReqId,
    /// Who knew it.
    pub from: AnswerFrom,
    /// Addresses in it, in the order given.
    pub addresses: Vec<IpAddr>,
    /// All records of the answer section (none for a literal address or the hosts file).
    pub records: Vec<Record>,
}

/// Why a look-up failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookupError {
    /// Not a domain name.
    BadName(String),
    /// NXDOMAIN: the name does not exist.
    NoName(String),
    /// The name exists, but has no such records.
    NoData(String, Rtype),
    /// The resolver could not (SERVFAIL, REFUSED and so on).
    Failed(String, Rcode),
    /// Nobody answered, after so many questions.
    TimedOut(String, u32),
    /// The network refused every question; the last reason.
    Unreachable(String, String),
    /// There is nobody to ask.
    NoServers(String),
}

impl std::fmt::Display for LookupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LookupError::BadName(name) => write!(f, "{name}: not a domain name"),
            LookupError::NoName(name) => write!(f, "{name}: no such name (NXDOMAIN)"),
            LookupError::NoData(name, rtype) => write!(f, "{name}: no {rtype} record"),
            LookupError::Failed(name, rcode) => write!(f, "{name}: the resolver could not say ({rcode})"),
            LookupError::TimedOut(name, tries) => {
                write!(
                    f,
                    "{name}: no answer from any resolver ({})",
                    rt_base::count(u64::from(*tries), "try")
                )
            }
            LookupError::Unreachable(name, why) => write!(f, "{name}: no resolver can be reached ({why})"),
            LookupError::NoServers(name) => write!(f, "{name}: no resolver is known"),
        }
    }
}

impl std::error::Error for LookupError {}

impl From<LookupError> for std::io::Error {
    fn from(error: LookupError) -> std::io::Error {
        use std::io::ErrorKind as K;
        let kind = match error {
            LookupError::TimedOut(..) => K::TimedOut,
            LookupError::Unreachable(..) => K::NetworkUnreachable,
            LookupError::BadName(_) => K::InvalidInput,
            _ => K::NotFound,
        };
        std::io::Error::new(kind, error)
    }
}

impl LookupError {
    /// RCODE as recorded at the request's end; 0 when no server answered.
    #[must_use]
    pub fn rcode(&self) -> u16 {
        match self {
            LookupError::NoName(_) => u16::from(Rcode::NXDOMAIN.to_int()),
            LookupError::Failed(_, rcode) => u16::from(rcode.to_int()),
            _ => 0,
        }
    }
}

impl Net {
    /// Sets how this machine resolves names. Call it before the run.
    pub fn set_resolver(&self, config: ResolverConfig) {
        self.core().resolver.config = config;
    }

    /// Resolvers told by DHCP; they are used when none is configured.
    pub fn learn_resolvers(&self, servers: Vec<IpAddr>) {
        self.core().resolver.learned = servers;
    }

    /// The resolvers that would be asked, in order.
    #[must_use]
    pub fn resolvers(&self) -> Vec<IpAddr> {
        let core = self.core();
        let r = &core.resolver;
        if r.config.servers.is_empty() { r.learned.clone() } else { r.config.servers.clone() }
    }

    /// Resolves `name` for the request `parent` (0: nobody's), through the system's cache, the hosts file and the
    /// resolvers, and records each.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn lookup(&self, name: &str, rtype: Rtype, parent: ReqId) -> Result<Answer, LookupError> {
        self.lookup_with(name, rtype, parent, None).await
    }

    /// Like [`Net::lookup`], asking a cache of the application's own first and filling it.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn lookup_with(
        &self,
        name: &str,
        rtype: Rtype,
        parent: ReqId,
        browser: Option<&SharedNameCache>,
    ) -> Result<Answer, LookupError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            let from = AnswerFrom::Literal;
            return Ok(Answer { req: ReqId(0), from, addresses: vec![address], records: Vec::new() });
        }
        let name = name.trim_end_matches('.');
        let shown = if name.is_empty() { "." } else { name };
        let req = self.new_req();
        let (kind, method) = (ReqKind::Lookup, rtype.to_string());
        self.say(AppRecord::RequestBegin { req, parent, kind, method, target: shown.into() });
        let lookup = Lookup { net: self, req, shown, rtype, browser };
        let result = lookup.run().await;
        let (status, ok, note) = match &result {
            Ok(answer) => (0, true, describe(answer)),
            Err(error) => (error.rcode(), false, error.to_string()),
        };
        self.say(AppRecord::RequestEnd { req, status, ok, body_bytes: 0, note });
        result
    }
}

/// One look-up under way.
struct Lookup<'a> {
    net: &'a Net,
    req: ReqId,
    shown: &'a str,
    rtype: Rtype,
    browser: Option<&'a SharedNameCache>,
}

impl Lookup<'_> {
    async fn run(&self) -> Result<Answer, LookupError> {
        let name = Name::bytes_from_str(self.shown).map_err(|_| LookupError::BadName(self.shown.into()))?;
        if let Some(browser) = self.browser {
            let found =
                browser.lock().unwrap_or_else(PoisonError::into_inner).get(self.net.now(), &name, self.rtype);
            if let Some(known) = self.say_asked(CacheKind::BrowserDns, found) {
                return self.conclude(&known, AnswerFrom::BrowserCache);
            }
        }
        let found = self.net.core_now(|core, now| core.resolver.cache.get(now, &name, self.rtype));
        if let Some(known) = self.say_asked(CacheKind::OsDns, found) {
            self.store_in_browser(&name, &known);
            return self.conclude(&known, AnswerFrom::OsCache);
        }
        if let Some(answer) = self.hosts_file() {
            return Ok(answer);
        }
        let message = self.ask_resolvers(&name).await?;
        let known = self.judge(message)?;
        let fresh_for = self
            .net
            .core_now(|core, now| core.resolver.cache.put(now, name.clone(), self.rtype, known.clone()));
        self.say_stored(CacheKind::OsDns, fresh_for, &known);
        self.store_in_browser(&name, &known);
        self.conclude(&known, AnswerFrom::Resolver)
    }

    fn key(&self) -> String {
        format!("{} {}", self.shown, self.rtype)
    }

    fn say_asked(&self, cache: CacheKind, found: Option<super::cache::Found>) -> Option<Known> {
        let (outcome, note) = match &found {
            Some(f) => (CacheOutcome::Hit { age: f.age, fresh_for: f.fresh_for }, words(&f.known)),
            None => (CacheOutcome::Miss, String::new()),
        };
        self.net.say(AppRecord::Cache { req: self.req, cache, key: self.key(), outcome, note });
        found.map(|f| f.known)
    }

    fn say_stored(&self, cache: CacheKind, fresh_for: Nanos, known: &Known) {
        let outcome = if fresh_for == Nanos::ZERO {
            CacheOutcome::NotStored
        } else {
            CacheOutcome::Stored { fresh_for }
        };
        self.net.say(AppRecord::Cache { req: self.req, cache, key: self.key(), outcome, note: words(known) });
    }

    fn store_in_browser(&self, name: &Name, known: &Known) {
        let Some(browser) = self.browser else { return };
        let now = self.net.now();
        let mut cache = browser.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh_for = cache.put(now, name.clone(), self.rtype, known.clone());
        drop(cache);
        self.say_stored(CacheKind::BrowserDns, fresh_for, known);
    }

    fn hosts_file(&self) -> Option<Answer> {
        let fits = |address: &IpAddr| match self.rtype {
            Rtype::A => address.is_ipv4(),
            Rtype::AAAA => address.is_ipv6(),
            _ => false,
        };
        let addresses: Vec<IpAddr> = self.net.core_now(|core, _| {
            let hosts = core.resolver.config.hosts.iter();
            hosts.filter(|(n, a)| n.eq_ignore_ascii_case(self.shown) && fits(a)).map(|&(_, a)| a).collect()
        });
        let (outcome, note) = match addresses.first() {
            Some(first) => {
                (CacheOutcome::Hit { age: Nanos::ZERO, fresh_for: Nanos::ZERO }, first.to_string())
            }
            None => (CacheOutcome::Miss, String::new()),
        };
        self.net.say(AppRecord::Cache {
            req: self.req,
            cache: CacheKind::HostsFile,
            key: self.shown.into(),
            outcome,
            note,
        });
        (!addresses.is_empty()).then(|| Answer {
            req: self.req,
            from: AnswerFrom::HostsFile,
            addresses,
            records: Vec::new(),
        })
    }

    /// The schedule of resolv.conf(5).
    async fn ask_resolvers(&self, name: &Name) -> Result<Message, LookupError> {
        let servers = self.net.resolvers();
        if servers.is_empty() {
            return Err(LookupError::NoServers(self.shown.into()));
        }
        let (timeout, attempts) =
            self.net.core_now(|core, _| (core.resolver.config.timeout, core.resolver.config.attempts.max(1)));
        let mut query = Message::query(self.net.next_query_id(), name.clone(), self.rtype);
        query.recursion_desired = true;
        let mut sockets: Vec<Option<UdpSocket>> = vec![None; servers.len()];
        let (mut tries, mut unreachable, mut refused) = (0, None, None);
        for _ in 0..attempts {
            for (index, &server) in servers.iter().enumerate() {
                tries += 1;
                let patience = patience(timeout, index, servers.len());
                let outcome = match self.socket(&mut sockets[index], server) {
                    Ok(socket) => exchange::ask(self.net, self.req, &socket, server, &query, patience).await,
                    Err(error) => Err(NoAnswer::Network(error)),
                };
                let why = match outcome {
                    Ok(answer) if is_answer(answer.rcode) => return Ok(answer),
                    Ok(answer) => {
                        refused = Some(answer.rcode);
                        format!("{server} answered {}", answer.rcode)
                    }
                    Err(NoAnswer::Silent) => format!("no answer from {server} within {patience}"),
                    Err(NoAnswer::Network(error)) => {
                        unreachable = Some(error.to_string());
                        format!("{server}: {error}")
                    }
                };
                let last = tries as usize == attempts as usize * servers.len();
                if !last {
                    self.net.say(AppRecord::Retry { req: self.req, attempt: tries + 1, why });
                }
            }
        }
        let name = self.shown.to_string();
        Err(match (refused, unreachable) {
            (Some(rcode), _) => LookupError::Failed(name, rcode),
            (None, Some(why)) => LookupError::Unreachable(name, why),
            (None, None) => LookupError::TimedOut(name, tries),
        })
    }

    /// One socket per server, kept over the attempts, as glibc does.
    fn socket(&self, slot: &mut Option<UdpSocket>, server: IpAddr) -> std::io::Result<UdpSocket> {
        if let Some(socket) = slot {
            return Ok(socket.clone());
        }
        let socket = self.net.udp_bind(None, 0, None)?;
        exchange::say_uses(self.net, self.req, &socket, server, false);
        Ok(slot.insert(socket).clone())
    }

    fn judge(&self, message: Message) -> Result<Known, LookupError> {
        let soa = message.authority.iter().find(|r| r.rtype() == Rtype::SOA).cloned();
        if message.rcode == Rcode::NXDOMAIN {
            return Ok(Known::NoName(soa));
        }
        if message.rcode != Rcode::NOERROR {
            return Err(LookupError::Failed(self.shown.into(), message.rcode));
        }
        let wanted = |r: &Record| r.rtype() == self.rtype || self.rtype == Rtype::ANY;
        Ok(if message.answer.iter().any(wanted) {
            Known::Records(message.answer)
        } else {
            Known::NoData(soa)
        })
    }

    fn conclude(&self, known: &Known, from: AnswerFrom) -> Result<Answer, LookupError> {
        match known {
            Known::NoName(_) => Err(LookupError::NoName(self.shown.into())),
            Known::NoData(_) => Err(LookupError::NoData(self.shown.into(), self.rtype)),
            Known::Records(records) => {
                Ok(Answer { req: self.req, from, addresses: addresses(records), records: records.clone() })
            }
        }
    }
}

/// Whether a server with this RCODE has said its word; others mean that the next server may know better.
fn is_answer(rcode: Rcode) -> bool {
    rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN
}

/// glibc's `send_dg`: the timeout, doubled for each later server and shared among all, at least a second.
fn patience(timeout: Nanos, index: usize, servers: usize) -> Nanos {
    if index == 0 {
        return timeout;
    }
    let shared = timeout.times(1 << index.min(16)).0 / servers as u64;
    Nanos(shared).max(Nanos::from_secs(1))
}

fn addresses(records: &[Record]) -> Vec<IpAddr> {
    let address = |r: &Record| match &r.data {
        Data::A(a) => Some(IpAddr::V4(a.addr())),
        Data::Aaaa(a) => Some(IpAddr::V6(a.addr())),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}

/// The answer in a few words: the last record's data, or what is missing.
fn words(known: &Known) -> String {
    match known {
        Known::Records(records) => {
            let last = records.last().map(Record::rtype);
            let shown: Vec<String> =
                records.iter().filter(|r| Some(r.rtype()) == last).map(Record::shown).collect();
            shown.join(", ")
        }
        Known::NoName(_) => "no such name".into(),
        Known::NoData(_) => "no such record".into(),
    }
}

fn describe(answer: &Answer) -> String {
    if answer.records.is_empty() {
        return answer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    }
    words(&Known::Records(answer.records.clone()))
}

impl Net {
    /// The core and the time, for a moment.
    fn core_now<T>(&self, work: impl FnOnce(&mut crate::net::HostCore, rt_base::Time) -> T) -> T {
        let mut core = self.core();
        let now = core.now;
        work(&mut core, now)
    }

    /// An id for the next question of this machine: random, or the next one.
    pub(crate) fn next_query_id(&self) -> u16 {
        if let Some(next) = &mut self.core().resolver.config.ids {
            let id = *next;
            *next = id.wrapping_add(1);
            return id;
        }
        if self.core().resolver.ids.is_none() {
            let ids = self.rng("dns.id");
            self.core().resolver.ids = Some(ids);
        }
        let mut core = self.core();
        core.resolver.ids.as_mut().map_or(0, |ids| (ids.next_u32() >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use rt_base::Nanos;

    use super::patience;

    #[test]
    fn patience_follows_resolv_conf() {
        let cases = [(0, 1, 5000), (0, 3, 5000), (1, 2, 5000), (1, 3, 3333), (2, 3, 6666)];
        for (index, servers, millis) in cases {
            assert_eq!(patience(Nanos::from_secs(5), index, servers).as_millis(), millis);
        }
    }
}
