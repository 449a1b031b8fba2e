//! Filter chains: the verdict on a packet, kept in its flow while nothing it depends on changes.
//!
//! What a rule means is `rt_rules::Chain::judge`. Only "accept" is kept: what is dropped is rare or worth judging anew.

use rt_base::HookPoint;
use rt_rules::{Action, Chain, Flow};

use super::conntrack::{CachedVerdict, Conntrack, Track};

/// The chains of a machine, at most one for each hook.
#[derive(Debug)]
pub(crate) struct Filters {
    chains: Vec<Chain>,
    /// Goes up with every change of the rules, so that kept verdicts die.
    generation: u32,
}

impl Filters {
    pub(crate) fn new(chains: Vec<Chain>) -> Filters {
        Filters { chains, generation: 0 }
    }

    /// Replaces the chains.
    pub(crate) fn set_chains(&mut self, chains: Vec<Chain>) {
        self.chains = chains;
        self.generation += 1;
    }

    /// The verdict of this hook's chain with the deciding rule; `None` when the hook has no chain.
    pub(crate) fn judge(
        &self,
        hook: HookPoint,
        flow: &Flow,
        track: &Track,
        table: &mut Conntrack,
    ) -> Option<(Action, Option<u32>)> {
        let chain = self.chains.iter().find(|chain| chain.hook == hook)?;
        let Track::Known { entry, direction, state } = *track else { return Some(chain.judge(flow)) };
        // An error is judged by its own addresses, not by its flow's.
        if state == rt_rules::CtState::Related {
            return Some(chain.judge(flow));
        }
        let (in_port, out_port) = (flow.in_port, flow.out_port);
        let fresh = CachedVerdict { generation: self.generation, hook, state, in_port, out_port, rule: 0 };
        if let Some(kept) = table.cached(entry, direction)
            && (CachedVerdict { rule: 0, ..kept }) == fresh
        {
            return Some((Action::Accept, (kept.rule != u32::MAX).then_some(kept.rule)));
        }
        let (action, rule) = chain.judge(flow);
        if action == Action::Accept {
            table.cache(entry, direction, CachedVerdict { rule: rule.unwrap_or(u32::MAX), ..fresh });
        }
        Some((action, rule))
    }
}
