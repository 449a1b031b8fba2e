//! NAT tables side by side: two machines in a row, so that the same private address behind both is seen at a glance.

use std::collections::BTreeSet;

use rt_base::Nanos;

use super::Page;
use crate::story::words::ms;
use crate::story::{NatRow, NatTable};

/// Rows of one machine in the text; all are in `story.json`.
const ROWS: usize = 12;
/// Columns of an inner and an outer end.
const CELL: isize = 21;

/// A table tells something when two machines have one, when several inner machines share one, or when one inner end was shown
/// as several outer ones.
fn tells(tables: &[NatTable]) -> bool {
    let inner = |table: &NatTable| {
        let hosts =
            table.rows.iter().filter_map(|r| r.inside.rsplit_once(':')).map(|(host, _)| host.to_owned());
        hosts.collect::<BTreeSet<String>>().len()
    };
    let ends = |table: &NatTable| {
        let (inside, pairs): (BTreeSet<_>, BTreeSet<_>) = (
            table.rows.iter().map(|r| (&r.protocol, &r.inside)).collect(),
            table.rows.iter().map(|r| (&r.protocol, &r.inside, &r.outside)).collect(),
        );
        pairs.len() > inside.len()
    };
    tables.len() > 1 || tables.iter().any(|t| inner(t) > 1 || ends(t))
}

/// All tables, two in a row.
pub(super) fn nat(tables: &[NatTable], page: &mut Page) {
    if !tells(tables) {
        return;
    }
    page.ruled("Who was shown to the world as whom: NAT tables", "");
    for pair in tables.chunks(2) {
        page.blank();
        let (left, right) = (&pair[0], pair.get(1));
        let name = |table: Option<&NatTable>| table.map_or_else(String::new, |t| t.machine.clone());
        page.row(2, &[(2 * CELL + 3, &name(Some(left)))], &name(right));
        heads(right.is_some(), page);
        let rows = left.rows.len().max(right.map_or(0, |t| t.rows.len())).min(ROWS);
        for i in 0..rows {
            let cells = [left.rows.get(i), right.and_then(|t| t.rows.get(i))];
            let end = |row: Option<&NatRow>, outside: bool| match (row, outside) {
                (Some(row), true) => row.outside.clone(),
                (Some(row), false) => row.inside.clone(),
                (None, _) => String::new(),
            };
            let [a, b] = [end(cells[0], false), end(cells[0], true)];
            let [c, d] = [end(cells[1], false), end(cells[1], true)];
            page.row(2, &[(CELL, &a), (CELL + 1, &b), (CELL, &c)], &d);
            page.row(4, &[(2 * CELL + 1, &remark(cells[0]))], &remark(cells[1]));
        }
        for table in pair {
            let more = table.rows.len().saturating_sub(ROWS) as u64 + table.more;
            if more > 0 {
                page.prose(2, &format!("and {more} more in {}", table.machine));
            }
        }
    }
}

fn heads(both: bool, page: &mut Page) {
    let (c, d) = if both { ("inside", "outside") } else { ("", "") };
    page.row(2, &[(CELL, "inside"), (CELL + 1, "outside"), (CELL, c)], d);
}

/// `udp with 8.8.8.8:53 at 12.345 ms`.
fn remark(row: Option<&NatRow>) -> String {
    row.map_or_else(String::new, |row| {
        let way = if row.side == "source" { "to" } else { "from" };
        format!("{} {way} {} at {}", row.protocol, row.remote, ms(Nanos(row.at_ns)))
    })
}
