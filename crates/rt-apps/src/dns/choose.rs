//! A client that knows several addresses of a name, and its own way of picking one: client-side balancing.
//!
//! Unlike a name server that turns its answers, such a client sees what becomes of its connections: a server that failed
//! is left out for a while, and asked again after that. It sees nothing else: not how busy others keep a server, and not a
//! dead one before it has failed for this very client.
//!
//! Not for: where the addresses come from (`stub`: hosts file or DNS), or connecting.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rt_base::{Nanos, Rng, Time};

use crate::net::Net;

/// Names for which failures are remembered.
const MOST: usize = 1_000;

/// How a client picks among a name's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PickPolicy {
    /// In turn.
    RoundRobin,
    /// Of two at random, the one on which fewer of this client's requests are under way.
    RandomOfTwo,
    /// The one on which fewest of this client's requests are under way; in turn among equals.
    LeastOutstanding,
}

impl PickPolicy {
    fn word(self) -> &'static str {
        match self {
            PickPolicy::RoundRobin => "round robin",
            PickPolicy::RandomOfTwo => "random of two",
            PickPolicy::LeastOutstanding => "least outstanding",
        }
    }
}

/// A machine's own balancing for a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientBalance {
    /// The host name.
    pub name: String,
    /// How it picks.
    pub policy: PickPolicy,
    /// A server that failed is left out for so long.
    pub leave_out: Nanos,
}

/// What a client knows of a name's servers.
#[derive(Debug)]
pub(crate) struct Picker {
    balance: ClientBalance,
    next: usize,
    servers: BTreeMap<IpAddr, Server>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Server {
    outstanding: u32,
    /// Left out until then.
    out_until: Time,
}

impl Picked {
    /// Why it became the address number `tried` (from 0); `failed` are the ones before it, with what happened to them.
    pub(crate) fn words(&self, tried: usize, failed: &[String]) -> String {
        let (address, count) = (self.order[tried], self.order.len());
        if failed.is_empty() {
            return format!("{address} of {count} addresses: {}", self.why);
        }
        format!("{address}, number {} of {count} addresses, because {}", tried + 1, failed.join(", and "))
    }
}

/// The addresses to try, best first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Picked {
    /// In the order in which they are to be tried.
    pub(crate) order: Vec<IpAddr>,
    /// Why the first is the first; a clause.
    pub(crate) why: String,
}

impl Picker {
    fn new(balance: ClientBalance) -> Picker {
        Picker { balance, next: 0, servers: BTreeMap::new() }
    }

    /// Orders `addresses`: those in service by the policy, then those left out, soonest first.
    fn pick(&mut self, now: Time, addresses: &[IpAddr], rng: &mut Rng) -> Picked {
        let server = |address: &IpAddr| self.servers.get(address).copied().unwrap_or_default();
        let count = addresses.len().max(1);
        let turn = |at: usize| (at + count - self.next % count) % count;
        let (mut well, mut out): (Vec<usize>, Vec<usize>) =
            (0..addresses.len()).partition(|&at| server(&addresses[at]).out_until <= now);
        let load = |at: &usize| server(&addresses[*at]).outstanding;
        well.sort_by_key(|&at| turn(at));
        match self.balance.policy {
            PickPolicy::RoundRobin => {}
            PickPolicy::LeastOutstanding => well.sort_by_key(load),
            PickPolicy::RandomOfTwo => {
                for at in (1..well.len()).rev() {
                    well.swap(at, rng.below(at as u64 + 1) as usize);
                }
                if well.len() > 1 && load(&well[1]) < load(&well[0]) {
                    well.swap(0, 1);
                }
            }
        }
        out.sort_by_key(|&at| (server(&addresses[at]).out_until, turn(at)));
        let mut why = format!("by {} over {count} addresses of its own list", self.balance.policy.word());
        if let Some(first) = well.first() {
            if self.balance.policy != PickPolicy::RoundRobin {
                why += &format!(" ({} under way there)", rt_base::count(u64::from(load(first)), "request"));
            }
            let left: Vec<String> = out
                .iter()
                .map(|&at| {
                    let until = server(&addresses[at]).out_until.since(now);
                    format!("{} is left out for another {until}, because it failed", addresses[at])
                })
                .collect();
            why += &left.iter().map(|one| format!("; {one}")).collect::<String>();
        } else {
            why += ": all of them failed not long ago, so the one that did so first is tried again";
        }
        let order: Vec<usize> = well.into_iter().chain(out).collect();
        if let Some(first) = order.first() {
            self.next = first + 1;
        }
        Picked { order: order.into_iter().map(|at| addresses[at]).collect(), why }
    }
}

/// Who picks for which name.
pub(crate) type Pickers = BTreeMap<String, Picker>;

impl Net {
    /// The addresses of `name` in the order in which this machine tries them.
    pub(crate) fn pick(&self, name: &str, addresses: &[IpAddr]) -> Picked {
        let why = "the answer names it first; whoever answered did not ask whether it lives";
        let plain = || Picked { order: addresses.to_vec(), why: why.to_owned() };
        if addresses.len() < 2 {
            return plain();
        }
        // The dice are there only for who throws them.
        let fresh = self.rng("dns.pick");
        let mut core = self.core();
        let now = core.now;
        let resolver = &mut core.resolver;
        let Some(picker) = picker(&mut resolver.pickers, &resolver.config.balance, name) else {
            return plain();
        };
        picker.pick(now, addresses, resolver.dice.get_or_insert(fresh))
    }

