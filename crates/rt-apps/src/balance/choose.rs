//! Who gets the next connection: policies, stickiness, who is in service. Neither time nor sockets: pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rt_base::{Candidate, Nanos, Rng, Time};
use rt_rules::{Maglev, Spread, hash_address};

use super::MOST_STUCK;

/// What is known of the servers, and whose turn it is.
pub(crate) struct Chooser {
    names: Vec<String>,
    members: Vec<Member>,
    spread: Spread,
    /// Open at once, over all servers.
    most: usize,
    /// Whose turn it is.
    next: usize,
    rng: Rng,
    /// Maglev's table for those that were in service when it was made.
    table: Option<(Vec<usize>, Maglev)>,
    sticky: Option<Nanos>,
    /// A client's server, and until when it is remembered.
    stuck: BTreeMap<IpAddr, (usize, Time)>,
}

/// One server.
struct Member {
    /// Open connections, those that are being opened too; or requests under way.
    open: usize,
    /// Checks say that it lives.
    up: bool,
    /// It takes nothing new.
    draining: bool,
}

/// Who asks for a server.
#[derive(Clone, Copy)]
pub(crate) struct Asks<'a> {
    pub(crate) client: IpAddr,
    /// The server that it had before, and shows by other means than its address.
    pub(crate) wanted: Option<usize>,
    pub(crate) now: Time,
    /// Whom it must not be, and why.
    pub(crate) not: &'a [(usize, String)],
}

/// What came of choosing.
pub(crate) struct Choice {
    /// Who; `None` when nobody is in service.
    pub(crate) server: Option<usize>,
    /// By what.
    pub(crate) policy: &'static str,
    /// All of them, and what spoke for or against each.
    pub(crate) candidates: Vec<Candidate>,
}

impl Chooser {
    /// Chooses among servers of these names; not more than `most` are open at once.
    pub(crate) fn new(
        names: Vec<String>,
        spread: Spread,
        sticky: Option<Nanos>,
        most: usize,
        rng: Rng,
    ) -> Chooser {
        let members = names.iter().map(|_| Member { open: 0, up: true, draining: false }).collect();
        let stuck = BTreeMap::new();
        Chooser { names, members, spread, most, next: 0, rng, table: None, sticky, stuck }
    }

    /// Picks a server, and counts something open at it.
    pub(crate) fn choose(&mut self, asks: Asks<'_>) -> Choice {
        let Asks { client, wanted, now, not: failed } = asks;
        let full = self.members.iter().map(|m| m.open).sum::<usize>() >= self.most;
        let open: Vec<usize> = (0..self.members.len())
            .filter(|&i| self.takes(i) && !full && failed.iter().all(|(bad, _)| *bad != i))
            .collect();
        let remembered = self.stuck.get(&client).filter(|(_, until)| *until > now).map(|(server, _)| *server);
        let stuck = wanted.or(remembered).filter(|server| open.contains(server));
        let (server, policy) = match stuck {
            Some(server) => (Some(server), "sticky"),
            None => (self.pick(&open, client), self.spread.word()),
        };
        let sticks = policy == "sticky";
        let candidates = (0..self.members.len())
            .map(|i| {
                let note = match failed.iter().find(|(bad, _)| *bad == i) {
                    Some((_, why)) => why.clone(),
                    None => self.remark(i, server, &open, sticks),
                };
                Candidate { name: self.names[i].clone(), note }
            })
            .collect();
        if let Some(server) = server {
            self.members[server].open += 1;
            if !sticks {
                self.next = (server + 1) % self.members.len();
            }
            self.stick(client, server, now);
        }
        Choice { server, policy, candidates }
    }

    fn takes(&self, index: usize) -> bool {
        self.members[index].up && !self.members[index].draining
    }

    fn turn(&self, index: usize) -> usize {
        (index + self.members.len() - self.next) % self.members.len()
    }

