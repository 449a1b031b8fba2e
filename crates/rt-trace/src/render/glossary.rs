//! What a word means, said once, the first time a line with its code is printed.

/// A sentence or two for a reader who meets this for the first time.
pub(crate) fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        "url.parts" => {
            "The address in the browser's bar is taken apart: how to speak, with whom, about what."
        }
        "nat.snat" => {
            "NAT: all machines at home share one public address. The router puts its own address in the place of the \
             sender's and remembers the port number, so that it knows to whom the answer belongs."
        }
        "dns.walk" => {
            "Nobody knows all names. Each server knows its own part and who serves the part below it; a resolver asks its \
             way down and remembers what it learns."
        }
        "tcp.syn" => {
            "seq: where this end starts to count bytes. mss: the most bytes it wants in one packet. wscale, SACK and \
             timestamps: abilities it offers. window: how much it can take before it has read."
        }
        "tcp.syn_ack" => "ack: the next byte this end waits for; so everything before it has arrived.",
        "path" => {
            "A packet is passed on from machine to machine. Each router looks into its own table for the next one, and \
             takes 1 from the packet's TTL, so that a packet that goes in circles dies."
        }
        "route.anycast" => {
            "Anycast: the same address in several places; the network leads each caller to the nearest."
        }
        "route.multipath" => {
            "ECMP: several routes are as good as each other. A number made of addresses and ports chooses, so that all \
             packets of a connection go one way."
        }
        "route.policy" => {
            "Policy routing: rules choose among several tables of routes, by where a packet comes from or what it is."
        }
        "tls.client_hello" => {
            "SNI (\"for ...\"): which of the server's names is meant. ALPN: which languages the client speaks inside. \
             Key share: one half of a sum that only the two ends can finish."
        }
        "tls.certificate_chain" => {
            "A certificate says: this key belongs to this name. It is signed by somebody, who is vouched for by somebody \
             else, up to one whom the client trusts from the start."
        }
        "http.request" => {
            "What is wanted (GET: give me this; POST: take this) and of what. HTTP/1.1 asks one thing at a time on a \
             connection; HTTP/2 carries many requests at once, each with a stream number."
        }
        "http.header" => "Headers say what is asked for and how, one line each.",
        "balance.choose" => {
            "The machine that took the call is a load balancer: it opens the encryption and hands the request to one of \
             several servers behind it."
        }
        "relay.choose" => {
            "The machine that took the call hands it to one of several servers behind it, over a connection of its own. It passes \
             bytes on and does not read them."
        }
        _ => return lost_and_over(code),
    })
}

/// The same of how connections end, and of what goes wrong.
fn lost_and_over(code: &str) -> Option<&'static str> {
    Some(match code {
        "tcp.fin" => "FIN: I will send no more. Both sides say so, and each is acknowledged.",
        "tcp.retransmit.fast" => {
            "TCP keeps a copy of everything until it is acknowledged. When later bytes are acknowledged and earlier ones \
             are not, it sends the earlier ones again at once. \"In flight\" is what may still be on its way: what is taken for \
             lost no longer counts."
        }
        "tcp.retransmit.rto" => {
            "TCP keeps a copy of everything until it is acknowledged. When nothing comes back for a while (the \
             retransmission timeout), it sends again, and waits twice as long the next time. \"In flight\" is what \
             may still be on its way: what the timeout took for lost no longer counts."
        }
        "tcp.retransmit.probe" => {
            "When the very last packet is lost nothing later can give it away, so TCP knocks."
        }
        "tcp.refused" => "RST: go away. The machine is there; the program is not.",
        "icmp.error" => {
            "ICMP: how a machine on the way tells the sender that its packet did not get through."
        }
        _ => return None,
    })
}
