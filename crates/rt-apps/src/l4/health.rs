//! Checks: a TCP connection to each server from time to time.

use std::sync::Arc;

use rt_base::Wait;

use super::{Desk, Health};

/// Looks after one server, for ever. A server counts as alive until checks have failed.
pub(super) async fn check(desk: Arc<Desk>, server: usize, health: Health) {
    // Good or failed checks in a row, whichever came last.
    let (mut good, mut bad) = (0_u32, 0_u32);
    let mut at = desk.net.now();
    loop {
        match desk.connect(server, health.timeout).await {
            Ok(stream) => {
                drop(stream);
                (good, bad) = (good.saturating_add(1), 0);
                if good >= health.rise && desk.state().found(server, true).is_some() {
                    let text = format!("{} is back: {}", desk.called(server), in_a_row(good, "check"));
                    desk.note("balancer.readmitted", text);
                }
            }
            Err(error) => {
                (good, bad) = (0, bad.saturating_add(1));
                if bad >= health.fall {
                    eject(
                        &desk,
                        server,
                        &format!("{} failed, the last one: {error}", in_a_row(bad, "check")),
                    );
                }
            }
        }
        at = (at + health.every).max(desk.net.now());
        desk.net.sleep_until(at, Wait::Housekeeping).await;
    }
}

fn eject(desk: &Desk, server: usize, why: &str) {
    let Some(open) = desk.state().found(server, false) else { return };
    desk.ready()[server].clear();
    let lost = match open {
        0 => "no connection to it is open".to_owned(),
        1 => "one connection to it is open and stands or falls with it".to_owned(),
        n => format!("{n} connections to it are open and stand or fall with it"),
    };
    desk.note("balancer.ejected", format!("{} is out: {why}; {lost}", desk.called(server)));
}

fn in_a_row(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s in a row") }
}
