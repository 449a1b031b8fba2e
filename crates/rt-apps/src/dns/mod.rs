//! DNS: the machine's own (stub) resolver with its cache and hosts file, a recursive resolver, authoritative servers.
//!
//! Messages and zone files come from the `domain` library; who asks whom, what is kept and for how long is here, because
//! that is what the story tells. Not here: DNSSEC, DNS over TLS or HTTPS, mDNS.
//!
//! Simplification: UDP answers up to 1232 bytes (EDNS(0)), then TCP, as resolvers do since the DNS flag day 2020.

mod cache;
mod choose;
mod exchange;
mod message;
mod recursive;
mod rotate;
mod server;
mod steer;
mod stub;
mod zone;

pub use cache::{Found, Known, NameCache};
pub use choose::{ClientBalance, PickPolicy};
pub use domain::base::iana::{Rcode, Rtype as RecordType};
pub use message::{Data, Malformed, Message, Name, Record, Subnet};
pub use recursive::{RecursiveConfig, recursive_resolver};
pub use server::{AuthoritativeConfig, authoritative_server};
pub use steer::{Steering, Whereabouts};
pub use stub::{Answer, AnswerFrom, LookupError, OsResolver, ResolverConfig, SharedNameCache, shared_cache};
pub use zone::{Zone, ZoneError};
