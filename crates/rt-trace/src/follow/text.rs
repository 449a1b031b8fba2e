//! The answers of `follow` as text.

use rt_base::Nanos;

use super::{Change, PacketHop, PacketPath, SeenAt};
use crate::render::Page;
use crate::story::room;
use crate::story::words::{bytes, count, ms};
use crate::story::{RequestStory, StepStory, Story};

/// The story of one request: its step's chapters and the list of its packets.
#[must_use]
pub fn request_text(story: &Story, request: &RequestStory) -> String {
    let mut page = Page::new();
    let step = story.steps.iter().find(|s| s.requests.iter().any(|r| r.number == request.number));
    let took = Nanos(request.end_ns.saturating_sub(request.start_ns));
    page.ruled(&format!("Request {}  {} {}", request.number, request.method, request.target), &ms(took));
    page.prose(2, &verdict(request, step));
    if let Some(step) = step.filter(|_| request.parent.is_none()) {
        page.blank();
        page.append(&crate::render::chapters(step));
    } else {
        headers(request, &mut page);
    }
    page.blank();
    page.plain(2, &format!("its packets ({})", request.packets.len() + request.packets_left_out as usize));
    let start = request.packets.first().map_or(request.start_ns, |p| p.sent_ns);
    for packet in &request.packets {
        let at = format!("+{}", ms(Nanos(packet.sent_ns.saturating_sub(start))));
        let text = format!("{} → {}  {}", packet.from, packet.to, packet.carries);
        let lost =
            if packet.dropped.is_empty() { String::new() } else { format!("  LOST: {}", packet.dropped) };
        page.entry(5, 4, &packet.number.to_string(), &format!("{text}{lost}"), &at);
    }
    if request.packets_left_out > 0 {
        page.prose(5, &format!("and {} more", request.packets_left_out));
    }
    page.blank();
    page.prose(2, "One of them at every machine: --packet N. All that one machine saw: --at MACHINE.");
    page.finish()
}

fn verdict(request: &RequestStory, step: Option<&StepStory>) -> String {
    let mut parts = Vec::new();
    if request.status > 0 {
        parts.push(format!("{}", request.status));
    }
    if !request.protocol.is_empty() {
        parts.push(request.protocol.clone());
    }
    if request.body_bytes > 0 {
        parts.push(bytes(request.body_bytes));
    }
    match request.cache.as_str() {
        "hit" => parts.push("from the browser's cache".into()),
        "revalidated" => parts.push("not changed, the browser's copy was used".into()),
        _ => {}
    }
    if !request.note.is_empty() {
        parts.push(request.note.clone());
    }
    let step = step.map_or_else(String::new, |s| format!("step {}: {}", s.number, s.text));
    format!("{} ({step})", parts.join(" · "))
}

fn headers(request: &RequestStory, page: &mut Page) {
    for (name, list) in [("request", &request.request_headers), ("answer", &request.response_headers)] {
        if list.is_empty() {
            continue;
        }
        page.blank();
        page.plain(2, name);
        for field in list {
            page.entry(5, 18, &field.name, &field.value, "");
        }
    }
    if let Some(up) = &request.upstream {
        page.blank();
        let text = match (up.chosen.as_str(), up.policy.as_str()) {
            ("", _) => format!("{} asked nobody for it", up.proxy),
            (_, "forward") => {
                format!("{} passed it to {} ({}) in its own name", up.proxy, up.chosen, up.address)
            }
            (_, policy) => {
                format!("{} passed it to {} ({}), chosen by {policy}", up.proxy, up.chosen, up.address)
            }
        };
        page.prose(2, &text);
    }
}

