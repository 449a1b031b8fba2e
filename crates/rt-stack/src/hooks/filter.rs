//! Filter chains: the verdict on a packet, kept in its flow while nothing it depends on changes.
//!
//! What a rule means is `rt_rules::Match::holds`; which one is first `rt_rules::CompiledChain` finds. Only "accept" is kept:
//! what is dropped is rare or worth judging anew. A verdict that a limit or a log had a part in is not kept either. Main
//! type: [`Filters`], once for the chains behind connection tracking and once for the stateless access lists.

use std::collections::BTreeMap;

use rt_base::{HookPoint, Nanos, NearMiss, Place, Time};
use rt_rules::{Action, Chain, CompiledChain, CtState, Filter, Flow, Limit};

use crate::tables::{FilterCount, Tables};

use super::conntrack::{CachedVerdict, Conntrack, Track};

/// The chains of a machine, at most one for each hook.
#[derive(Debug)]
pub(crate) struct Filters {
    guards: Vec<Guard>,
    /// Goes up with every change of the rules, so that kept verdicts die.
    generation: u32,
    /// A list on the way in wants to know by which interface packets will leave.
    asks_the_way: bool,
}

/// One chain and what it counts.
#[derive(Debug)]
struct Guard {
    chain: CompiledChain,
    /// The TCP flags that any rule looks at.
    tcp_flags: u8,
    /// Of the rules that have a limit or a log.
    meters: BTreeMap<u32, Meter>,
    /// Packets and bytes that the policy (the first place) and the rules decided, or that went on behind a rule.
    decided: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Meter {
    limit: Option<Bucket>,
    log: Option<Bucket>,
    untold: u32,
}

/// The verdict on a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) action: Action,
    /// The deciding rule; `None` for the policy.
    pub(crate) rule: Option<u32>,
    /// Rules that log it, with the number of packets that they did not log before.
    pub(crate) logged: Vec<(u32, u32)>,
}

/// A rule's log tells so many at most: a flood must not fill the story.
const LOG: Limit = Limit { packets: 10, per: Nanos::from_secs(1), burst: 10 };

impl Filters {
    pub(crate) fn new(chains: Vec<Chain>) -> Filters {
        let asks_the_way = asks_the_way(&chains);
        Filters { guards: chains.into_iter().map(Guard::new).collect(), generation: 0, asks_the_way }
    }

    /// Whether a list on the way in wants to know by which interface packets will leave.
    pub(crate) fn asks_the_way(&self) -> bool {
        self.asks_the_way
    }

    /// Replaces the chains.
    pub(crate) fn set_chains(&mut self, chains: Vec<Chain>) {
        self.asks_the_way = asks_the_way(&chains);
        self.guards = chains.into_iter().map(Guard::new).collect();
        self.generation += 1;
    }

    /// The verdict of this hook's chain on a packet that connection tracking has seen; `None` when the hook has no chain.
    pub(crate) fn judge(
        &mut self,
        now: Time,
        hook: HookPoint,
        (flow, track, len): (&Flow, &mut Track, u16),
        table: &mut Conntrack,
    ) -> Option<Verdict> {
        let guard = self.guards.iter_mut().find(|guard| guard.chain.chain().hook == hook)?;
        let state = track.state();
        let known = match *track {
            // An error is judged by its own addresses, not by its flow's.
            Track::Known { entry, direction, .. } if state != CtState::Related => Some((entry, direction)),
            Track::New(_) => None,
            _ => return Some(guard.judge(now, (flow, len)).0),
        };
        let (in_port, out_port) = (flow.in_port, flow.out_port);
        let tcp_flags = flow.tcp_flags & guard.tcp_flags;
        let generation = self.generation;
        let fresh = CachedVerdict { generation, hook, state, in_port, out_port, tcp_flags, rule: 0 };
        if let Some(kept) = known.and_then(|(entry, direction)| table.cached(entry, direction))
            && (CachedVerdict { rule: 0, ..kept }) == fresh
        {
            let rule = (kept.rule != u32::MAX).then_some(kept.rule);
            return Some(Verdict { action: Action::Accept, rule, logged: Vec::new() });
        }
        let (verdict, metered) = guard.judge(now, (flow, len));
        if verdict.action == Action::Accept && !metered {
            let kept = CachedVerdict { rule: verdict.rule.unwrap_or(u32::MAX), ..fresh };
            match (known, track) {
                (Some((entry, direction)), _) => table.cache(entry, direction, kept),
                (None, Track::New(draft)) => draft.verdict = Some(kept),
                _ => {}
            }
        }
        Some(verdict)
    }

