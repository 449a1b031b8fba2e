//! `story.html`: one file with everything inside; no network, no server. The page draws; what it draws is the story,
//! the network's facts, and every packet of the story at each machine and each layer.

use std::collections::BTreeMap;

use rt_base::{FrameId, Way};
use rt_trace::plot::Flows;
use rt_trace::render::{self, PlotKind};
use rt_trace::story::Story;
use rt_trace::{LinkFacts, NodeFacts, Trace, TraceMap};
use serde_json::{Map, Value, json};

/// The page; `__TITLE__` and `__DATA__` are filled in.
const PAGE: &str = include_str!("../assets/story.html");
/// Packets with details on click; later ones have their line only.
const MOST_PACKETS: usize = 4_000;
/// Connections whose plots are inside, and the bytes of all these together.
const MOST_PLOTS: usize = 12;
const MOST_PLOT_BYTES: usize = 2 << 20;
/// Shorter connections are not worth a picture.
const FEWEST_SEGMENTS: u64 = 8;
/// Bytes of a packet that are shown.
const MOST_BYTES: usize = 1_600;

/// The whole page.
#[must_use]
pub(crate) fn page(trace: &Trace, story: &Story) -> String {
    let (network, packets, plots) = (network(&trace.map), packets(trace, story), plots(trace, story));
    let data = json!({ "story": story, "network": network, "packets": packets, "plots": plots });
    // `</script>` inside a string would end the data: JSON may write `<` as an escape.
    let data = data.to_string().replace('<', "\\u003c");
    PAGE.replace("__TITLE__", &escape(&format!("{}: the story", story.scenario))).replace("__DATA__", &data)
}

/// The plots of the story's connections by number, those that carried most first.
fn plots(trace: &Trace, story: &Story) -> Value {
    let all = story.steps.iter().flat_map(|s| &s.connections);
    let mut wanted: Vec<(u64, u32)> = all.map(|c| (c.segments.iter().sum(), c.number)).collect();
    wanted.retain(|(segments, _)| *segments >= FEWEST_SEGMENTS);
    wanted.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    wanted.dedup();
    wanted.truncate(MOST_PLOTS);
    if wanted.is_empty() {
        return json!({});
    }
    let flows = Flows::of(trace);
    let list = flows.list();
    let mut plots = Map::new();
    let mut room = MOST_PLOT_BYTES;
    for (_, number) in wanted {
        let Some(flow) = list.iter().find(|f| f.number == number) else { continue };
        let svg = render::plots(&flows, flow, PlotKind::All, None);
        let Some(left) = room.checked_sub(svg.len()) else { continue };
        room = left;
        plots.insert(number.to_string(), svg.into());
    }
    Value::Object(plots)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn network(map: &TraceMap) -> Value {
    json!({
        "nodes": map.nodes.iter().map(node).collect::<Vec<_>>(),
        "links": map.links.iter().map(|l| link(map, l)).collect::<Vec<_>>(),
    })
}

fn node(node: &NodeFacts) -> Value {
    let interfaces = node.interfaces.iter().map(|i| {
        let addresses: Vec<String> = i.addresses.iter().map(|(a, p)| format!("{a}/{p}")).collect();
        json!({ "name": i.name, "mac": i.mac.to_string(), "addresses": addresses })
    });
    let chains = node.chains.iter().flat_map(|c| c.rules.iter().chain([&c.policy]));
    json!({
        "name": node.name,
        "class": node.class,
        "role": node.role,
        "place": node.place,
        "interfaces": interfaces.collect::<Vec<_>>(),
        "routes": node.routes,
        "rules": chains.chain(&node.nat).collect::<Vec<_>>(),
    })
}

fn link(map: &TraceMap, link: &LinkFacts) -> Value {
    let text = format!("{} Mbit/s, {} one way", link.ab.rate_bps / 1_000_000, link.ab.delay);
    json!({ "a": map.node_name(link.a.0), "b": map.node_name(link.b.0), "text": text })
}

/// Every packet that the story names, at each machine and each layer.
fn packets(trace: &Trace, story: &Story) -> Value {
    let names: BTreeMap<String, FrameId> =
        trace.frames.iter().map(|f| (format!("{:?}", f.frame), f.frame)).collect();
    let mut packets = Map::new();
    let listed = story.steps.iter().flat_map(|s| &s.requests).flat_map(|r| &r.packets);
    for packet in listed {
        if packets.len() >= MOST_PACKETS {
            break;
        }
        if let Some(frame) = names.get(&packet.frame).filter(|_| !packets.contains_key(&packet.frame)) {
            packets.insert(packet.frame.clone(), one_packet(trace, *frame));
        }
    }
    Value::Object(packets)
}

fn one_packet(trace: &Trace, frame: FrameId) -> Value {
    let hops = trace.sightings(frame).map(|s| {
        json!({
            "node": trace.map.node_name(s.node),
            "port": trace.map.port_name(s.node, s.port),
            "way": if s.way == Way::In { "in" } else { "out" },
            "at_ns": s.at.0,
            "summary": rt_wire::summary(&s.bytes),
        })
    });
    let hops: Vec<Value> = hops.collect();
    let first = trace.sightings(frame).next().map_or(&[][..], |s| &s.bytes);
    let layers = rt_wire::layers(first);
    let layers: Vec<Value> = layers.iter().map(|l| json!({ "name": l.name, "fields": l.fields })).collect();
    let hex: String = first.iter().take(MOST_BYTES).map(|b| format!("{b:02x}")).collect();
    json!({ "hops": hops, "layers": layers, "hex": hex })
}
