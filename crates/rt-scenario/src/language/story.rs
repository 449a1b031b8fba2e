//! Names, steps, expectations and the timeline.

use rt_base::Nanos;

use super::machine::MESSAGE;
use super::{HOST_NAMES, LINES};
use crate::shape::{Key, Shape, Ty, key, must};
use crate::units::Measure;

pub(super) static ZONE: Shape = Shape {
    name: "a zone",
    about: "A DNS zone.",
    keys: &[&[
        key("server", Ty::Name, "The node whose name server answers for it."),
        key(
            "records",
            *LINES,
            "Records in master-file form: `www 300 A 192.0.2.1`; names without a final dot are relative.",
        ),
        key("text", Ty::Text, "The whole zone as a master file, instead of records."),
    ]],
};

pub(super) static CERT: Shape = Shape {
    name: "a certificate",
    about: "A certificate to be made for the run.",
    keys: &[&[
        must("names", *HOST_NAMES, "The names in it."),
        key("not-before", Ty::Instant, "Valid from; 30 days before the epoch by default."),
        key("not-after", Ty::Instant, "Valid until; 60 days after the epoch by default."),
        key(
            "issuer",
            Ty::OneOf(&["public-ca", "unknown-ca"]),
            "Who signed it: a CA that everybody trusts, or nobody.",
        ),
    ]],
};

pub(super) static NAMES_SHAPE: Shape = Shape {
    name: "names",
    about: "Hosts entries, zones and certificates beside those that sites bring.",
    keys: &[&[
        key("hosts", Ty::Map("host name", &Ty::Address), "Entries in every machine's hosts file."),
        key("zones", Ty::Map("domain", &Ty::Object(&ZONE)), "More DNS zones, by their names."),
        key(
            "certificates",
            Ty::Map("certificate", &Ty::Object(&CERT)),
            "Certificates that `run: http:` can name.",
        ),
    ]],
};

pub(super) static ISN: Shape = Shape {
    name: "initial sequence numbers",
    about: "Pinned initial sequence numbers of the first connection.",
    keys: &[&[
        key("client", Ty::Whole(0, 0xffff_ffff), "Of the machine that connects."),
        key("server", Ty::Whole(0, 0xffff_ffff), "Of the machine that is connected to."),
    ]],
};

static GUESSES: Shape = Shape {
    name: "guesses",
    about: "Sequence numbers of a connection, or ids of a DNS question, that a blind attacker tries.",
    keys: &[&[
        key("first", Ty::Whole(0, 0xffff_ffff), "The first one (0 by default)."),
        key(
            "stride",
            Ty::Whole(0, 0xffff_ffff),
            "From one to the next (65535 by default, a window; 1 for ids).",
        ),
        key("count", Ty::Whole(1, 1_000_000), "How many (1 by default)."),
        key("rate", Ty::Whole(1, 10_000_000), "How many a second (10000 by default)."),
    ]],
};

/// Longest wait between two steps: what machines do by themselves meanwhile (leases, probes) takes real time.
pub(crate) const LONGEST_PAUSE: Nanos = Nanos::from_secs(30 * 86_400);
/// Longer than any step may last.
const HOUR: u64 = 3_600_000_000_000;

