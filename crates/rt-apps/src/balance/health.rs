//! Checks from time to time.

use rt_base::Wait;
use rt_rules::http::HealthCheck;

use crate::net::Net;

/// Looks after one server, for ever. `probe` is one check; `verdict` hears of each that settles whether it lives: up or
/// not, how many in a row said so, and why the last one failed. A server counts as alive until checks have failed.
pub(crate) async fn watch<P, F>(
    net: &Net,
    check: HealthCheck,
    probe: P,
    mut verdict: impl FnMut(bool, u32, &str),
) where
    P: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    // Good or failed checks in a row, whichever came last.
    let (mut good, mut bad) = (0_u32, 0_u32);
    let mut at = net.now();
    loop {
        match probe().await {
            Ok(()) => {
                (good, bad) = (good.saturating_add(1), 0);
                if good >= check.rise {
                    verdict(true, good, "");
                }
            }
            Err(why) => {
                (good, bad) = (0, bad.saturating_add(1));
                if bad >= check.fall {
                    verdict(false, bad, &why);
                }
            }
        }
        at = (at + check.every).max(net.now());
        net.sleep_until(at, Wait::Housekeeping).await;
    }
}

/// `3 checks in a row`.
pub(crate) fn in_a_row(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s in a row") }
}
