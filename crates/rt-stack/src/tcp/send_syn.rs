//! The SYN and the SYN-ACK: their options, their flags for ECN, and when they are repeated.

use rt_base::{Blocked, SendWhy, Time, TimerKind};
use rt_wire::{Seq, TcpFlags, TcpOptions};

use super::config::EcnMode;
use super::connection::Connection;
use super::segment::{Cx, Segment, SegmentToken};
use super::timers::Slot;
use super::variables::MAX_UNSCALED;

/// FreeBSD's `rexmit_drop_options` begins with this repetition.
const DROPS_OPTIONS_FROM: u8 = 3;

impl Connection {
    /// The SYN or SYN-ACK, when it is due.
    pub(super) fn next_syn(&mut self, cx: Cx, flags: TcpFlags) -> Option<Segment> {
        if !core::mem::take(&mut self.pending.syn) {
            self.block(cx, (self.snd.unsent() > 0).then_some(Blocked::Handshake));
            return None;
        }
        // Linux's `tcpi_total_retrans` has SYNs and SYN-ACKs too.
        self.recovery.counts.repeated += u32::from(self.snd.nxt.gt(self.snd.iss));
        self.snd.nxt = self.snd.nxt.max(self.snd.iss + 1);
        let passive = flags.has(TcpFlags::ACK);
        let flags = flags | self.syn_ecn_flags(passive);
        let mut header = self.header(cx, self.snd.iss, flags, false);
        header.options = self.syn_options(cx, passive);
        let len = self.syn_text(cx, passive, &mut header.options);
        // As if nothing had come yet, whatever text the SYN brought.
        let window = self.rcv.limit.min(MAX_UNSCALED);
        header.window = window as u16;
        if passive {
            self.rcv.adv = self.rcv.adv.max(self.rcv.nxt + window);
        } else {
            header.ack = Seq(0);
        }
        self.arm_syn(cx);
        let mut segment = self.segment(header, len, 0, SendWhy::Handshake, self.pending.syn_origin);
        segment.token = SegmentToken(Some(self.snd.iss.0));
        self.pending.syn_origin.1 = cx.now;
        Some(segment)
    }

    fn syn_options(&self, cx: Cx, passive: bool) -> TcpOptions {
        let mut o = TcpOptions::default();
        o.order = self.config.option_order;
        if self.config.no_options {
            return o;
        }
        o.mss = Some(self.rcv.mss);
        if !passive && self.config.syn_habits.drops_options && self.retries >= DROPS_OPTIONS_FROM {
            return o;
        }
        o.sack_permitted = self.rcv.sack;
        self.ts.option(cx.now, &mut o);
        if !passive {
            o.window_scale = self.config.window_scaling.then(|| self.config.window_shift());
        } else if self.rcv.shift_agreed {
            o.window_scale = Some(self.rcv.shift);
        }
        o
    }

    /// ECE and CWR ask, ECE alone agrees.
    fn syn_ecn_flags(&mut self, passive: bool) -> TcpFlags {
        //= rfc3168#6.1.1
        if passive {
            return if self.ecn.ok { TcpFlags::ECE } else { TcpFlags(0) };
        }
        //= rfc3168#6.1.1.1
        // A machine on the way may drop SYNs that ask.
        let gave_up = self.config.ecn_fallback && self.retries > self.config.ecn_retries;
        self.ecn.asked = self.config.ecn == EcnMode::On && !gave_up;
        if self.ecn.asked { TcpFlags::ECE | TcpFlags::CWR } else { TcpFlags(0) }
    }

    pub(super) fn arm_syn(&mut self, cx: Cx) {
        //= rfc6298#5.1
        let at: Time = cx.now + self.rtt.syn_timeout(&self.config, self.retries);
        let at = at.min(self.give_up_at.max(cx.now));
        self.timers.arm(cx, Slot::Retransmit, TimerKind::Rto, at);
    }
}
