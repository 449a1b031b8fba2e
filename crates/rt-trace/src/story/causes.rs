//! In whose wake a packet was made, or anything happened: the causes of its making, followed back to the command that began a step.
//!
//! Not for the budget's walk ([`crate::budget`]), which explains time. Simplification: a packet has one cause, the input in
//! whose handling it was made; what else a program waited for before it sent is not asked.

use std::collections::BTreeMap;

use rt_base::{Event, EventId, FrameId, What};

use super::view::View;

/// Finds the steps behind packets; remembers what it has walked.
pub(super) struct Causes<'v, 't> {
    view: &'v View<'t>,
    /// What is behind an input.
    known: BTreeMap<EventId, Option<u32>>,
}

impl<'v, 't> Causes<'v, 't> {
    pub(super) fn new(view: &'v View<'t>) -> Causes<'v, 't> {
        Causes { view, known: BTreeMap::new() }
    }

    /// The step (from 0) in whose wake a frame was made. `None`: a machine's own doing (DHCP), a real program's, or not kept.
    pub(super) fn step_of(&mut self, frame: FrameId) -> Option<u32> {
        self.behind(self.made_in(frame))
    }

    /// The step in whose wake something happened.
    pub(super) fn step_behind(&mut self, event: &Event) -> Option<u32> {
        self.behind(Some(event.because).filter(|id| !id.is_none()))
    }

    /// The step behind an input.
    fn behind(&mut self, mut input: Option<EventId>) -> Option<u32> {
        let mut walked = Vec::new();
        let found = loop {
            let Some(event) = input.and_then(|id| self.view.trace.event(id)) else { break None };
            if let Some(known) = self.known.get(&event.id) {
                break *known;
            }
            // Whoever comes here again walks in circles, in a trace that somebody made up.
            self.known.insert(event.id, None);
            walked.push(event.id);
            input = match event.what {
                What::Command { step } => break Some(step),
                What::Transmit { .. } => self.made_in(event.frame),
                What::TimerFired { armed_by, .. } => Some(armed_by),
                _ => break None,
            };
        };
        self.known.extend(walked.into_iter().map(|id| (id, found)));
        found
    }

    /// The input in whose handling a frame was made.
    fn made_in(&self, frame: FrameId) -> Option<EventId> {
        self.view.trace.events_of(frame).next().map(|e| e.because).filter(|id| !id.is_none())
    }
}
