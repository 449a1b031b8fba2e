//! Flows through both routers at once. Whoever answers, answers each router's own packets: so the ports that a router chose are
//! used, whichever they are.

use std::net::Ipv4Addr;

use rt_base::Rng;
use rt_wire::Icmpv4;

use crate::cases::{ASKERS, GATEWAY, INSIDE, OUTSIDE, PORTS, ROUTER, Rules, pick};
use crate::kernel::Kernel;
use crate::ours::Ours;
use crate::packets::{Ends, Left, Says, error, frame};

/// What happened, so that a test can see that something did.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    /// Packets that both passed on, dropped without a word, answered themselves, and whose ends both changed.
    pub(crate) passed: u64,
    pub(crate) silent: u64,
    pub(crate) answered: u64,
    pub(crate) rewritten: u64,
    /// Flows for which the two chose different ports.
    pub(crate) other_ports: u64,
}

/// The kernel's, and ours.
const BOTH: [usize; 2] = [0, 1];

struct Flow {
    port: usize,
    ends: Ends,
    /// The last packet that came through, by router: where it came out, its ends there, and itself.
    out: [Option<(usize, Ends, Vec<u8>)>; 2],
    /// Numbers of the two ends of TCP.
    next: [u32; 2],
    stage: u8,
    /// The ports chosen for it, by router.
    chosen: Option<[(Ipv4Addr, u16); 2]>,
}

/// Sends `steps` packets of random flows through both; the first difference.
pub(crate) fn play(rules: &Rules, rng: &mut Rng, steps: u32, tally: &mut Tally) -> Result<(), String> {
    let (kernel, ours) = (Kernel::start(rules)?, Ours::start(rules));
    let flows: Vec<Flow> = (0..12).map(|_| flow(rng)).collect();
    let mut both = Both { kernel, ours, flows, id: 0, log: Vec::new() };
    for _ in 0..steps {
        let which = rng.below(both.flows.len() as u64) as usize;
        if let Err(why) = both.step(which, rng, tally) {
            let from = both.log.len().saturating_sub(40);
            return Err(format!("{why}\n{}", both.log[from..].join("\n")));
        }
    }
    Ok(())
}

fn flow(rng: &mut Rng) -> Flow {
    let port = usize::from(rng.below(100) >= 60);
    let protocol = pick(rng, &[1, 6, 6, 17, 17]);
    let src = if port == 0 { pick(rng, &INSIDE) } else { pick(rng, &OUTSIDE) };
    let dst = match (port, rng.below(10)) {
        (0, 0) => ROUTER[0],
        (0, 1) => ROUTER[1],
        (0, _) => pick(rng, &OUTSIDE),
        (_, 0..4) => ROUTER[1],
        (_, 4..7) => ROUTER[2],
        _ => pick(rng, &INSIDE),
    };
    let (sport, dport) = (pick(rng, &ASKERS[port]), pick(rng, &PORTS));
    // Both ports of an echo are its identifier.
    let (sport, dport) = if protocol == 1 { (sport, sport) } else { (sport, dport) };
    let ends = Ends { protocol, src, sport, dst, dport };
    let next = [rng.next_u32(), rng.next_u32()];
    Flow { port, ends, out: [None, None], next, stage: 0, chosen: None }
}

struct Both {
    kernel: Kernel,
    ours: Ours,
    flows: Vec<Flow>,
    id: u16,
    log: Vec<String>,
}

impl Both {
    /// One packet of a flow: onward, back, or an ICMP error about one that came through.
    fn step(&mut self, which: usize, rng: &mut Rng, tally: &mut Tally) -> Result<(), String> {
        self.id += 1;
        let flow = &mut self.flows[which];
        let through = flow.out.iter().all(Option::is_some);
        let dice = rng.below(100);
        let back = through && dice < 45;
        if through && dice >= 92 {
            return self.complain(which, rng, tally);
        }
        let says = says(flow, back, rng);
        // About an answer to a flow whose source was changed the kernel complains in the name of the flow's other end.
        let odd = back && flow.chosen.is_some();
        let ttl = if !odd && rng.below(20) == 0 { 1 } else { 64 };
        let frames = BOTH.map(|router| match &flow.out[router] {
            Some((port, ends, _)) if back => (*port, frame(*port, ends.back(), says, (self.id, ttl))),
            _ => (flow.port, frame(flow.port, flow.ends, says, (self.id, ttl))),
        });
        self.send(which, !back, frames, tally)
    }

    /// A router or host on the way says that the last packet could not be delivered.
    fn complain(&mut self, which: usize, rng: &mut Rng, tally: &mut Tally) -> Result<(), String> {
        let flow = &self.flows[which];
        let message = match rng.below(3) {
            0 => Icmpv4::TimeExceeded { code: 0 },
            1 => Icmpv4::Unreachable { code: 4, mtu: 1400 },
            _ => Icmpv4::Unreachable { code: 3, mtu: 0 },
        };
        let by_gateway = rng.below(2) == 0;
        let frames = BOTH.map(|router| {
            let (port, ends, packet) = flow.out[router].as_ref().expect("it came through");
            let from = if by_gateway && *port == 1 { GATEWAY } else { ends.dst };
            (*port, error(*port, from, message, packet, self.id))
        });
        self.send(which, false, frames, tally)
    }