    /// The verdict of a stateless access list.
    pub(crate) fn judge_alone(
        &mut self,
        now: Time,
        hook: HookPoint,
        (flow, len): (&Flow, u16),
    ) -> Option<Verdict> {
        let guard = self.guards.iter_mut().find(|guard| guard.chain.chain().hook == hook)?;
        Some(guard.judge(now, (flow, len)).0)
    }

    /// Whether packets of a flow pass this hook without being judged anew: the rule that lets them (`u32::MAX` for the
    /// policy), or nobody where the hook has no chain. `None` when each must be judged.
    pub(crate) fn settled(&self, hook: HookPoint, kept: Option<CachedVerdict>) -> Option<Option<u32>> {
        let Some(guard) = self.guards.iter().find(|guard| guard.chain.chain().hook == hook) else {
            return Some(None);
        };
        let kept = kept.filter(|kept| kept.generation == self.generation && kept.hook == hook)?;
        (guard.tcp_flags == 0).then_some(Some(kept.rule))
    }

    /// Whether the chain at that place stands outside the machine: see [`Chain::is_outside`].
    pub(crate) fn is_outside(&self, place: Place) -> bool {
        let there = |guard: &&Guard| place == Place::Hook(guard.chain.chain().hook);
        self.guards.iter().find(there).is_some_and(|guard| guard.chain.chain().is_outside())
    }

    /// Counts what a rule, or the policy, decided.
    pub(crate) fn count(&mut self, hook: HookPoint, rule: Option<u32>, len: u16) {
        let Some(guard) = self.guards.iter_mut().find(|guard| guard.chain.chain().hook == hook) else {
            return;
        };
        guard.count(rule, len);
    }

    /// Adds what was counted to `tables`.
    pub(crate) fn show(&self, tables: &mut Tables) {
        for guard in &self.guards {
            let hook = guard.chain.chain().hook;
            let counted = |(place, &(packets, bytes)): (usize, &(u64, u64))| {
                let rule = place.checked_sub(1).map(|rule| rule as u32);
                (packets > 0).then_some(FilterCount { hook, rule, packets, bytes })
            };
            tables.filters.extend(guard.decided.iter().enumerate().filter_map(counted));
        }
        tables.filters.sort_by_key(|count| (count.hook, count.rule.unwrap_or(u32::MAX)));
    }

    /// The rule that came nearest to another verdict, if nothing in particular decided.
    pub(crate) fn nearest_miss(
        &self,
        hook: HookPoint,
        flow: &Flow,
        decided: Option<u32>,
    ) -> Option<NearMiss> {
        let guard = self.guards.iter().find(|guard| guard.chain.chain().hook == hook)?;
        let miss = guard.chain.chain().nearest_miss(flow, decided)?;
        Some(NearMiss {
            place: Place::Hook(hook),
            rule: miss.rule,
            failed: miss.failed,
            protocol: flow.protocol,
            src: (flow.src, flow.sport).into(),
            dst: (flow.dst, flow.dport).into(),
            tcp_flags: flow.tcp_flags,
            state: flow.state,
            in_port: flow.in_port,
            out_port: flow.out_port,
        })
    }
}

fn asks_the_way(chains: &[Chain]) -> bool {
    let inward = chains.iter().filter(|chain| chain.hook == HookPoint::Prerouting);
    inward.flat_map(|chain| &chain.rules).any(|rule| rule.when.out_port.is_some())
}

impl Guard {
    fn new(chain: Chain) -> Guard {
        let meters = (0_u32..).zip(&chain.rules).filter_map(|(index, rule)| Some((index, Meter::of(rule)?)));
        let meters = meters.collect();
        let tcp_flags =
            chain.rules.iter().filter_map(|rule| rule.when.tcp_flags).fold(0, |all, f| all | f.mask);
        Guard { chain: CompiledChain::new(chain), tcp_flags, meters, decided: Vec::new() }
    }

