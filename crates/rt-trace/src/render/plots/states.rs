//! Both ends' states as two lanes, time downwards and not to scale: one row for each change.

use rt_base::Nanos;

use super::super::svg::{Anchor, Px, Svg};
use crate::plot::Flow;
use crate::story::StateStory;
use crate::story::words::ms;

/// Tenths of a pixel: the left edges of the two lanes and their width.
const LANES: [Px; 2] = [1_900, 6_700];
const LANE_WIDTH: Px = 1_400;
const TOP: Px = 1_000;
const ROW: Px = 420;
/// Rows drawn at most.
const ROWS: usize = 60;

pub(super) fn draw(flow: &Flow, life: &[StateStory]) -> (Svg, u32) {
    let mut svg = Svg::default();
    let title = format!("States: {} {} and {} {}", flow.client, flow.ends.from, flow.server, flow.ends.to);
    svg.text("title", (160, 260), Anchor::Start, &title);
    let subtitle = format!("connection {}; time runs downwards, not to scale (RFC 9293, 3.3.2)", flow.number);
    svg.text("soft", (160, 460), Anchor::Start, &subtitle);
    // States that one end passes through in the same instant have a row each.
    let nth = |i: usize| {
        let same = |s: &&StateStory| s.side == life[i].side && s.from_ns == life[i].from_ns;
        life[..i].iter().filter(same).count()
    };
    let starts: Vec<(u64, usize)> = life.iter().enumerate().map(|(i, s)| (s.from_ns, nth(i))).collect();
    let mut rows = starts.clone();
    rows.sort_unstable();
    rows.dedup();
    rows.truncate(ROWS);
    let y = |row: usize| Px::try_from(row).unwrap_or(0) * ROW + TOP;
    let bottom = y(rows.len());
    for (at, _) in rows.iter().filter(|r| r.1 == 0) {
        let at_y = y(rows.partition_point(|r| r.0 < *at));
        svg.line("grid", (160, at_y), (9_840, at_y));
        let text = format!("+{}", ms(Nanos(at.saturating_sub(flow.start_ns))));
        svg.text("small soft", (1_780, at_y + 150), Anchor::End, &text);
    }
    for (i, (name, x)) in [("client", LANES[0]), ("server", LANES[1])].into_iter().enumerate() {
        let node = if i == 0 { &flow.client } else { &flow.server };
        svg.text("", (x, TOP - 160), Anchor::Start, &format!("{name}: {node}"));
        let lane: Vec<usize> = (0..life.len()).filter(|i| life[*i].side == name).collect();
        for (place, &i) in lane.iter().enumerate() {
            let Ok(row) = rows.binary_search(&starts[i]) else { continue };
            let next = lane.get(place + 1).and_then(|n| rows.binary_search(&starts[*n]).ok());
            lane_box(&mut svg, &life[i], x, (y(row), next.map_or(bottom, y)));
        }
    }
    if life.is_empty() {
        svg.text("soft", (160, TOP), Anchor::Start, "No state was recorded.");
    }
    (svg, u32::try_from(bottom / 10 + 40).unwrap_or(200).max(160))
}

fn lane_box(svg: &mut Svg, state: &StateStory, x: Px, (from, to): (Px, Px)) {
    let class = match state.state.as_str() {
        "ESTABLISHED" => "open",
        "TIME-WAIT" | "CLOSE-WAIT" | "FIN-WAIT-2" => "wait",
        _ => "box",
    };
    let took = state.to_ns.map_or_else(
        || "until the end of the run".to_string(),
        |to| format!("for {}", ms(Nanos(to.saturating_sub(state.from_ns)))),
    );
    svg.rect(class, (x, from), (LANE_WIDTH, to - from), &format!("{} {took}\n{}", state.state, state.by));
    svg.text("", (x + 80, from + 170), Anchor::Start, &state.state);
    svg.text("small soft", (x + LANE_WIDTH + 100, from + 150), Anchor::Start, &state.by);
    if to - from >= 300 {
        svg.text("small soft", (x + 80, from + 310), Anchor::Start, &took);
    }
}
