//! [`Card`]: the filters of a machine without its stack, for one that a real program plays.
//!
//! A cloud's security group is not in the instance: it sits on the virtual card, and holds whoever runs there. So when a machine is
//! given away, its Input and Output chains stay, with the flows they know. Frames go in and out as they came; nothing is answered:
//! a rule that rejects drops here.
//!
//! Simplified: later fragments pass, their first one decides (without it they are good for nothing); a machine with NAT rules keeps
//! no card, because what it translates went with its stack.

use rt_base::{Frame, HookPoint, Outbox, Place, PortId, Time};
use rt_rules::Flow;
use rt_wire::{EthernetHeader, ethertype};

use crate::hooks::Hooks;
use crate::packet::Packet;
use crate::stack::{Stack, Step, Stop};
use crate::stages::conclude;

/// The filters of a machine that somebody else plays.
#[derive(Debug)]
pub struct Card {
    hooks: Box<Hooks>,
}

impl Stack {
    /// Takes the filters out, when there are any and nothing is translated here. The stack filters nothing from then on.
    pub fn take_card(&mut self) -> Option<Card> {
        self.hooks.take_if(|hooks| !hooks.translates()).map(|hooks| Card { hooks })
    }
}

impl Card {
    /// A frame that arrived: given back when the Input chain lets it in, else dropped with its reason.
    pub fn let_in(&mut self, now: Time, port: PortId, frame: Frame, out: &mut Outbox) -> Option<Frame> {
        let mut packet = match ip(frame, port) {
            Ok(packet) => packet,
            Err(frame) => return Some(*frame),
        };
        let _ = self.hooks.track(now, &mut packet);
        let flow = packet.flow();
        self.pass(now, (HookPoint::Input, port), packet, (flow, out))
    }

    /// A frame from outside that is to leave by this interface: given back when the Output chain lets it out.
    pub fn let_out(&mut self, now: Time, port: PortId, frame: Frame, out: &mut Outbox) -> Option<Frame> {
        let mut packet = match ip(frame, port) {
            Ok(packet) => packet,
            Err(frame) => return Some(*frame),
        };
        packet.in_port = None;
        let _ = self.hooks.track(now, &mut packet);
        let flow = Flow { out_port: Some(port), ..packet.flow() };
        self.pass(now, (HookPoint::Output, port), packet, (flow, out))
    }

    fn pass(
        &mut self,
        now: Time,
        (hook, port): (HookPoint, PortId),
        mut packet: Packet,
        (flow, out): (Flow, &mut Outbox),
    ) -> Option<Frame> {
        let verdict = self.hooks.filter(now, hook, (&mut packet, &flow));
        let step =
            verdict.map_or(Step::On, |v| conclude(self.hooks.filters(), hook, v, (&packet, &flow), out));
        if let Step::Stop(stop) = step {
            return drop(packet, port, stop, out);
        }
        let entered = match hook {
            HookPoint::Input => self.hooks.deliver(now, &mut packet).map(|_| ()),
            _ => self.hooks.snat(now, &mut packet, None).map(|_| ()),
        };
        match entered {
            Ok(()) => Some(packet.frame),
            Err(refused) => {
                let stop = Stop::new(refused.reason, Place::Nat).by(refused.rule);
                drop(packet, port, stop, out)
            }
        }
    }
}

fn drop(packet: Packet, port: PortId, stop: Stop, out: &mut Outbox) -> Option<Frame> {
    out.drop_frame(packet.frame, stop.reason, stop.place, port, stop.rule);
    None
}

/// A whole IPv4 packet, or the first fragment of one; what else there is on a link passes.
fn ip(frame: Frame, port: PortId) -> Result<Packet, Box<Frame>> {
    match EthernetHeader::parse(&frame.bytes) {
        Ok((ethernet, _)) if ethernet.ethertype == ethertype::IPV4 => {
            let parsed = Packet::parse(frame, port, ethernet.dst.is_group());
            let packet = parsed.map_err(|(frame, _)| Box::new(frame))?;
            if packet.is_later_fragment() { Err(Box::new(packet.frame)) } else { Ok(packet) }
        }
        _ => Err(Box::new(frame)),
    }
}