pub(super) static STEP: Shape = Shape {
    name: "a step",
    about: "What somebody does: a sentence, or a mapping when more must be said.",
    keys: &[&[
        must(
            "do",
            Ty::Text,
            "The sentence: `WHO opens URL`, `opens wss://TARGET/PATH` (WebSocket; `ws://` without TLS), `posts to URL`, `purges URL` (a cache whose `purge-from` has WHO), `pings TARGET`, `looks up NAME [TYPE]`, `connects to TARGET:PORT`, `traces the route to TARGET [using udp|icmp|tcp [port N]]`, `finds the path MTU to TARGET`, `sends SIZE to TARGET[:PORT] over [N] TCP [connections]`, `streams RATE for SPAN to TARGET[:PORT] over UDP|TCP` (both to a machine that runs a `sink`), `calls TARGET:PORT [N times]`, `calls https://TARGET:PORT/SERVICE/METHOD [N times]` (gRPC; `http://` without TLS), `floods TARGET:PORT with SYNs at N/s for SPAN`, `spoofs RST|SYN|UDP from A:P to B:P`, `spoofs answer NAME is ADDRESS from A:53 to B:P`, `runs ssh ARGUMENTS`; `after 2s` may follow, and `every 10s for 5min` behind what is done once. `SITE.NAME*` acts for all devices of a `count`.",
        ),
        key(
            "every",
            Ty::Span(0, HOUR),
            "With `sends`: look at the sender this often, as iperf's reports. With `calls`: pause between a reply and \
             the next call. With `opens wss://...`: pause between an answer and what is said next.",
        ),
        key(
            "frame",
            Ty::Span(1_000_000, HOUR),
            "With `streams`: from one frame to the next (20ms by default).",
        ),
        key(
            "playout",
            Ty::Span(0, HOUR),
            "With `streams`: a frame is played so long after it could have come at the earliest (150ms by default).",
        ),
        key("json", Ty::Json, "What `posts to` sends."),
        key(
            "fields",
            Ty::Map("field", &Ty::Text),
            "`opens`, `reloads`, `posts`: fields of the requests (of a WebSocket's handshake), in place of the browser's own (`Authorization`, an API key).",
        ),
        key("after", Ty::Span(0, LONGEST_PAUSE.0), "Wait this long after the step before."),
        key("source-port", Ty::Port, "The source port of the first connection."),
        key("isn", Ty::Object(&ISN), "Initial sequence numbers of the first connection."),
        key(
            "ecn",
            Ty::Flag,
            "Whether connections of this step ask for ECN; as the machine's TCP does when not given.",
        ),
        key("count", Ty::Whole(1, 1000), "How many pings (1 by default)."),
        key("background", Ty::Flag, "The next step does not wait for the end of this one."),
        key("request", MESSAGE, "`calls`: length of a request, or of a job's input (100 bytes by default)."),
        key(
            "connections",
            Ty::OneOf(&["each", "kept", "warmed"]),
            "`calls`: a connection for each call, kept (by default), or opened before the first call and kept.",
        ),
        key(
            "at-once",
            Ty::Whole(1, 1000),
            "`calls`: so many calls at once, each on its own connection; with a URL each on its own stream.",
        ),
        super::grpc::JOBS,
        super::websocket::SAYS,
        super::websocket::BINARY,
        super::websocket::TIMES,
        super::websocket::LISTENS,
        super::grpc::DEADLINE,
        super::grpc::CANCEL_AFTER,
        key(
            "timeout",
            Ty::Span(1_000_000, HOUR),
            "`calls`, `opens wss://...`: give up on a call or an answer after this (30s by default).",
        ),
        key("writes", Ty::Whole(1, 100), "`calls`: a request is written in so many pieces, its head first."),
        key("no-delay", Ty::Flag, "`calls`: TCP_NODELAY."),
        key("quick-ack", Ty::Flag, "`calls`: TCP_QUICKACK after each read."),
        key(
            "types",
            Ty::List(&Ty::Text),
            "`runs ssh`: lines typed at the far shell's prompts, one after the other.",
        ),
        key("sources", Ty::Net, "`floods`: in the name of addresses of this network (198.18.0.0/15)."),
        key("guesses", Ty::Object(&GUESSES), "`spoofs`: the sequence numbers or ids that are tried."),
    ]],
};

/// What steps measure: each may be bounded by an expectation of the same name.
pub(crate) const FIGURES: &[Key] = &[
    key(
        "latency-min",
        Ty::Between(Measure::Time),
        "The shortest of the calls, or of what is done `every` so often: `40ms..`, `..50ms`, `40ms..50ms`.",
    ),
    key("latency-median", Ty::Between(Measure::Time), "The median of the calls."),
    key("latency-p99", Ty::Between(Measure::Time), "99 calls in a hundred took no longer."),
    key("latency-max", Ty::Between(Measure::Time), "The longest of the calls."),
    key("connections", Ty::Between(Measure::Count), "How many connections were opened for the calls."),
    key("packets", Ty::Between(Measure::Count), "How many packets a flood or a forger sent."),
    key(
        "goodput",
        Ty::Between(Measure::Rate),
        "What `sends` got through: bytes over the time from the first byte written to the last one read by the sink.",
    ),
    key(
        "path-mtu",
        Ty::Between(Measure::Count),
        "The longest packet that `finds the path MTU` got through, bytes.",
    ),
    key("hops", Ty::Between(Measure::Count), "How many hops `traces the route` counted to the target."),
    key("datagrams-lost", Ty::Between(Measure::Share), "Share of a stream's datagrams that did not arrive."),
    key("messages-sent", Ty::Between(Measure::Count), "How many messages a WebSocket's client sent."),
    key("messages-received", Ty::Between(Measure::Count), "How many messages it got."),
    key("jitter", Ty::Between(Measure::Time), "A stream's jitter at its end (RFC 3550)."),
    key("frames-lost", Ty::Between(Measure::Count), "How many frames of a stream did not arrive."),
    key("frames-late", Ty::Between(Measure::Count), "How many frames of a stream arrived after their time."),
    key("stalls", Ty::Between(Measure::Count), "How often a player that waits stood still."),
    key("stalled", Ty::Between(Measure::Time), "For how long it stood still in all."),
    key("rounds", Ty::Between(Measure::Count), "How often a step with `every D for D` was done."),
    key("failed-rounds", Ty::Between(Measure::Count), "How many times of those failed."),
    key("failed-calls", Ty::Between(Measure::Count), "How many calls failed."),
    key(
        "retransmissions",
        Ty::Between(Measure::Count),
        "How many TCP segments of the step's connections were sent again, by either end.",
    ),
    key(
        "refused",
        Ty::Between(Measure::Count),
        "How many SYNs and last ACKs of handshakes full listeners dropped while the step lasted.",
    ),
    key(
        "syn-cookies",
        Ty::Between(Measure::Count),
        "How many SYNs listeners answered with a cookie while the step lasted (RFC 4987).",
    ),
];

