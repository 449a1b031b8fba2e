//! Requests under way that others wait for.

use std::collections::BTreeMap;

use super::Asker;

/// By key and the values of the fields that Vary is known to name there.
#[derive(Debug, Default)]
pub(super) struct Flights(BTreeMap<String, Flight>);

#[derive(Debug)]
struct Flight {
    leader: Asker,
    /// Purged while it was under way: its response is not kept.
    doomed: bool,
}

impl Flights {
    pub(super) fn leader(&self, place: &str) -> Option<Asker> {
        self.0.get(place).map(|flight| flight.leader)
    }

    pub(super) fn begin(&mut self, place: &str, leader: Asker) {
        self.0.insert(place.to_owned(), Flight { leader, doomed: false });
    }

    /// Ends the flight of `leader`; another one may be under way there since.
    pub(super) fn end(&mut self, place: &str, leader: Asker) {
        if self.leader(place) == Some(leader) {
            self.0.remove(place);
        }
    }

    pub(super) fn is_doomed(&self, place: &str, leader: Asker) -> bool {
        self.0.get(place).is_some_and(|flight| flight.doomed && flight.leader == leader)
    }

    pub(super) fn is_under_way(&self, leader: Asker) -> bool {
        self.0.values().any(|flight| flight.leader == leader)
    }

    pub(super) fn doom(&mut self, matches: impl Fn(&str) -> bool) {
        for (_, flight) in self.0.iter_mut().filter(|(place, _)| matches(place)) {
            flight.doomed = true;
        }
    }
}
