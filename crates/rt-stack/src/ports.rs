//! Ephemeral ports: one chooser for UDP and TCP.

use rt_base::Rng;
use rt_rules::PortRange;

use crate::config::PortPolicy;

/// Chooses local ports.
#[derive(Debug)]
pub(crate) struct Ports {
    policy: PortPolicy,
    range: PortRange,
    /// The next one of the sequential policy.
    next: u16,
    rng: Rng,
}

impl Ports {
    pub(crate) fn new(policy: PortPolicy, range: PortRange, rng: Rng) -> Ports {
        // Port 0 means "choose one" everywhere: it is never chosen.
        let range = PortRange { first: range.first.max(1), last: range.last.max(range.first.max(1)) };
        Ports { policy, range, next: range.first, rng }
    }

    /// A port that `is_free` likes; tries each of the range once at most.
    pub(crate) fn choose(&mut self, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        let size = u32::from(self.range.last - self.range.first) + 1;
        let start = match self.policy {
            PortPolicy::Sequential => self.next,
            PortPolicy::Random => self.range.first + self.rng.below(u64::from(size)) as u16,
        };
        let mut port = start;
        for _ in 0..size {
            let following = if port == self.range.last { self.range.first } else { port + 1 };
            if is_free(port) {
                if self.policy == PortPolicy::Sequential {
                    self.next = following;
                }
                return Some(port);
            }
            port = following;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(policy: PortPolicy) -> Ports {
        Ports::new(policy, PortRange { first: 100, last: 103 }, Rng::stream(1, "t", "ports"))
    }

    #[test]
    fn sequential_ports_come_in_turn_and_skip_what_is_taken() {
        let mut ports = ports(PortPolicy::Sequential);
        let picked: Vec<_> = (0..5).map(|_| ports.choose(|port| port != 102)).collect();
        assert_eq!(picked, [Some(100), Some(101), Some(103), Some(100), Some(101)]);
        assert_eq!(ports.choose(|_| false), None);
    }

    #[test]
    fn random_ports_stay_in_the_range() {
        let mut ports = ports(PortPolicy::Random);
        assert!((0..100).all(|_| ports.choose(|_| true).is_some_and(|p| (100..=103).contains(&p))));
        assert_eq!(ports.choose(|port| port == 101), Some(101));
    }
}
