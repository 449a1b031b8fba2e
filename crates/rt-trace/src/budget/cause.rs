//! The names of what time is spent on. A closed list: there is no "other".

use rt_base::{Blocked, SendWhy, TimerKind, Wait};
use serde::{Deserialize, Serialize};

/// What one slice of time was spent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The signal travels along a link.
    Propagation,
    /// The bits are put on a link one after the other.
    Serialisation,
    /// Waiting behind other frames before a link.
    Queue,
    /// A machine handles the frame before it offers it to a link.
    Processing,
    /// TCP had data and might not send it.
    Blocked(Blocked),
    /// A segment was lost; this long until the given way of finding out sent it again.
    Lost(SendWhy),
    /// A timer ran.
    Timer(TimerKind),
    /// The real program that plays a machine, and its kernel: what they did is not known, only how long it took.
    Outside,
    /// Nothing yet: what came of it in the end was begun later, by another machine's own step (a forged answer).
    Elsewhere,
    /// The trace does not say. Always a bug of roundtrip (or a trace that was cut short), never a kind of time: it
    /// comes with a [`super::Problem`] and tests demand that there is none.
    Unnamed,
}

/// Causes of one kind, as they are added up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Propagation.
    Distance,
    /// Serialisation.
    Bits,
    /// Queues.
    Queues,
    /// Processing in machines on the way.
    Machines,
    /// Name servers at work.
    NameServers,
    /// Proxies and balancers at work.
    Proxies,
    /// Servers at work.
    Servers,
    /// The browser at work.
    Page,
    /// Real programs at work.
    Programs,
    /// TCP held data back.
    Held,
    /// Something was lost and had to be noticed.
    Loss,
    /// An application waited for an answer that did not come, or before trying again.
    Timeouts,
    /// DHCP, ARP and housekeeping timers.
    Protocol,
    /// An attacker sent forged packets at its rate.
    Attack,
    /// A person waited.
    Person,
    /// See [`Cause::Unnamed`].
    Unnamed,
}

impl Cause {
    /// The stable machine code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Cause::Propagation => "move.propagation",
            Cause::Serialisation => "move.serialisation",
            Cause::Queue => "move.queue",
            Cause::Processing => "move.processing",
            Cause::Blocked(reason) => blocked_words(reason).0,
            Cause::Lost(why) => lost_words(why).0,
            Cause::Timer(kind) => timer_words(kind).0,
            Cause::Outside => "outside.program",
            Cause::Elsewhere => "outside.step",
            Cause::Unnamed => "bug.unnamed",
        }
    }

    /// A short phrase for people.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            Cause::Propagation => "on the way (distance)",
            Cause::Serialisation => "putting the bits on the wire",
            Cause::Queue => "waiting in a queue",
            Cause::Processing => "a machine handles the packet",
            Cause::Blocked(reason) => blocked_words(reason).1,
            Cause::Lost(why) => lost_words(why).1,
            Cause::Timer(kind) => timer_words(kind).1,
            Cause::Outside => "the real program",
            Cause::Elsewhere => "until another machine's step began what came of it",
            Cause::Unnamed => "BUG: the trace does not say why",
        }
    }

    /// What it is added up under.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Cause::Propagation => Group::Distance,
            Cause::Serialisation => Group::Bits,
            Cause::Queue => Group::Queues,
            Cause::Processing => Group::Machines,
            Cause::Blocked(_) => Group::Held,
            Cause::Lost(_) => Group::Loss,
            Cause::Timer(kind) => timer_group(kind),
            Cause::Outside => Group::Programs,
            Cause::Elsewhere => Group::Held,
            Cause::Unnamed => Group::Unnamed,
        }
    }
}

impl Group {
    /// Every group, in the order of printing.
    pub const ALL: &[Group] = &[
        Group::Distance,
        Group::Bits,
        Group::Queues,
        Group::Machines,
        Group::NameServers,
        Group::Proxies,
        Group::Servers,
        Group::Page,
        Group::Programs,
        Group::Held,
        Group::Loss,
        Group::Timeouts,
        Group::Protocol,
        Group::Attack,
        Group::Person,
        Group::Unnamed,
    ];