/// One packet, hop by hop and layer by layer.
#[must_use]
pub fn packet_text(path: &PacketPath) -> String {
    let mut page = Page::new();
    let title = format!("Packet {} of request {}  {}", path.packet, path.request, path.carries);
    page.ruled(&title, &format!("{} bytes", path.len));
    page.prose(2, &path.summary);
    if !path.why.is_empty() {
        page.prose(2, &format!("Why it was sent: {}.", path.why));
    }
    let start = path.hops.first().map_or(0, |h| h.in_ns);
    for (i, hop) in path.hops.iter().enumerate() {
        page.blank();
        hop_text(i, hop, start, &mut page);
    }
    page.blank();
    let total = path.hops.last().map_or(0, |h| h.in_ns.saturating_sub(start));
    let end = match path.end.as_str() {
        "delivered" => {
            format!(
                "delivered after {} and {}",
                ms(Nanos(total)),
                count((path.hops.len() as u64).saturating_sub(1), "link")
            )
        }
        "under way" => "it was still under way when the run ended".into(),
        code => format!("it ended here: {code}"),
    };
    page.prose(2, &end);
    budget_text(path, &mut page);
    page.blank();
    page.plain(
        2,
        "the packet at each layer, as it was sent (and → as it was at its end, where that differs)",
    );
    for layer in &path.layers {
        page.blank();
        page.plain(5, &layer.name);
        for field in &layer.fields {
            let value = match &field.arrived {
                Some(arrived) => format!("{} → {arrived}", field.sent),
                None => field.sent.clone(),
            };
            page.entry(7, 18, &field.name, &value, "");
        }
    }
    page.finish()
}

/// Link by link what is left of its MTU for the packet.
fn budget_text(path: &PacketPath, page: &mut Page) {
    let Some(narrowest) = room::narrowest(&path.budget) else { return };
    page.blank();
    page.plain(2, "the MTU budget: what each link carries, less what is around the packet there");
    for room in &path.budget {
        page.entry(5, 24, &room.at, &room::words(room, &path.budget), "");
    }
    page.prose(5, &format!("So far {}.", room::together(narrowest)));
}

fn hop_text(index: usize, hop: &PacketHop, start: u64, page: &mut Page) {
    let described: Vec<&str> =
        [hop.role.as_str(), hop.place.as_str()].into_iter().filter(|s| !s.is_empty()).collect();
    let title = format!("  {:<2} {:<20} {}", index + 1, hop.node, described.join(", "));
    page.split(&title, &format!("+{}", ms(Nanos(hop.in_ns.saturating_sub(start)))));
    if !hop.in_by.is_empty() {
        page.entry(7, 10, "comes in", &format!("by {}", hop.in_by), "");
    }
    for line in &hop.walk {
        page.entry(7, 10, &line.label, &line.text, &line.margin);
        if let Some(route) = line.data.get("route") {
            page.entry(7, 10, "", &format!("by the route {route}"), "");
        }
    }
    for change in &hop.changed {
        page.entry(7, 10, "rewritten", &change_words(change), "");
    }
    if let Some(link) = &hop.link {
        let text = format!(
            "by {}: machine {} · queue {} · bits {} · distance {}",
            hop.out_by,
            Nanos(link.processing_ns),
            Nanos(link.queue_ns),
            Nanos(link.serialisation_ns),
            Nanos(link.propagation_ns)
        );
        page.entry(7, 10, "goes out", &text, "");
    }
}

fn change_words(change: &Change) -> String {
    format!("{} {}: {} → {}", change.layer, change.field, change.before, change.after)
}

/// What one machine saw.
#[must_use]
pub fn at_text(seen: &SeenAt) -> String {
    let mut page = Page::new();
    let role = if seen.role.is_empty() { String::new() } else { format!(" ({})", seen.role) };
    page.ruled(
        &format!("Request {} at {}{role}", seen.request, seen.node),
        &count(seen.packets.len() as u64, "packet"),
    );
    let start = seen.packets.first().map_or(0, |p| p.at_ns);
    for packet in &seen.packets {
        page.blank();
        let title = format!("  {:<4} {:<8} {}", packet.packet, packet.way, packet.carries);
        page.split(&title, &format!("+{}", ms(Nanos(packet.at_ns.saturating_sub(start)))));
        page.entry(7, 10, &packet.interfaces.join(" → "), &packet.summary, "");
        for line in &packet.walk {
            page.entry(7, 10, &line.label, &line.text, &line.margin);
        }
        for change in &packet.changed {
            page.entry(7, 10, "rewritten", &change_words(change), "");
        }
    }
    page.finish()
}