    fn pick(&mut self, open: &[usize], client: IpAddr) -> Option<usize> {
        let fewest = |this: &Chooser, among: &[usize]| {
            among.iter().copied().min_by_key(|&i| (this.members[i].open, this.turn(i)))
        };
        match self.spread {
            Spread::RoundRobin => open.iter().copied().min_by_key(|&i| self.turn(i)),
            Spread::LeastConnections | Spread::LeastRequests => fewest(self, open),
            Spread::SourceHash => {
                let count = open.len() as u64;
                (count > 0).then(|| open[(hash_address(client) % count) as usize])
            }
            Spread::Maglev => self.consistent(open, client),
            Spread::RandomOfTwo if open.len() > 2 => {
                let first = self.rng.below(open.len() as u64) as usize;
                let second = (first + 1 + self.rng.below(open.len() as u64 - 1) as usize) % open.len();
                fewest(self, &[open[first], open[second]])
            }
            Spread::RandomOfTwo => fewest(self, open),
        }
    }

    /// By the table for those that are in service. One that failed for this client only is not worth a new table: the next one
    /// in order takes its place.
    fn consistent(&mut self, open: &[usize], client: IpAddr) -> Option<usize> {
        let serving: Vec<usize> = (0..self.members.len()).filter(|&i| self.takes(i)).collect();
        if self.table.as_ref().is_none_or(|(of, _)| *of != serving) {
            let names: Vec<&str> = serving.iter().map(|&i| self.names[i].as_str()).collect();
            let table = Maglev::new(&names);
            self.table = Some((serving, table));
        }
        let (serving, table) = self.table.as_ref()?;
        let first = *serving.get(table.pick(hash_address(client))?)?;
        let after = |i: &usize| (i + self.members.len() - first) % self.members.len();
        open.iter().copied().min_by_key(after)
    }

    /// What spoke for or against a server.
    fn remark(&self, index: usize, chosen: Option<usize>, open: &[usize], sticks: bool) -> String {
        let member = &self.members[index];
        let taken = chosen == Some(index);
        if !member.up {
            return "down".to_owned();
        }
        if member.draining {
            return "draining".to_owned();
        }
        if !open.contains(&index) {
            return "the balancer is full".to_owned();
        }
        match self.spread {
            _ if sticks => if taken { "this client had it last" } else { "in service" }.to_owned(),
            Spread::RoundRobin if taken => "its turn".to_owned(),
            Spread::RoundRobin => "waits for its turn".to_owned(),
            Spread::SourceHash | Spread::Maglev if taken => "the client's address leads there".to_owned(),
            Spread::SourceHash | Spread::Maglev => "in service".to_owned(),
            Spread::LeastConnections => format!("{} open", member.open),
            Spread::LeastRequests | Spread::RandomOfTwo => format!("{} under way", member.open),
        }
    }

    fn stick(&mut self, client: IpAddr, server: usize, now: Time) {
        let Some(span) = self.sticky else { return };
        if self.stuck.len() >= MOST_STUCK && !self.stuck.contains_key(&client) {
            self.stuck.retain(|_, (_, until)| *until > now);
            if self.stuck.len() >= MOST_STUCK {
                return;
            }
        }
        self.stuck.insert(client, (server, now + span));
    }

    /// Something at a server is over; whether that server is drained now.
    pub(crate) fn closed(&mut self, server: usize) -> bool {
        let member = &mut self.members[server];
        member.open = member.open.saturating_sub(1);
        member.draining && member.open == 0
    }

    /// Checks say otherwise: how many connections are open there. `None` when nothing changes.
    pub(crate) fn found(&mut self, server: usize, up: bool) -> Option<usize> {
        let member = &mut self.members[server];
        let changed = std::mem::replace(&mut member.up, up) != up;
        changed.then_some(member.open)
    }

    /// The same of the timeline.
    pub(crate) fn shift(&mut self, server: usize, drain: bool) -> Option<usize> {
        let member = self.members.get_mut(server)?;
        let changed = std::mem::replace(&mut member.draining, drain) != drain;
        changed.then_some(member.open)
    }

    /// Whether it gets anything new.
    pub(crate) fn is_in_service(&self, server: usize) -> bool {
        self.takes(server)
    }
}
