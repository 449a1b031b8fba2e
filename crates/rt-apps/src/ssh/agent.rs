//! The key agent (draft-miller-ssh-agent): signs with keys that never leave it, also for programs on another machine to which
//! it was forwarded.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::channel::Kind;
use super::conn::{ChannelStream, Conn};
use super::keys::{Identity, PublicKey};
use super::wire::{Reader, Writer};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// The longest message that is taken (OpenSSH's).
const LONGEST: u32 = 256 << 10;

/// Where the agent is that a client asks.
#[derive(Clone)]
pub(super) enum Agent {
    /// On this machine.
    Here(Arc<Vec<Identity>>),
    /// At the other end of this connection, which was made with agent forwarding.
    Through(Conn),
}

/// A conversation with an agent.
pub(super) enum Asking {
    Here(Arc<Vec<Identity>>),
    Through(ChannelStream),
}

impl Agent {
    /// Begins to ask. `None` when it does not answer.
    pub(super) async fn ask(&self) -> Option<Asking> {
        match self {
            Agent::Here(keys) => Some(Asking::Here(Arc::clone(keys))),
            Agent::Through(conn) => Some(Asking::Through(conn.open(&Kind::Agent).await.ok()?)),
        }
    }
}

impl Asking {
    /// Which keys it has.
    pub(super) async fn keys(&mut self) -> Vec<(PublicKey, String)> {
        match self {
            Asking::Here(keys) => keys.iter().map(|key| (key.public(), key.comment.clone())).collect(),
            Asking::Through(stream) => {
                let answer = exchange(stream, vec![REQUEST_IDENTITIES]).await;
                answer.ok().and_then(|answer| read_keys(&answer)).unwrap_or_default()
            }
        }
    }

    /// A signature by one of them.
    pub(super) async fn sign(&mut self, key: &PublicKey, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Asking::Here(keys) => keys.iter().find(|k| k.public() == *key).map(|k| k.sign(text)),
            Asking::Through(stream) => {
                let request = Writer::message(SIGN_REQUEST).string(key.blob()).string(text).number(0).done();
                let answer = exchange(stream, request).await.ok()?;
                let mut reader = Reader::new(&answer);
                if reader.byte().ok()? != SIGN_RESPONSE {
                    return None;
                }
                Some(reader.string().ok()?.to_vec())
            }
        }
    }
}

fn read_keys(answer: &[u8]) -> Option<Vec<(PublicKey, String)>> {
    let mut reader = Reader::new(answer);
    if reader.byte().ok()? != IDENTITIES_ANSWER {
        return None;
    }
    let count = reader.number().ok()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, comment) = (reader.string().ok()?, reader.string().ok()?);
        // Keys of other kinds are of no use here.
        if let Ok(key) = PublicKey::from_blob(blob) {
            keys.push((key, String::from_utf8_lossy(comment).into_owned()));
        }
    }
    Some(keys)
}

async fn exchange(stream: &mut ChannelStream, request: Vec<u8>) -> io::Result<Vec<u8>> {
    stream.write_all(&Writer::default().string(request).done()).await?;
    message(stream).await
}

async fn message<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Answers on a stream with what `asking` knows, until the peer closes it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut asking: Asking) {
    while let Ok(request) = message(&mut stream).await {
        let answer = answer(&request, &mut asking).await.unwrap_or_else(|| vec![FAILURE]);
        if stream.write_all(&Writer::default().string(answer).done()).await.is_err() {
            return;
        }
    }
}

async fn answer(request: &[u8], asking: &mut Asking) -> Option<Vec<u8>> {
    let mut reader = Reader::new(request);
    match reader.byte().ok()? {
        REQUEST_IDENTITIES => {
            let keys = asking.keys().await;
            let mut answer = Writer::message(IDENTITIES_ANSWER).number(keys.len() as u32);
            for (key, comment) in keys {
                answer = answer.string(key.blob()).string(comment);
            }
            Some(answer.done())
        }
        SIGN_REQUEST => {
            let key = PublicKey::from_blob(reader.string().ok()?).ok()?;
            let signature = asking.sign(&key, reader.string().ok()?).await?;
            Some(Writer::message(SIGN_RESPONSE).string(signature).done())
        }
        _ => None,
    }
}
