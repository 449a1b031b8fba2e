//! `plot`: a connection's curves as SVG, or the list of connections.

use rt_trace::plot::{Flow, Flows};
use rt_trace::read::Side;
use rt_trace::render::{self, PlotKind};
use serde_json::json;

use crate::follow::find_trace;
use crate::{Followed, Refusal};

/// What is to be drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlotQuery {
    /// Which connection: its number, `laptop:52431`, or part of an end's name or address; without it, they are listed.
    pub flow: Option<String>,
    /// Which plots.
    pub what: PlotKind,
    /// Whose segments; without it, of the side that sent more.
    pub from: Option<Side>,
}

/// Draws from a run's folder, or from the last run of a scenario, or from a run made now. The text of the answer is an SVG
/// document, or the list of connections.
///
/// # Errors
/// [`Refusal::Unknown`] for a connection that the run does not have, [`Refusal::Misuse`] when several are meant or the run has
/// no TCP connection at all.
pub fn plot(source: &str, query: &PlotQuery) -> Result<Followed, Refusal> {
    let mut talk = Vec::new();
    let trace = find_trace(source, &mut talk)?;
    let flows = Flows::of(&trace);
    let Some(wanted) = &query.flow else {
        let list = flows.list();
        if list.is_empty() {
            return Err(Refusal::nothing_to_plot(source));
        }
        let json = json!(list);
        return Ok(Followed { text: render::flows_text(&list), json: format!("{json:#}\n"), talk });
    };
    let flow = one(&flows, wanted)?;
    let svg = render::plots(&flows, &flow, query.what, query.from);
    let from = query.from.unwrap_or_else(|| flows.main_sender(&flow));
    let json = json!({
        "flow": flow,
        "from": from,
        "time_sequence": flows.time_sequence(&flow, from),
        "congestion": flows.congestion(&flow, from),
        "round_trips": flows.round_trips(&flow, from),
        "queues": flows.queues(&flow, from),
        "states": flows.states(&flow),
    });
    Ok(Followed { text: svg, json: format!("{json:#}\n"), talk })
}

/// The connection that is meant.
pub(crate) fn one(flows: &Flows<'_>, wanted: &str) -> Result<Flow, Refusal> {
    let mut found = flows.find(wanted);
    let real = || flows.list().into_iter().filter(|f| !f.forged);
    let name = |f: &Flow| format!("{} ({} {} → {} {})", f.number, f.client, f.ends.from, f.server, f.ends.to);
    match found.len() {
        0 => {
            let known: Vec<String> = real().take(20).map(|f| name(&f)).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(Refusal::unknown("connection", wanted, &known))
        }
        1 => Ok(found.remove(0)),
        n => {
            let some: Vec<String> = found.iter().take(6).map(name).collect();
            let why = format!("`{wanted}` is {n} connections; name one by its number: {}", some.join(", "));
            Err(Refusal::Misuse { why })
        }
    }
}
