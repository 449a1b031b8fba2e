//! `l4-balancer` in a `run:` list, and who comes and goes at it in the timeline.

use rt_base::Nanos;

use crate::apps::names_none;
use crate::diag::{Code, Span};
use crate::model::{App, Change, HealthCheck, L4Balancer};
use crate::routes::read_balance;
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// A server that does not answer is given up after this.
pub(crate) const CONNECT_TIMEOUT: Nanos = Nanos::from_secs(1);
/// Bytes that are collected at most, unless it is said otherwise.
pub(crate) const COLLECT: u64 = 16_384;

fn whole(value: &Value, key: &str) -> Option<u32> {
    value.str_at(key)?.parse().ok()
}

impl World<'_, '_> {
    pub(crate) fn read_l4_balancer(&mut self, port: u16, value: &Value) -> App {
        let upstreams = self.read_upstreams(value);
        if names_none(value) {
            let span = value.get("upstreams").map_or(value.span, |v| v.span);
            self.problems
                .add(Code::MissingKey, span, "a balancer without servers has nobody to choose", "no servers")
                .help("write `upstreams: { web-1: 10.0.0.11:80, web-2: 10.0.0.12:80 }`");
        }
        let balance = read_balance(value);
        let collect = value.get("collect").map(|collect| {
            let bytes = collect.str_at("bytes").and_then(|t| units::size(t).ok()).unwrap_or(COLLECT);
            (bytes, collect.duration_at("wait").unwrap_or_default())
        });
        App::L4Balancer(L4Balancer {
            port,
            upstreams,
            balance,
            sticky: value.duration_at("sticky"),
            health: value.get("health").and_then(read_health),
            warm: whole(value, "warm").unwrap_or(0),
            connect_timeout: value.duration_at("connect-timeout").unwrap_or(CONNECT_TIMEOUT),
            collect,
        })
    }

    /// `drain: lb` and `admit: lb`, with `server:`.
    pub(crate) fn read_shift(
        &mut self,
        item: &Value,
        (name, span): (&str, Span),
        drain: bool,
    ) -> Option<Change> {
        let node = self.node_named(name, span)?;
        let apps = &self.nodes[node.index()].node.apps;
        let servers: Vec<String> = apps
            .iter()
            .flat_map(|app| match app {
                App::L4Balancer(balancer) => balancer.upstreams.clone(),
                App::Edge { upstreams, options, .. } => {
                    let more = options.pools.iter().flat_map(|pool| &pool.upstreams);
                    upstreams.iter().chain(more).cloned().collect()
                }
                _ => Vec::new(),
            })
            .map(|(server, _)| server)
            .collect();
        if servers.is_empty() {
            let message = format!("`{name}` balances nothing");
            self.problems
                .add(Code::NoEffect, span, message, "no balancer here")
                .help("name a machine that runs `l4-balancer` or `edge`");
            return None;
        }
        let Some(server) = item.get("server") else {
            self.problems
                .add(Code::MissingKey, span, "which of its servers?", "no server is named")
                .help(format!("add `server: {}`", servers[0]));
            return None;
        };
        let wanted = server.text()?;
        if !servers.iter().any(|known| known == wanted) {
            let message = format!("`{name}` has no server `{wanted}`");
            self.problems
                .add(Code::UnknownReference, server.span, message, "no such server")
                .known(wanted, servers);
            return None;
        }
        Some(Change::Drain { node, server: wanted.to_owned(), drain })
    }
}

fn read_health(value: &Value) -> Option<HealthCheck> {
    if let Some(text) = value.text() {
        return crate::shape::flag(text)?.then(HealthCheck::default);
    }
    Some(read_check(value))
}

/// When and how often servers are checked.
pub(crate) fn read_check(value: &Value) -> HealthCheck {
    let usual = HealthCheck::default();
    HealthCheck {
        every: value.duration_at("every").unwrap_or(usual.every),
        timeout: value.duration_at("timeout").unwrap_or(usual.timeout),
        rise: whole(value, "rise").unwrap_or(usual.rise),
        fall: whole(value, "fall").unwrap_or(usual.fall),
    }
}
