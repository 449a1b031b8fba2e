//! What time brings: TCP's timers, ARP's questions, fragments that never became whole. One logical timer at a time, so that
//! all that follows from it can be told as its consequence.

use rt_base::{DropReason, Outbox, Place, Time, TimerKind};

use crate::icmp::Complaint;
use crate::neighbor::Due;
use crate::packet::Packet;
use crate::stack::{NOBODY, Stack, Stop};

impl Stack {
    /// When [`Stack::fire_next`] wants to be called; `Time::MAX` for never. It may be too early, never too late.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        // A bounded `send` may have left something to do.
        if self.has_work() {
            return self.cx.now;
        }
        let fragments = self.reassembly.as_ref().map_or(Time::MAX, |r| r.deadline());
        self.sockets.deadline().min(self.neighbors.deadline()).min(fragments).min(self.session_deadline())
    }

    /// Serves one timer that is due, and makes it the cause of what follows; false when none was. The caller lets
    /// applications run and calls [`Stack::send`] before it serves the next.
    pub fn fire_next(&mut self, now: Time, out: &mut Outbox) -> bool {
        self.fire_tcp(now, out)
            || self.fire_neighbor(now, out)
            || self.fire_reassembly(now, out)
            || self.fire_session(now, out)
    }

    fn fire_tcp(&mut self, now: Time, out: &mut Outbox) -> bool {
        while let Some(id) = self.sockets.next_due(now) {
            let due = self.sockets.tcp_ref(id).and_then(|socket| socket.connection.due(now));
            let Some(timer) = due else {
                self.sockets.rearm(id);
                continue;
            };
            out.timer_fired(timer.kind, id.conn(), timer.armed_by, timer.armed_at);
            self.begin(out);
            let cx = self.cx;
            if let Some(socket) = self.sockets.tcp_mut(id) {
                socket.connection.on_timer(cx, timer.kind);
            }
            self.sockets.touch(id);
            // Other timers of the same connection may be due as well.
            self.sockets.rearm(id);
            return true;
        }
        false
    }

    fn fire_neighbor(&mut self, now: Time, out: &mut Outbox) -> bool {
        let Some(due) = self.neighbors.due(now) else { return false };
        let Due { port, address, armed, failed } = due;
        out.timer_fired(TimerKind::Neighbor, NOBODY, armed.0, armed.1);
        self.begin(out);
        match failed {
            None => {
                self.neighbors.rearm(now, out.cause(), port, address);
                if let Some(source) = self.nics[port.index()].address_towards(address) {
                    self.ask(port, source, address, out);
                }
            }
            Some(waiting) => {
                let stop = Stop::new(DropReason::NeighborUnreachable, Place::Neighbor);
                for waiting in waiting {
                    self.refuse(now, waiting.packet, stop.complaining(Complaint::Host), out);
                }
            }
        }
        true
    }

    fn fire_reassembly(&mut self, now: Time, out: &mut Outbox) -> bool {
        let Some(expired) = self.reassembly.as_mut().and_then(|r| r.expire(now)) else { return false };
        out.timer_fired(TimerKind::Reassembly, NOBODY, expired.armed.0, expired.armed.1);
        self.begin(out);
        let mut frames = expired.frames.into_iter();
        // RFC 1122 3.3.2: time exceeded, if the first fragment came.
        if expired.has_first
            && let Some(first) = frames.next()
        {
            match Packet::parse(first, expired.port, false) {
                Ok(packet) => {
                    let stop = Stop::new(DropReason::ReassemblyTimeout, Place::Reassembly);
                    self.refuse(now, packet, stop.complaining(Complaint::ReassemblyTime), out);
                }
                Err((frame, _)) => {
                    out.drop_frame(
                        frame,
                        DropReason::ReassemblyTimeout,
                        Place::Reassembly,
                        expired.port,
                        None,
                    );
                }
            }
        }
        for frame in frames {
            out.drop_frame(frame, DropReason::ReassemblyTimeout, Place::Reassembly, expired.port, None);
        }
        true
    }
}
