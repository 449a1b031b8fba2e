//! Links and what may be wrong with them.

use crate::shape::{Key, Shape, Ty, key, must};

pub(super) const IMPAIRMENTS: &[Key] = &[
    key("rate", Ty::Rate, "Bits per second, such as 100Mbit/s."),
    key("delay", Ty::Duration, "Propagation delay, one way, such as 4ms."),
    key("jitter", Ty::Duration, "Extra delay per frame, evenly from nothing to this."),
    key("loss", Ty::Loss, "Share of frames that are lost, such as 2%; or regularly: `every 1000th`."),
    key(
        "reorder",
        Ty::Share,
        "Share of frames that are held back by one more delay, so that later ones overtake them.",
    ),
    key("duplicate", Ty::Share, "Share of frames that arrive twice."),
    key("corrupt", Ty::Share, "Share of frames in which one bit is flipped."),
    key(
        "bit-errors",
        Ty::BitErrors,
        "Bit error rate, such as 1e-7: each bit flips with this chance, and a frame with a wrong bit is lost at the receiver.",
    ),
    key(
        "queue",
        Ty::Queue,
        "How much waits before the link at most: `1000 packets` or `256KiB`; more is dropped.",
    ),
];
pub(super) const LINK_MTU: &[Key] = &[key(
    "mtu",
    Ty::Size,
    "Longest IP packet that the link carries, in bytes (at least 68; 1500 by default).",
)];

pub(super) static DIRECTION: Shape =
    Shape { name: "one direction of a link", about: "What differs in one direction.", keys: &[IMPAIRMENTS] };

const BY_DIRECTION: &[Key] = &[
    key("up", Ty::Object(&DIRECTION), "What differs from the site to the internet, such as a lower rate."),
    key("down", Ty::Object(&DIRECTION), "What differs from the internet to the site."),
];

pub(super) static ACCESS: Shape = Shape {
    name: "an access link",
    about: "The link between a site and the internet.",
    keys: &[IMPAIRMENTS, LINK_MTU, BY_DIRECTION],
};

pub(super) static HOME_ACCESS: Shape = Shape {
    name: "a home's access link",
    about: "The link between a home and its ISP.",
    keys: &[
        IMPAIRMENTS,
        LINK_MTU,
        BY_DIRECTION,
        &[
            key(
                "pppoe",
                Ty::Flag,
                "Whether the line carries a PPPoE session (RFC 2516): 1492 bytes are left of 1500.",
            ),
            key(
                "cgnat",
                Ty::Flag,
                "Whether the ISP puts it behind its carrier-grade NAT: the router's outer address is one of 100.64.0.0/10.",
            ),
        ],
    ],
};

pub(super) static CABLE: Shape = Shape {
    name: "a cable",
    about: "Properties of the cables inside a site.",
    keys: &[IMPAIRMENTS, LINK_MTU],
};

pub(super) static LINK: Shape = Shape {
    name: "a link",
    about: "A full-duplex cable between two interfaces.",
    keys: &[
        &[must(
            "endpoints",
            Ty::List(&Ty::Text),
            "Its two ends, as [\"a:eth0\", \"b:eth0\"]: node, colon, interface.",
        )],
        IMPAIRMENTS,
        LINK_MTU,
        &[
            key("a-to-b", Ty::Object(&DIRECTION), "What differs from the first end to the second."),
            key("b-to-a", Ty::Object(&DIRECTION), "What differs from the second end to the first."),
        ],
    ],
};
