//! One end of a WebSocket on a stream: messages out and in.

use std::io;

use rt_base::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::LONGEST;
use super::frame::{Opcode, Violation, write};
use super::reader::{Event, Message, Reader};

/// Bytes read at once.
const PIECE: usize = 16_384;
/// The longest reason of a close frame: 125 bytes with the code.
const REASON: usize = 123;

/// Why nothing more comes.
pub(super) enum Ended {
    /// The peer broke the rules.
    Violation(Violation),
    /// The stream ended, or broke, without a close frame.
    Gone(String),
}

impl Ended {
    fn without_close() -> Ended {
        Ended::Gone("the connection ended without a close frame".to_owned())
    }
}

/// One end.
pub(super) struct Socket<S> {
    stream: S,
    reader: Reader,
    /// A client's, for masks; a server sends none.
    dice: Option<Rng>,
    piece: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket<S> {
    pub(super) fn server(stream: S) -> Socket<S> {
        Socket { stream, reader: Reader::new(true, LONGEST), dice: None, piece: vec![0; PIECE] }
    }

    pub(super) fn client(stream: S, dice: Rng) -> Socket<S> {
        Socket { stream, reader: Reader::new(false, LONGEST), dice: Some(dice), piece: vec![0; PIECE] }
    }

    /// What comes next. May be dropped half done: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.reader.next().map_err(Ended::Violation)? {
                return Ok(event);
            }
            match self.stream.read(&mut self.piece).await {
                Ok(0) => return Err(Ended::without_close()),
                Ok(n) => self.reader.feed(&self.piece[..n]),
                // TLS that ends without its own goodbye.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Ended::without_close());
                }
                Err(error) => return Err(Ended::Gone(crate::rpc::words(&error))),
            }
        }
    }

    async fn put(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mask = self.dice.as_mut().map(|dice| {
            let mut key = [0; 4];
            dice.fill(&mut key);
            key
        });
        self.stream.write_all(&write(opcode, true, mask, payload)).await?;
        self.stream.flush().await
    }

    pub(super) async fn send(&mut self, message: &Message) -> io::Result<()> {
        let opcode = if message.text { Opcode::Text } else { Opcode::Binary };
        self.put(opcode, &message.bytes).await
    }

    pub(super) async fn ping(&mut self, payload: &[u8]) -> io::Result<()> {
        self.put(Opcode::Ping, payload).await
    }

    pub(super) async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.put(Opcode::Pong, payload).await
    }

    /// A close frame; without a code an empty one.
    pub(super) async fn close(&mut self, code: Option<u16>, reason: &str) -> io::Result<()> {
        let mut payload: Vec<u8> = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        if code.is_some() {
            payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON)]);
        }
        self.put(Opcode::Close, &payload).await
    }

    /// Reads on until the peer ends the connection.
    pub(super) async fn drain(&mut self) {
        while self.stream.read(&mut self.piece).await.is_ok_and(|n| n > 0) {}
    }

    /// Ends the connection.
    pub(super) async fn end(mut self) {
        let _ = self.stream.shutdown().await;
    }
}
