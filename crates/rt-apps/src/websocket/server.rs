//! A web server's side: the handshake at its paths, then an echo, a room or a voice that speaks by itself.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use rt_base::{Nanos, Time, Wait};

use super::reader::{Event, Message};
use super::room::{Room, Seat};
use super::socket::{Ended, Socket};
use super::{accept, code, names};
use crate::http::{Body, UpgradedIo};
use crate::net::Net;
use crate::server::{page, put};

/// After so long without a word from the client it is asked whether it is there; after as long again it is given up.
const SILENCE: Nanos = Nanos::from_secs(20);
/// What a server waits for the other end of a connection that is closing.
const PATIENCE: Nanos = Nanos::from_secs(10);

/// A path where WebSocket is spoken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Door {
    /// The path, without query.
    pub path: String,
    /// What answers.
    pub kind: DoorKind,
}

/// What answers at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DoorKind {
    /// Sends back what it hears.
    Echo,
    /// Passes what one says on to everybody who is connected, the speaker included.
    Room,
    /// Says this by itself, numbered from 1, and listens to nothing.
    Push {
        /// What.
        text: String,
        /// How often; the first time after this.
        every: Nanos,
    },
}

/// The paths of a server, with who is connected to its rooms. Clones share the rooms.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<BTreeMap<String, (DoorKind, Arc<Room>)>>);

impl Doors {
    /// Doors at these paths.
    #[must_use]
    pub fn new(doors: impl IntoIterator<Item = Door>) -> Doors {
        Doors(Arc::new(doors.into_iter().map(|door| (door.path, (door.kind, Arc::default()))).collect()))
    }

    /// Whether WebSocket is spoken at this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Answers a request for one of the paths; after a 101 a task of its own goes on.
    pub(crate) fn open(&self, net: &Net, mut request: Request<Incoming>) -> Response<Body> {
        let Some((kind, room)) = self.0.get(request.uri().path()).cloned() else {
            return page(StatusCode::NOT_FOUND, "There is no WebSocket here.");
        };
        let key = match judge(request.method(), request.version(), request.headers()) {
            Ok(key) => key,
            Err(refusal) => return *refusal,
        };
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        put(response.headers_mut(), UPGRADE, "websocket");
        put(response.headers_mut(), CONNECTION, "Upgrade");
        put(response.headers_mut(), SEC_WEBSOCKET_ACCEPT, &accept(key.as_bytes()));
        let (upgraded, net) = (hyper::upgrade::on(&mut request), net.clone());
        net.clone().launch(async move {
            if let Ok(upgraded) = upgraded.await {
                serve(&net, upgraded.into(), kind, &room).await;
            }
        });
        response
    }
}

/// The key of a good handshake.
//= rfc6455#section-4.2.1 what the client's opening handshake must have
fn judge(method: &Method, version: Version, headers: &HeaderMap) -> Result<String, Box<Response<Body>>> {
    let refuse = |status, why: &str, fields: &[(HeaderName, &str)]| {
        let mut response = page(status, why);
        fields.iter().for_each(|(name, value)| put(response.headers_mut(), name.clone(), value));
        Err(Box::new(response))
    };
    let asks = names(headers, UPGRADE, "websocket") && names(headers, CONNECTION, "upgrade");
    if version != Version::HTTP_11 {
        return refuse(StatusCode::UPGRADE_REQUIRED, "WebSocket is spoken over HTTP/1.1 here.", &[]);
    }
    if method != Method::GET || !asks {
        let fields = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade")];
        return refuse(StatusCode::UPGRADE_REQUIRED, "This is a place for WebSocket.", &fields);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(SEC_WEBSOCKET_VERSION) != "13" {
        let fields = [(SEC_WEBSOCKET_VERSION, "13"), (UPGRADE, "websocket"), (CONNECTION, "Upgrade")];
        return refuse(StatusCode::UPGRADE_REQUIRED, "This server speaks version 13.", &fields);
    }
    let key = text(SEC_WEBSOCKET_KEY);
    if STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return Ok(key.to_owned());
    }
    refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is not the base64 of 16 bytes.", &[])
}

/// What happens next on a connection.
enum Turn {
    Heard(Result<Event, Ended>),
    /// Something to pass on; `None` when too much waits.
    Post(Option<Arc<Message>>),
    /// Time for what is done by itself.
    Due,
}

