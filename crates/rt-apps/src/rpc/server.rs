//! The side that replies.

use std::io;

use rt_base::{Nanos, Wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Manners, read_message, write_message};
use crate::net::Net;
use crate::socket::TcpStream;

/// A client that was told FIN gets so long to say its own.
const FAREWELL: Nanos = Nanos::from_secs(10);

/// Replies to calls on a TCP port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RpcServer {
    /// TCP port.
    pub port: u16,
    /// Length of a reply in bytes.
    pub reply: u32,
    /// Time per call.
    pub think: Nanos,
    /// Closes the connection after its first reply, as HTTP/1.0 did. Else the client closes.
    pub closes: bool,
    /// How many connections may wait to be accepted.
    pub backlog: u32,
    /// How it writes and reads.
    pub manners: Manners,
}

impl RpcServer {
    /// Serves until the end of the run.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub async fn run(self, net: Net) -> io::Result<()> {
        let listener = net.tcp_listen_with(self.port, self.backlog)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let server = net.clone();
            drop(net.spawn(async move {
                // A connection that broke is in the packets; the server goes on with the others.
                let _ = self.serve(&server, stream).await;
            }));
        }
    }

    async fn serve(&self, net: &Net, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.manners.no_delay);
        while read_message(&mut stream, self.manners).await?.is_some() {
            if self.think > Nanos::ZERO {
                net.sleep(self.think, Wait::ServerThink).await;
            }
            write_message(net, &mut stream, self.reply, self.manners).await?;
            if self.closes {
                break;
            }
        }
        stream.shutdown().await?;
        // Data that nobody reads would make close a reset.
        let drain = async { while stream.read(&mut [0; 512]).await.is_ok_and(|n| n > 0) {} };
        let _ = net.timeout(FAREWELL, Wait::Housekeeping, drain).await;
        Ok(())
    }
}
