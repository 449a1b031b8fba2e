//! The cases: links that do something to packets, and TCP options that one side does without.

use rt_lab::Network;

/// A link, as the table calls it and as a scenario writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static str,
}

/// Both ways 200 us: a round trip of 0.4 ms, and below 1 ms with what serialisation adds.
/// How much is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    rate: &'static str,
    /// More of our TCP's options.
    tcp: &'static str,
}

/// A rate at which a busy machine without optimisation still keeps up, and windows that do not fill the queue: a round
/// trip of some milliseconds.
const QUIET: Load = Load { rate: "100Mbit/s", tcp: ", buffers: 128KiB" };
/// For many bytes, with windows as large as they get.
const FAST: Load = Load { rate: "1Gbit/s", tcp: "" };

pub(crate) const CLEAN: Link = Link { name: "clean", keys: "delay: 200us" };
pub(crate) const LOSSY: Link = Link { name: "1 % loss", keys: "delay: 200us, loss: 1%" };
pub(crate) const LINKS: [Link; 5] = [
    CLEAN,
    LOSSY,
    Link { name: "reordering", keys: "delay: 200us, reorder: 2%" },
    Link { name: "duplication", keys: "delay: 200us, duplicate: 2%" },
    Link { name: "MTU 576", keys: "delay: 200us, mtu: 576" },
];

/// Something that TCP can do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Feature {
    Sack,
    Timestamps,
    Scale,
    Ecn,
    FastOpen,
}

pub(crate) const FEATURES: [Feature; 5] =
    [Feature::Sack, Feature::Timestamps, Feature::Scale, Feature::Ecn, Feature::FastOpen];

impl Feature {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Feature::Sack => "SACK",
            Feature::Timestamps => "timestamps",
            Feature::Scale => "window scale",
            Feature::Ecn => "ECN",
            Feature::FastOpen => "Fast Open",
        }
    }

    /// The kernel's setting. Its client asks for ECN.
    fn sysctl(self, on: bool) -> String {
        let (name, value) = match self {
            Feature::Sack => ("sack", u8::from(on)),
            Feature::Timestamps => ("timestamps", u8::from(on)),
            Feature::Scale => ("window_scaling", u8::from(on)),
            Feature::Ecn => ("ecn", u8::from(on)),
            Feature::FastOpen => ("fastopen", u8::from(on)),
        };
        format!("echo {value} > /proc/sys/net/ipv4/tcp_{name}\n")
    }

    /// Our setting, of the server.
    fn key(self, on: bool) -> String {
        match self {
            Feature::Sack => format!("sack: {}", if on { "yes" } else { "no" }),
            Feature::Timestamps => format!("timestamps: {}", if on { "yes" } else { "no" }),
            Feature::Scale => format!("window-scaling: {}", if on { "yes" } else { "no" }),
            Feature::Ecn => format!("ecn: {}", if on { "accept" } else { "off" }),
            Feature::FastOpen => format!("fast-open: {}", if on { "server" } else { "off" }),
        }
    }
}

/// What is switched off, on either side; everything else is on.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) link: Link,
    pub(crate) kernel_without: Vec<Feature>,
    pub(crate) ours_without: Vec<Feature>,
    /// Bytes in each direction.
    pub(crate) bytes: u64,
    pub(crate) load: Load,
}

impl Case {
    /// With everything on.
    pub(crate) fn new(link: Link, bytes: u64) -> Case {
        Case { link, kernel_without: Vec::new(), ours_without: Vec::new(), bytes, load: QUIET }
    }

    pub(crate) fn name(&self) -> String {
        let names = |features: &[Feature]| features.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
        match (&self.kernel_without[..], &self.ours_without[..]) {
            ([], []) => self.link.name.to_owned(),
            (kernel, []) => format!("{}, kernel without {}", self.link.name, names(kernel)),
            ([], ours) => format!("{}, ours without {}", self.link.name, names(ours)),
            (kernel, ours) => {
                format!("{}, kernel without {}, ours without {}", self.link.name, names(kernel), names(ours))
            }
        }
    }

    /// Whether both sides have it.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        !self.kernel_without.contains(&feature) && !self.ours_without.contains(&feature)
    }

    pub(crate) fn sysctls(&self) -> String {
        FEATURES.iter().map(|f| f.sysctl(!self.kernel_without.contains(f))).collect()
    }

    /// The kernel on `guest`, our stack on `server`.
    pub(crate) fn scenario(&self) -> String {
        let keys: Vec<String> = FEATURES.iter().map(|f| f.key(!self.ours_without.contains(f))).collect();
        network(self.link, self.load, &keys.join(", "), "http: { port: 80, pages: httpbin }")
    }
}

/// A router stands between the two, so that a small MTU is told by ICMP, as on a real path.
fn network(link: Link, load: Load, tcp: &str, run: &str) -> String {
    Network::new("kernel")
        .host("guest", "address: 10.0.0.1/24")
        .router(
            "middle",
            "interfaces: { eth0: { address: 10.0.0.254/24 }, eth1: { address: 10.0.1.254/24 } }",
        )
        .host("server", &format!("address: 10.0.1.2/24, tcp: {{ {tcp}{} }}, run: [ {run} ]", load.tcp))
        .link("guest", "middle", "rate: 10Gbit/s, delay: 5us")
        .link("middle", "server", &format!("rate: {}, {}", load.rate, link.keys))
        .yaml()
}

/// Our stack sends to the kernel, twice.
pub(crate) fn opening(link: Link, bytes: u64) -> String {
    let step = format!("  - {{ do: \"server sends {bytes}B to 10.0.0.1:5001 over TCP\", after: 1s }}\n");
    format!("{}steps:\n{}", network(link, QUIET, "fast-open: client, ecn: ask", "sink"), step.repeat(2))
}

/// Every link, every set of features, and which side does without them.
pub(crate) fn cross_product(bytes: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let new = |link| Case { load: FAST, ..Case::new(link, bytes) };
    for link in LINKS {
        for set in 0..1 << FEATURES.len() {
            let without: Vec<Feature> =
                FEATURES.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, f)| *f).collect();
            cases.push(Case { kernel_without: without.clone(), ..new(link) });
            if !without.is_empty() {
                cases.push(Case { ours_without: without, ..new(link) });
            }
        }
    }
    cases
}
