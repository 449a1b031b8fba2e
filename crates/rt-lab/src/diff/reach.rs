//! Who can reach whom, before and after: the tables of all pairs that [`crate::matrix()`] makes, cell by cell.

use std::collections::BTreeMap;

use super::{ReachDiff, Side};
use crate::can::{Cell, Mark, Matrix, MatrixQuery, Protocol, matrix_of_model};

/// Who, whom, what.
type Key = (String, String, String);

/// What is different, and what could be compared.
#[derive(Default)]
pub(super) struct Reach {
    /// Differing pairs.
    pub(super) pairs: Vec<ReachDiff>,
    /// So many pairs are in both.
    pub(super) asked: usize,
    /// Why nobody was asked, if nobody was.
    pub(super) left_out: Option<String>,
}

/// Both tables, compared.
pub(super) fn diff(a: &Side, b: &Side) -> Reach {
    let table = |side: &Side| {
        let query = MatrixQuery { ping: true, seed: side.seed, ..MatrixQuery::default() };
        matrix_of_model(&side.model.name, side.model.clone(), &query)
    };
    let (before, after) = match (table(a), table(b)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(why), _) | (_, Err(why)) => {
            return Reach { left_out: Some(why.to_string()), ..Reach::default() };
        }
    };
    let (before, after) = (cells(&before), cells(&after));
    let mut out = Reach::default();
    // Of machines that came or went, what they can reach is no surprise; what they cannot may be none either.
    for (key, was) in &before {
        let Some(is) = after.get(key) else { continue };
        out.asked += 1;
        let (was_yes, is_yes) = (was.mark == Mark::Yes, is.mark == Mark::Yes);
        if was_yes == is_yes {
            continue;
        }
        let why = if was_yes { is.why() } else { was.why() };
        let (from, to, what) = key.clone();
        out.pairs.push(ReachDiff { from, to, what, reachable: (Some(was_yes), Some(is_yes)), why });
    }
    out
}

fn cells(table: &Matrix) -> BTreeMap<Key, &Cell> {
    let mut out = BTreeMap::new();
    for (from, row) in table.rows.iter().zip(&table.cells) {
        for (column, cell) in table.columns.iter().zip(row).filter(|(_, c)| c.mark != Mark::Itself) {
            let what = match (column.protocol, column.port) {
                (Protocol::Udp, Some(port)) => format!("udp {port}"),
                (_, Some(port)) => format!("tcp {port}"),
                (_, None) => "ping".to_owned(),
            };
            // A port that a NAT forwards to several machines, one after the other, has one answer.
            out.entry((from.clone(), column.target(), what)).or_insert(cell);
        }
    }
    out
}