    /// The stable machine code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Group::Distance => "distance",
            Group::Bits => "bits",
            Group::Queues => "queues",
            Group::Machines => "machines",
            Group::NameServers => "name-servers",
            Group::Proxies => "proxies",
            Group::Servers => "servers",
            Group::Page => "page",
            Group::Programs => "programs",
            Group::Held => "held",
            Group::Loss => "loss",
            Group::Timeouts => "timeouts",
            Group::Protocol => "protocol",
            Group::Attack => "attack",
            Group::Person => "person",
            Group::Unnamed => "bug",
        }
    }

    /// The label in the story.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            Group::Distance => "distance",
            Group::Bits => "sending bits",
            Group::Queues => "waiting in queues",
            Group::Machines => "machines passing packets on",
            Group::NameServers => "name servers thinking",
            Group::Proxies => "proxies thinking",
            Group::Servers => "web servers thinking",
            Group::Page => "the browser's own work",
            Group::Programs => "the real program",
            Group::Held => "TCP holding data back",
            Group::Loss => "noticing lost packets",
            Group::Timeouts => "answers that did not come",
            Group::Protocol => "protocol timers",
            Group::Attack => "an attacker at work",
            Group::Person => "a person waiting",
            Group::Unnamed => "BUG: unnamed",
        }
    }

    /// One sentence that explains it to someone new.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Group::Distance => "signals need time to travel; nothing but a nearer server makes this shorter",
            Group::Bits => "a link takes its bits one after the other; a faster link makes this shorter",
            Group::Queues => "packets stood behind other packets",
            Group::Machines => "each machine on the way needs a moment per packet",
            Group::NameServers => "DNS servers worked on the questions",
            Group::Proxies => "proxies and balancers worked on the requests before they passed them on",
            Group::Servers => "web servers made the answers",
            Group::Page => "the browser read the page and drew it",
            Group::Programs => "the real program, its kernel and this computer took so long in real time",
            Group::Held => "TCP had data to send and its own rules said: not yet",
            Group::Loss => "something was lost, and it takes time to be sure of that",
            Group::Timeouts => "nobody answered, so a clock had to run out",
            Group::Protocol => "timers of DHCP, ARP, TCP and the like",
            Group::Attack => "forged packets were sent, one after the other, at the rate that was asked for",
            Group::Person => "nobody did anything",
            Group::Unnamed => "this is a bug in roundtrip: please report it",
        }
    }
}

fn blocked_words(reason: Blocked) -> (&'static str, &'static str) {
    match reason {
        Blocked::Handshake => ("blocked.handshake", "TCP waits for its handshake"),
        Blocked::Cwnd => ("blocked.cwnd", "TCP's congestion window is full"),
        Blocked::PeerWindow => ("blocked.peer_window", "the other end's receive window is full"),
        Blocked::Nagle => ("blocked.nagle", "Nagle's rule waits for an acknowledgement"),
        Blocked::Pacing => ("blocked.pacing", "TCP spaces its packets out"),
        Blocked::SendBuffer => {
            ("blocked.send_buffer", "the send buffer is full until bytes are acknowledged")
        }
        Blocked::Cork => ("blocked.cork", "the application asked TCP to collect more"),
    }
}

