//! Connections to servers that stand ready before a client comes: it saves the client the balancer's handshake.

use std::sync::Arc;

use rt_base::{Nanos, TcpPhase, Wait};

use super::Desk;
use crate::socket::TcpStream;

/// From one look to the next: a server may have closed what stood ready.
const LOOK: Nanos = Nanos::from_secs(1);

/// Keeps the stock of one server, for ever.
pub(super) async fn keep(desk: Arc<Desk>, server: usize) {
    loop {
        fill(&desk, server).await;
        desk.net.sleep(LOOK, Wait::Housekeeping).await;
    }
}

/// Opens what is missing.
async fn fill(desk: &Desk, server: usize) {
    loop {
        let count = {
            let mut ready = desk.ready();
            ready[server].retain(|stream| stream.phase() == TcpPhase::Established);
            ready[server].len()
        };
        if count >= desk.config.warm as usize || !desk.state().is_in_service(server) {
            return;
        }
        let Ok(stream) = desk.connect(server, desk.config.connect_timeout).await else { return };
        if desk.state().is_in_service(server) {
            desk.ready()[server].push(stream);
        }
    }
}

/// The connection that stood ready for longest; another one is opened in its place.
pub(super) fn take(desk: &Arc<Desk>, server: usize) -> Option<TcpStream> {
    if desk.config.warm == 0 {
        return None;
    }
    let stream = {
        let mut ready = desk.ready();
        ready[server].retain(|stream| stream.phase() == TcpPhase::Established);
        (!ready[server].is_empty()).then(|| ready[server].remove(0))
    }?;
    let again = Arc::clone(desk);
    drop(desk.net.spawn(async move { fill(&again, server).await }));
    Some(stream)
}