    /// Gives a packet to each router and compares what leaves.
    fn send(
        &mut self,
        which: usize,
        onward: bool,
        frames: [(usize, Vec<u8>); 2],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let [(kernel_port, kernel_frame), (our_port, our_frame)] = &frames;
        self.log.push(format!("into eth{kernel_port}: {}", rt_wire::summary(kernel_frame)));
        let theirs = self.kernel.send(*kernel_port, kernel_frame)?;
        let ours = self.ours.send(*our_port, our_frame);
        let read =
            |all: Vec<(usize, Vec<u8>)>| all.into_iter().map(Left::read).collect::<Result<Vec<_>, _>>();
        let mut theirs = read(theirs).map_err(|why| format!("the kernel's router: {why}"))?;
        let mut ours = read(ours).map_err(|why| format!("our router: {why}"))?;
        for (name, all) in [("kernel", &theirs), ("ours", &ours)] {
            self.log.push(format!("  {name}: {}", all.iter().map(Left::say).collect::<Vec<_>>().join("; ")));
        }
        self.log.push(format!("  ours dropped: {:?}", self.ours.drops));
        if theirs.len() != ours.len() {
            return Err("one of them let something out that the other did not".into());
        }
        tally.sent += 1;
        tally.silent += u64::from(theirs.is_empty());
        let given = Ends { ..self.flows[which].ends };
        for (their, our) in theirs.iter_mut().zip(&mut ours) {
            let own = our.port == *our_port && ROUTER.contains(&our.ends.src);
            tally.answered += u64::from(own);
            tally.passed += u64::from(!own);
            tally.rewritten +=
                u64::from(!own && onward && (our.ends.src != given.src || our.ends.dst != given.dst));
            self.same(which, onward && !own, (their, our), tally)?;
            if onward && !own {
                let left = |left: &Left| Some((left.port, left.ends, left.packet.clone()));
                self.flows[which].out = [left(their), left(our)];
            }
        }
        Ok(())
    }

    /// Whether two packets are the same but for chosen ports.
    fn same(
        &mut self,
        which: usize,
        onward: bool,
        (their, our): (&mut Left, &mut Left),
        tally: &mut Tally,
    ) -> Result<(), String> {
        let (a, b) = (their.ends, our.ends);
        let flow = &mut self.flows[which];
        if onward && a.sport != b.sport && a.src == b.src {
            let chosen = [(a.src, a.sport), (b.src, b.sport)];
            tally.other_ports += u64::from(flow.chosen.is_none());
            flow.chosen = Some(chosen);
        }
        if let Some([(address, theirs), (_, ours)]) = flow.chosen {
            our.rename((address, ours), theirs);
        }
        if their.port == our.port && their.plain == our.plain {
            return Ok(());
        }
        let differ =
            (0..their.plain.len().max(our.plain.len())).find(|i| their.plain.get(*i) != our.plain.get(*i));
        Err(format!(
            "what leaves is not the same, from byte {differ:?} on\n  kernel {:02x?}\n  ours   {:02x?}",
            their.plain, our.plain
        ))
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// What a flow says next in a direction. TCP goes through its handshake, talks and ends; sometimes it does something else.
fn says(flow: &mut Flow, back: bool, rng: &mut Rng) -> Says {
    match flow.ends.protocol {
        1 => return Says::Echo { reply: back, seq: flow.stage.into() },
        17 => return Says::Udp(rng.below(30) as u8),
        _ => {}
    }
    let (own, other) = if back { (1, 0) } else { (0, 1) };
    let (seq, ack) = (flow.next[own], flow.next[other]);
    let odd = rng.below(12) == 0;
    let (flags, bytes) = match (flow.stage, back, odd) {
        (_, _, true) => (pick(rng, &[SYN, ACK, RST | ACK, SYN | ACK, FIN | ACK, RST]), 0),
        (0, false, _) => (SYN, 0),
        (0, true, _) => (SYN | ACK, 0),
        (1, false, _) => (ACK, 0),
        (1, true, _) => (ACK, 0),
        (_, _, _) => (pick(rng, &[ACK, PSH | ACK, PSH | ACK, FIN | ACK]), rng.below(40) as u8),
    };
    let bytes = if flags & (PSH | FIN) == 0 { 0 } else { bytes };
    if !odd {
        flow.next[own] = seq.wrapping_add(u32::from(bytes) + u32::from(flags & (SYN | FIN) != 0));
        flow.stage = match (flow.stage, back) {
            (0, true) => 1,
            (1, false) => 2,
            (stage, _) => stage,
        };
    }
    let ack = if flags & ACK == 0 { 0 } else { ack };
    Says::Tcp { flags, seq, ack, bytes }
}