fn lost_words(why: SendWhy) -> (&'static str, &'static str) {
    match why {
        SendWhy::FastRetransmit => (
            "lost.fast_retransmit",
            "a packet was lost; later acknowledgements gave it away (fast retransmit)",
        ),
        SendWhy::RtoRetransmit => {
            ("lost.rto", "a packet was lost; no acknowledgement came before the timer ran out (RTO)")
        }
        SendWhy::TailLossProbe => {
            ("lost.tail_loss_probe", "the last packet stayed unanswered (tail loss probe)")
        }
        SendWhy::PathMtu => ("lost.path_mtu", "a packet was too long for the path (path MTU)"),
        SendWhy::WindowProbe => ("lost.window_probe", "the other end's window was closed (window probe)"),
        SendWhy::Handshake => ("lost.handshake", "a handshake packet stayed unanswered"),
        SendWhy::Fin => ("lost.fin", "a closing packet stayed unanswered"),
        SendWhy::Keepalive => ("lost.keepalive", "a keepalive stayed unanswered"),
        SendWhy::NewData | SendWhy::Ack | SendWhy::DelayedAck | SendWhy::Reset | SendWhy::ChallengeAck => {
            ("lost.sent_again", "a packet was sent again")
        }
    }
}

fn timer_words(kind: TimerKind) -> (&'static str, &'static str) {
    match kind {
        TimerKind::Rto => ("timer.rto", "TCP's retransmission timer ran (RTO)"),
        TimerKind::Tlp => ("timer.tlp", "TCP's tail loss timer ran"),
        TimerKind::Reorder => ("timer.reorder", "TCP waited for packets that might only be out of order"),
        TimerKind::DelayedAck => ("timer.delayed_ack", "the receiver held its acknowledgement back"),
        TimerKind::Persist => ("timer.persist", "the other end's window was closed"),
        TimerKind::Keepalive => ("timer.keepalive", "keepalive timer"),
        TimerKind::TimeWait => ("timer.time_wait", "TIME-WAIT"),
        TimerKind::FinWait2 => ("timer.fin_wait_2", "FIN-WAIT-2"),
        TimerKind::Pacing => ("timer.pacing", "TCP spaces its packets out"),
        TimerKind::Neighbor => ("timer.neighbor", "ARP got no answer and asks again"),
        TimerKind::Reassembly => ("timer.reassembly", "fragments did not come"),
        TimerKind::Session => ("timer.session", "PPPoE got no answer and asks again"),
        TimerKind::App(wait) => wait_words(wait),
    }
}

fn wait_words(wait: Wait) -> (&'static str, &'static str) {
    match wait {
        Wait::ServerThink => ("think.server", "the web server works on the request"),
        Wait::DnsThink => ("think.dns", "the name server works on the question"),
        Wait::ProxyThink => ("think.proxy", "the balancer works on the request"),
        Wait::Collect => ("think.collect", "the balancer collects bytes before it passes them on"),
        Wait::PageWork => ("think.page", "the browser works on the page"),
        Wait::Person => ("wait.person", "a person waits"),
        Wait::Timeout => ("wait.timeout", "no answer came before the time-out"),
        Wait::Backoff => ("wait.backoff", "a pause before trying again"),
        Wait::Dhcp => ("wait.dhcp", "DHCP waits for answers"),
        Wait::Housekeeping => ("wait.housekeeping", "housekeeping"),
        Wait::Pace => ("wait.pace", "the stream's own pace"),
        Wait::Attack => ("wait.attack", "the attacker sends at the rate that was asked for"),
    }
}

fn timer_group(kind: TimerKind) -> Group {
    match kind {
        TimerKind::Rto | TimerKind::Tlp | TimerKind::Reorder => Group::Loss,
        TimerKind::DelayedAck | TimerKind::Persist | TimerKind::Pacing => Group::Held,
        TimerKind::Neighbor
        | TimerKind::Session
        | TimerKind::Keepalive
        | TimerKind::TimeWait
        | TimerKind::FinWait2
        | TimerKind::Reassembly => Group::Protocol,
        TimerKind::App(wait) => match wait {
            Wait::ServerThink => Group::Servers,
            Wait::DnsThink => Group::NameServers,
            Wait::ProxyThink | Wait::Collect => Group::Proxies,
            Wait::PageWork => Group::Page,
            Wait::Person => Group::Person,
            Wait::Attack => Group::Attack,
            Wait::Timeout | Wait::Backoff => Group::Timeouts,
            Wait::Dhcp | Wait::Housekeeping | Wait::Pace => Group::Protocol,
        },
    }
}
