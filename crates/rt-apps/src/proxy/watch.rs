//! Looking after a pool's servers: checks, warm connections, the timeline.

use std::sync::Arc;

use http::Request;
use http::header::{HOST, HeaderValue, USER_AGENT};
use rt_base::{Nanos, ReqId, Wait};
use rt_rules::http::HttpHealth;

use super::pool::Pool;
use crate::balance::{Shift, in_a_row, watch};
use crate::grpc::health;
use crate::http::Body;

/// From one look at the warm connections to the next: a server may have closed them.
const LOOK: Nanos = Nanos::from_secs(1);

/// Starts what goes on for ever.
pub(super) fn start(pool: &Arc<Pool>, shifts: Vec<Shift>) {
    let net = pool.net.clone();
    for index in 0..pool.len() {
        if let Some(health) = pool.rules.health.clone() {
            drop(net.spawn(look_after(Arc::clone(pool), index, health)));
        }
        if pool.rules.warm > 0 {
            drop(net.spawn(keep_warm(Arc::clone(pool), index)));
        }
    }
    if !shifts.is_empty() {
        drop(net.spawn(shift(Arc::clone(pool), shifts)));
    }
}

async fn look_after(pool: Arc<Pool>, index: usize, health: HttpHealth) {
    let probe = || async {
        let asking = pool.net.timeout(health.check.timeout, Wait::Timeout, ask(&pool, index, &health));
        asking.await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    };
    watch(&pool.net, health.check, probe, |up, count, why| {
        let Some(open) = pool.state().chooser.found(index, up) else { return };
        let (called, checks) = (pool.called(index), in_a_row(count, "check"));
        if up {
            return pool.note("balancer.readmitted", format!("{called} is back: {checks}"));
        }
        pool.forget(index);
        let lost = match open {
            0 => "no request to it is under way".to_owned(),
            1 => "one request to it is under way and stands or falls with it".to_owned(),
            n => format!("{n} requests to it are under way and stand or fall with it"),
        };
        let text = format!("{called} is out: {checks} failed, the last one: {why}; {lost}");
        pool.note("balancer.ejected", text);
    })
    .await;
}

/// One check: a connection of its own, one request, a status.
async fn ask(pool: &Pool, index: usize, health: &HttpHealth) -> Result<(), String> {
    let path = if health.grpc.is_some() { health::CHECK } else { &health.path };
    let mut connection = pool.dial(index, ReqId(0)).await.map_err(|error| error.to_string())?;
    let address = pool.upstream(index).address;
    let target = if connection.protocol() == "h2" {
        let scheme = if pool.is_secure() { "https" } else { "http" };
        format!("{scheme}://{address}{path}")
    } else {
        path.to_owned()
    };
    let mut request = Request::new(Body::default());
    *request.uri_mut() = target.parse().map_err(|_| format!("{path} is no path"))?;
    if connection.protocol() != "h2" {
        let host = HeaderValue::from_str(&address.to_string()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("roundtrip-health"));
    if let Some(service) = &health.grpc {
        health::ask(&mut request, service);
    }
    let response = connection.send(request).await.map_err(|error| error.to_string())?;
    if health.grpc.is_some() {
        return health::judge(response).await;
    }
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(format!("{path} gives {}", status.as_u16()))
}

/// Keeps connections ready before a request comes: it saves the handshake.
async fn keep_warm(pool: Arc<Pool>, index: usize) {
    let most = if pool.rules.http2 { 1 } else { pool.rules.warm as usize };
    loop {
        while pool.standing(index) < most && pool.state().chooser.is_in_service(index) {
            let dialling = pool.dial(index, ReqId(0));
            match pool.net.timeout(pool.rules.connect_timeout, Wait::Timeout, dialling).await {
                Ok(Ok(connection)) => pool.keep(index, connection),
                _ => break,
            }
        }
        pool.net.sleep(LOOK, Wait::Housekeeping).await;
    }
}

/// Carries out what is planned.
async fn shift(pool: Arc<Pool>, shifts: Vec<Shift>) {
    for shift in shifts {
        pool.net.sleep_until(shift.at, Wait::Housekeeping).await;
        let Some(open) = pool.state().chooser.shift(shift.server, shift.drain) else { continue };
        let called = pool.called(shift.server);
        if !shift.drain {
            pool.note("balancer.admitted", format!("{called} is in service and takes requests"));
            continue;
        }
        let left = match open {
            0 => "none is under way: it can be switched off".to_owned(),
            1 => "the one that is under way goes on".to_owned(),
            n => format!("the {n} that are under way go on"),
        };
        pool.note("balancer.draining", format!("{called} takes no new requests, {left}"));
    }
}