    /// A request to `address`, one of `name`'s, is under way until the result is dropped; it failed unless
    /// [`Outstanding::done`] was called.
    pub(crate) fn outstanding(&self, name: &str, address: IpAddr) -> Outstanding {
        self.server(name, address, |server, _| server.outstanding += 1);
        Outstanding { net: self.clone(), name: name.to_owned(), address, done: false }
    }

    fn server(&self, name: &str, address: IpAddr, change: impl FnOnce(&mut Server, Time)) {
        let mut core = self.core();
        let now = core.now;
        let resolver = &mut core.resolver;
        if let Some(picker) = picker(&mut resolver.pickers, &resolver.config.balance, name) {
            let leave_out = picker.balance.leave_out;
            change(picker.servers.entry(address).or_default(), now + leave_out);
        }
    }
}

/// The picker for a name that has balancing of its own.
fn picker<'a>(pickers: &'a mut Pickers, known: &[ClientBalance], name: &str) -> Option<&'a mut Picker> {
    let name = name.trim_end_matches('.').to_lowercase();
    let balance = known.iter().find(|one| one.name == name)?;
    if pickers.len() >= MOST && !pickers.contains_key(&name) {
        return None;
    }
    Some(pickers.entry(name).or_insert_with(|| Picker::new(balance.clone())))
}

/// A request under way to one of a name's servers.
#[must_use]
pub(crate) struct Outstanding {
    net: Net,
    name: String,
    address: IpAddr,
    done: bool,
}

impl Outstanding {
    /// It was answered.
    pub(crate) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        let failed = !self.done;
        self.net.server(&self.name, self.address, |server, until| {
            server.outstanding = server.outstanding.saturating_sub(1);
            if failed {
                server.out_until = until;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use rt_base::Rng;

    fn addresses(count: u8) -> Vec<IpAddr> {
        (1..=count).map(|last| IpAddr::from([10, 0, 0, last])).collect()
    }

    fn new(policy: PickPolicy) -> Picker {
        let leave_out = Nanos::from_secs(10);
        Picker::new(ClientBalance { name: "api.test".into(), policy, leave_out })
    }

    fn first(picked: &Picked) -> u8 {
        let IpAddr::V4(address) = picked.order[0] else { panic!("IPv4") };
        address.octets()[3]
    }

    #[test]
    fn a_server_that_failed_is_left_out_for_a_while() {
        let (all, mut rng) = (addresses(3), Rng::stream(1, "a", "b"));
        let mut picker = new(PickPolicy::RoundRobin);
        let mut at =
            |picker: &mut Picker, secs: u64| picker.pick(Time::ZERO + Nanos::from_secs(secs), &all, &mut rng);
        assert_eq!((0..4).map(|_| first(&at(&mut picker, 0))).collect::<Vec<_>>(), [1, 2, 3, 1]);
        picker.servers.entry(all[1]).or_default().out_until = Time::ZERO + Nanos::from_secs(10);
        let picked = at(&mut picker, 1);
        assert_eq!((first(&picked), picked.order[2]), (3, all[1]));
        assert_eq!(
            picked.why,
            "by round robin over 3 addresses of its own list; 10.0.0.2 is left out for another 9.000 s, because it failed"
        );
        assert_eq!((0..3).map(|_| first(&at(&mut picker, 2))).collect::<Vec<_>>(), [1, 3, 1]);
        assert_eq!(first(&at(&mut picker, 10)), 2);
        for address in &all {
            picker.servers.entry(*address).or_default().out_until = Time::ZERO + Nanos::from_secs(30);
        }
        assert!(at(&mut picker, 11).why.contains("all of them failed"));
    }

    #[test]
    fn the_least_busy_is_taken() {
        let (all, mut rng) = (addresses(3), Rng::stream(1, "a", "b"));
        let mut picker = new(PickPolicy::LeastOutstanding);
        for (address, busy) in all.iter().zip([2, 0, 1]) {
            picker.servers.entry(*address).or_default().outstanding = busy;
        }
        let picked = picker.pick(Time::ZERO, &all, &mut rng);
        assert_eq!(picked.order, [all[1], all[2], all[0]]);
        assert_eq!(
            picked.why,
            "by least outstanding over 3 addresses of its own list (0 requests under way there)"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happened: all addresses are there once, nobody left out goes before one in service, and random of two
        /// reaches everybody.
        #[test]
        fn all_are_tried_and_the_well_ones_first(
            policy in prop::sample::select(vec![PickPolicy::RoundRobin, PickPolicy::RandomOfTwo, PickPolicy::LeastOutstanding]),
            states in prop::collection::vec((0u32..5, 0u64..20), 1..8),
            seed in any::<u64>(),
        ) {
            let all = addresses(states.len() as u8);
            let mut rng = Rng::stream(seed, "a", "b");
            let mut picker = new(policy);
            for (address, (outstanding, out)) in all.iter().zip(&states) {
                let server = Server { outstanding: *outstanding, out_until: Time::ZERO + Nanos::from_secs(*out) };
                picker.servers.insert(*address, server);
            }
            let now = Time::ZERO + Nanos::from_secs(10);
            let mut firsts = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let picked = picker.pick(now, &all, &mut rng);
                let mut sorted = picked.order.clone();
                sorted.sort();
                prop_assert_eq!(&sorted, &all);
                let out: Vec<bool> = picked.order.iter().map(|a| picker.servers[a].out_until > now).collect();
                prop_assert!(out.is_sorted());
                firsts.insert(picked.order[0]);
            }
            let well = states.iter().filter(|(_, out)| *out <= 10).count();
            if policy == PickPolicy::RoundRobin && well > 0 {
                prop_assert_eq!(firsts.len(), well);
            }
        }
    }
}
