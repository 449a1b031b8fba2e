//! The network as a picture: Mermaid for Markdown, Graphviz for paper. Sites are boxes, links carry rate and delay.

use std::fmt::Write as _;

use super::by_site;
use crate::model::{Link, Model, Node, NodeKind};
use crate::units::{show_duration, show_rate};

fn short(node: &Node) -> &str {
    match &node.site {
        Some(site) => {
            node.name.strip_prefix(site.as_str()).and_then(|n| n.strip_prefix('.')).unwrap_or(&node.name)
        }
        None => &node.name,
    }
}

fn addresses(node: &Node) -> String {
    let all: Vec<String> =
        node.interfaces.iter().flat_map(|i| &i.addresses).map(|n| n.addr().to_string()).take(3).collect();
    all.join(" ")
}

/// What a link is: `100Mbit/s 4ms`, with both directions when they differ.
fn facts(link: &Link) -> String {
    let mut out = show_rate(link.ab.rate_bps);
    if link.ba.rate_bps != link.ab.rate_bps {
        let _ = write!(out, " / {}", show_rate(link.ba.rate_bps));
    }
    let _ = write!(out, " {}", show_duration(link.ab.delay));
    if link.ab.loss_ppm > 0 || link.ab.loss_every > 0 {
        let _ = write!(out, " loss {}", crate::units::show_loss(link.ab.loss_ppm, link.ab.loss_every));
    }
    out
}

/// A Mermaid flowchart.
#[must_use]
pub fn mermaid(model: &Model) -> String {
    let mut out = String::from("flowchart LR\n");
    for (number, (site, nodes)) in by_site(model).iter().enumerate() {
        if let Some(site) = site {
            let _ = writeln!(out, "  subgraph s{number} [{site}]");
        }
        for &index in nodes {
            let node = &model.nodes[index];
            let (open, close) = match node.kind {
                NodeKind::Host => ("[", "]"),
                NodeKind::Router => ("([", "])"),
                NodeKind::Switch => ("{{", "}}"),
            };
            let addresses = addresses(node);
            let second = if addresses.is_empty() { String::new() } else { format!("<br/>{addresses}") };
            let _ = writeln!(out, "    n{index}{open}\"{}{second}\"{close}", short(node));
        }
        if site.is_some() {
            out.push_str("  end\n");
        }
    }
    for link in &model.links {
        let _ = writeln!(out, "  n{} ---|\"{}\"| n{}", link.a.0.0, facts(link), link.b.0.0);
    }
    out
}

/// A Graphviz graph.
#[must_use]
pub fn dot(model: &Model) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "graph \"{}\" {{\n  node [fontname=\"sans-serif\"];", model.name);
    for (number, (site, nodes)) in by_site(model).iter().enumerate() {
        if let Some(site) = site {
            let _ = writeln!(out, "  subgraph cluster_{number} {{\n    label=\"{site}\";");
        }
        for &index in nodes {
            let node = &model.nodes[index];
            let shape = match node.kind {
                NodeKind::Host => "box",
                NodeKind::Router => "ellipse",
                NodeKind::Switch => "hexagon",
            };
            let _ = writeln!(
                out,
                "    n{index} [label=\"{}\\n{}\", shape={shape}];",
                short(node),
                addresses(node)
            );
        }
        if site.is_some() {
            out.push_str("  }\n");
        }
    }
    for link in &model.links {
        let _ = writeln!(out, "  n{} -- n{} [label=\"{}\"];", link.a.0.0, link.b.0.0, facts(link));
    }
    out.push_str("}\n");
    out
}