/// How a connection ends that this side ends.
struct Farewell {
    code: Option<u16>,
    why: &'static str,
    /// The peer's close frame came already.
    agreed: bool,
}

/// One connection, from the handshake to its end.
async fn serve(net: &Net, stream: UpgradedIo, kind: DoorKind, room: &Arc<Room>) {
    let mut socket = Socket::server(stream);
    let seat = matches!(kind, DoorKind::Room).then(|| room.enter());
    let Some(farewell) = converse(net, &mut socket, &kind, seat.as_ref()).await else { return };
    drop(seat);
    let ending = async {
        if socket.close(farewell.code, farewell.why).await.is_err() {
            return;
        }
        //= rfc6455#section-7.1.1 the server ends the TCP connection first
        if !farewell.agreed {
            while !matches!(socket.next().await, Ok(Event::Close(..)) | Err(_)) {}
        }
        socket.end().await;
    };
    let _ = net.timeout(PATIENCE, Wait::Housekeeping, ending).await;
}

/// Until one side wants to close; `None` when there is nobody to close with.
async fn converse(
    net: &Net,
    socket: &mut Socket<UpgradedIo>,
    kind: &DoorKind,
    seat: Option<&Seat>,
) -> Option<Farewell> {
    let say = |code, why| Some(Farewell { code: Some(code), why, agreed: false });
    let mut pushed: u64 = 0;
    let mut next_push = match kind {
        DoorKind::Push { every, .. } => Some(net.now() + *every),
        _ => None,
    };
    let (mut heard, mut asked) = (net.now(), false);
    loop {
        let silent = heard + SILENCE + if asked { SILENCE } else { Nanos::ZERO };
        let due = next_push.map_or(silent, |push| push.min(silent));
        let why = if due == silent { Wait::Housekeeping } else { Wait::Pace };
        let done = match turn(net, socket, seat, (due, why)).await {
            Turn::Heard(Ok(event)) => {
                (heard, asked) = (net.now(), false);
                match event {
                    Event::Message(message) => answer(socket, kind, seat, message).await,
                    Event::Ping(payload) => socket.pong(&payload).await,
                    Event::Pong(_) => Ok(()),
                    //= rfc6455#section-5.5.1 a close frame is answered with one, usually of the same code
                    Event::Close(code, _) => return Some(Farewell { code, why: "", agreed: true }),
                }
            }
            Turn::Heard(Err(Ended::Violation(violation))) => return say(violation.code, violation.why),
            Turn::Heard(Err(Ended::Gone(_))) => return None,
            Turn::Post(Some(message)) => socket.send(&message).await,
            Turn::Post(None) => return say(code::LATER, "too slow for what is said here"),
            Turn::Due if due == silent && asked => return say(code::INTERNAL, "no answer to a ping"),
            Turn::Due if due == silent => {
                asked = true;
                socket.ping(b"there?").await
            }
            Turn::Due => {
                let DoorKind::Push { text, every } = kind else { continue };
                pushed += 1;
                next_push = Some(due + *every);
                let bytes = format!("{text} {pushed}").into_bytes();
                socket.send(&Message { text: true, bytes }).await
            }
        };
        done.ok()?;
    }
}

async fn answer(
    socket: &mut Socket<UpgradedIo>,
    kind: &DoorKind,
    seat: Option<&Seat>,
    message: Message,
) -> std::io::Result<()> {
    match (kind, seat) {
        (DoorKind::Echo, _) => return socket.send(&message).await,
        (_, Some(seat)) => seat.say(message),
        _ => {}
    }
    Ok(())
}

/// The first of what may happen; when several could, in this order.
async fn turn(
    net: &Net,
    socket: &mut Socket<UpgradedIo>,
    seat: Option<&Seat>,
    (due, why): (Time, Wait),
) -> Turn {
    let mut hearing = pin!(socket.next());
    let mut posting = pin!(async {
        match seat {
            Some(seat) => seat.next().await,
            None => std::future::pending().await,
        }
    });
    let mut timer = pin!(net.sleep_until(due, why));
    poll_fn(|cx| {
        if let Poll::Ready(heard) = hearing.as_mut().poll(cx) {
            return Poll::Ready(Turn::Heard(heard));
        }
        if let Poll::Ready(post) = posting.as_mut().poll(cx) {
            return Poll::Ready(Turn::Post(post));
        }
        timer.as_mut().poll(cx).map(|()| Turn::Due)
    })
    .await
}