    fn count(&mut self, rule: Option<u32>, len: u16) {
        let place = rule.map_or(0, |rule| rule as usize + 1);
        if self.decided.len() <= place {
            self.decided.resize(place + 1, (0, 0));
        }
        let (packets, bytes) = &mut self.decided[place];
        (*packets, *bytes) = (*packets + 1, *bytes + u64::from(len));
    }

    /// The verdict, and whether a limit or a log had a part in it. Rules that only log count here what they match; what the
    /// others decide is counted where the verdict is taken, which may be kept from an earlier packet.
    fn judge(&mut self, now: Time, (flow, len): (&Flow, u16)) -> (Verdict, bool) {
        let (mut from, mut metered, mut logged) = (0, false, Vec::new());
        while let Some(rule) = self.chain.first(flow, from) {
            from = rule + 1;
            if let Some(meter) = self.meters.get_mut(&rule) {
                metered = true;
                if !meter.admits(now) {
                    continue;
                }
                logged.extend(meter.tells(now).map(|untold| (rule, untold)));
            }
            let action = self.chain.chain().rules[rule as usize].action;
            if action != Action::Continue {
                return (Verdict { action, rule: Some(rule), logged }, metered);
            }
            self.count(Some(rule), len);
        }
        (Verdict { action: self.chain.chain().policy.action, rule: None, logged }, metered)
    }
}

impl Meter {
    fn of(rule: &Filter) -> Option<Meter> {
        let limit = rule.limit.map(Bucket::full);
        let log = rule.log.is_some().then(|| Bucket::full(LOG));
        (limit.is_some() || log.is_some()).then_some(Meter { limit, log, untold: 0 })
    }

    /// Whether the rule's limit lets it match once more.
    fn admits(&mut self, now: Time) -> bool {
        self.limit.as_mut().is_none_or(|bucket| bucket.take(now))
    }

    /// Whether this packet is logged, and how many before it were not.
    fn tells(&mut self, now: Time) -> Option<u32> {
        if self.log.as_mut()?.take(now) {
            return Some(core::mem::take(&mut self.untold));
        }
        self.untold = self.untold.saturating_add(1);
        None
    }
}

/// A token bucket that counts in time: a packet costs the time in which its token comes.
#[derive(Debug)]
struct Bucket {
    price: u64,
    most: u64,
    level: u64,
    filled: Time,
}

impl Bucket {
    fn full(limit: Limit) -> Bucket {
        let price = (limit.per.0 / u64::from(limit.packets.max(1))).max(1);
        let most = price.saturating_mul(u64::from(limit.burst.max(1)));
        Bucket { price, most, level: most, filled: Time::ZERO }
    }

    fn take(&mut self, now: Time) -> bool {
        let came = now.since(self.filled).0;
        (self.level, self.filled) = (self.level.saturating_add(came).min(self.most), now);
        let has = self.level >= self.price;
        if has {
            self.level -= self.price;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::full(Limit { packets: 10, per: Nanos::from_secs(1), burst: 5 });
        let at = |ms: u64| Time::ZERO + Nanos::from_millis(ms);
        let taken = |bucket: &mut Bucket, ms: u64| (0..100).filter(|_| bucket.take(at(ms))).count();
        assert_eq!(taken(&mut bucket, 0), 5);
        assert_eq!(taken(&mut bucket, 99), 0);
        assert_eq!(taken(&mut bucket, 100), 1);
        assert_eq!(taken(&mut bucket, 350), 2);
        assert_eq!(taken(&mut bucket, 400), 1, "what is left of a token counts");
        assert_eq!(taken(&mut bucket, 60_000), 5, "no more than the burst");
        // Offered 1,000 in a second, it lets the rate through.
        let through = (60_000..61_000).filter(|ms| bucket.take(at(*ms))).count();
        assert_eq!(through, 9, "ten a second, the first of which is due after 100 ms");
    }
}
