//! `roundtrip ip`: the address calculator. Pure arithmetic on addresses, prefixes and ports: what a prefix holds, what an
//! address means by the registries, which networks overlap, how one is cut up.
//!
//! Not for: what a scenario's addresses do (that is `show` and `can`). Nothing is looked up anywhere: whose a public
//! address is, is not known here. Simplified: names of ports are the few that people meet, not IANA's whole list.
//!
//! Main types: [`IpQuery`], [`IpAnswer`].

mod facts;
mod ports;
mod read;
mod sets;
mod special;

use serde_json::{Value, json};

use crate::Refusal;
use read::Thing;

/// What is asked of the calculator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IpQuery {
    /// Addresses, prefixes, ranges, ports, prefix lengths.
    pub what: Vec<String>,
    /// Cut the prefix into all subnets of this length (`/26` or `26`).
    pub split: Option<String>,
    /// Cut the prefix into so many equal subnets.
    pub into: Option<u32>,
    /// Cut from the prefix one subnet for each of these numbers of hosts.
    pub hosts: Vec<u64>,
    /// Is everything asked about inside this prefix?
    pub within: Option<String>,
    /// Take these away.
    pub except: Vec<String>,
    /// Only the fewest prefixes that cover the same addresses.
    pub summarise: bool,
}

/// What it says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IpAnswer {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// No where the question has a yes and a no: not inside, or they overlap.
    pub no: bool,
}

/// Answers.
///
/// # Errors
/// [`Refusal::Misuse`] for what is no address, prefix or port, with what to write instead.
pub fn ip(query: &IpQuery) -> Result<IpAnswer, Refusal> {
    answer(query).map_err(|why| Refusal::Misuse { why })
}

fn answer(query: &IpQuery) -> Result<IpAnswer, String> {
    let things: Vec<Thing> = query.what.iter().map(|text| read::thing(text)).collect::<Result<_, _>>()?;
    if let Some(outer) = &query.within {
        return sets::within(&things, outer);
    }
    if !query.except.is_empty() {
        return sets::except(&things, &query.except);
    }
    if query.summarise {
        return sets::summarise(&things);
    }
    if query.split.is_some() || query.into.is_some() || !query.hosts.is_empty() {
        return sets::cut(&things, query);
    }
    match &*things {
        [] => Err("nothing is asked\nhelp: roundtrip ip 192.168.1.0/24, or 10.0.2.50, or :443".to_owned()),
        [one] => Ok(about(one)),
        several => sets::together(several),
    }
}

/// All about one thing.
fn about(thing: &Thing) -> IpAnswer {
    let (text, json) = match thing {
        Thing::Address(address) => facts::address(*address),
        Thing::Prefix { net, host } => facts::prefix(*net, *host),
        Thing::Range(first, last) => facts::range(*first, *last),
        Thing::Length(length) => facts::length(*length),
        Thing::Ports { first, last } => ports::about(*first, *last),
    };
    IpAnswer { text, json, no: false }
}

/// `label  value` lines below a title, labels of one width.
fn table(title: &str, rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let lines: String = rows.iter().map(|(label, value)| format!("  {label:width$}  {value}\n")).collect();
    format!("{title}\n{lines}")
}

/// A number of addresses: 2 to the power of `bits`, less `minus`. As a number where JSON has one, as text where not.
fn count_json(bits: u8, minus: u64) -> Value {
    match 1_u128.checked_shl(u32::from(bits)).map(|n| n.saturating_sub(u128::from(minus))) {
        Some(n) => u64::try_from(n).map_or_else(|_| json!(n.to_string()), |n| json!(n)),
        None if minus == 0 => json!("340282366920938463463374607431768211456"),
        None => json!((u128::MAX - u128::from(minus - 1)).to_string()),
    }
}

/// The same for people: `254`, `2^64`.
fn count_text(bits: u8, minus: u64) -> String {
    match (bits, minus) {
        (0..=47, _) => (1_u64 << bits).saturating_sub(minus).to_string(),
        (_, 0) => format!("2^{bits}"),
        _ => format!("2^{bits} - {minus}"),
    }
}

#[cfg(test)]
mod tests;