/// The keys of an expectation.
pub(crate) static EXPECT: Shape = Shape {
    name: "an expectation",
    about: "What must hold of a step.",
    keys: &[
        FIGURES,
        &[
            key("status", Ty::Whole(100, 599), "The HTTP status of the page."),
            key("protocol", Ty::OneOf(&["h2", "http/1.1"]), "The HTTP version."),
            key(
                "field",
                Ty::Text,
                "The page's response has this field, and it contains this: `CF-Cache-Status: HIT`.",
            ),
            key("within", Ty::Duration, "It is done within this."),
            key("through", Ty::List(&Ty::Name), "The request's packets pass these nodes in this order."),
            key(
                "dns",
                Ty::OneOf(&["cached", "asked"]),
                "Whether the name came from a cache or was asked for.",
            ),
            key("tls", Ty::OneOf(&["resumed", "full"]), "Whether the TLS session was resumed."),
            key("fails", Ty::Text, "The step fails, and its summary contains this."),
            key("succeeds", Ty::Flag, "The step reaches its aim."),
            key("prints", Ty::Text, "One of the lines that a person would see contains this."),
            key(
                "answered-by",
                Ty::Text,
                "So many of its requests were answered by this server behind a proxy or a balancer: `web-1 10..30`.",
            ),
            key(
                "from-cache",
                Ty::Whole(0, 100_000),
                "Exactly so many resources come from the browser's cache or are revalidated.",
            ),
        ],
    ],
};

pub(super) static HAPPENING: Shape = Shape {
    name: "an entry of the timeline",
    about: "What happens to a link or a machine at a time.",
    keys: &[&[
        must("at", Ty::Duration, "When, since the start of the run."),
        key("cut", Ty::Text, "Cut this link: one of its endpoints, as `b:eth0`."),
        key("heal", Ty::Text, "Heal this link."),
        key("impair", Ty::Text, "Change this link's properties from now on."),
        key(
            "rebind",
            Ty::Text,
            "This machine forgets its NAT mappings, as a router that was switched off and on; external ports change.",
        ),
        key("keep-ports", Ty::Flag, "With `rebind`: flows may get the external port back that they had."),
        key("drain", Ty::Text, "This machine's balancer gives a server no new connections from now on."),
        key("admit", Ty::Text, "This machine's balancer gives a server connections again."),
        key("server", Ty::Text, "Which server, with `drain` and `admit`."),
        key(
            "purge",
            Ty::Text,
            "The cache of this machine's proxies forgets what it keeps; the name of a site means all its machines that keep something, as the edges of a `cdn`.",
        ),
        key(
            "path",
            Ty::Text,
            "With `purge`: only what is kept for this path, whatever host and query; `/static/*` for all that begins so.",
        ),
        key("tag", Ty::Text, "With `purge`: only what has this tag in `Cache-Tag` or `Surrogate-Key`."),
        key("loss", Ty::Share, "New loss, with `impair`."),
        key("delay", Ty::Duration, "New delay, with `impair`."),
        key("rate", Ty::Rate, "New rate, with `impair`."),
    ]],
};
