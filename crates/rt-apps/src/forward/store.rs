//! A client's request on its way through the proxy: to the server, or, with a cache, out of the store ([`crate::cached`]).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, ReqId, ReqKind};

use super::log::{Access, Ended, kind_of};
use super::policy::{Refusal, Wanted};
use super::pool::Connection;
use super::{Caller, Desk};
use crate::cached::{From, Lack, Source};
use crate::http::{Begun, Body, Relayed};

/// A client's request and what it is after.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) desk: Arc<Desk>,
    pub(super) caller: Caller,
    pub(super) access: Access,
    pub(super) wanted: Wanted,
}

/// A server's response of which the head is there.
pub(super) struct Fetched {
    begun: Begun,
    connection: Connection,
    parts: http::response::Parts,
    body: Incoming,
}

impl Source for Way {
    type Fetched = Fetched;
    type Refusal = Refusal;

    fn client(&self) -> (SocketAddr, u32) {
        (self.caller.peer, self.caller.ordinal)
    }

    async fn fetch(&self, req: ReqId, parts: &Parts, body: Bytes) -> Result<Fetched, Refusal> {
        let (method, target) = (parts.method.to_string(), parts.uri.to_string());
        let (parent, kind) = (ReqId(0), ReqKind::Upstream);
        self.desk.net.say(AppRecord::RequestBegin { req, parent, kind, method, target });
        let mut begun = Begun::new(&self.desk.net, req);
        match self.desk.ask(req, &self.caller, &self.wanted, parts, &body).await {
            Ok((connection, response)) => {
                let (parts, body) = response.into_parts();
                Ok(Fetched { begun, connection, parts, body })
            }
            Err(refusal) => {
                begun.end(refusal.status.as_u16(), &refusal.why);
                Err(refusal)
            }
        }
    }

    fn head(fetched: &Fetched) -> &http::response::Parts {
        &fetched.parts
    }

    fn why(refusal: &Refusal) -> &str {
        &refusal.why
    }

    fn relay(
        &self,
        fetched: Fetched,
        keep: Option<u64>,
        on_end: impl FnOnce(Relayed) + Send + 'static,
    ) -> Response<Body> {
        let Fetched { mut begun, connection, mut parts, body } = fetched;
        begun.handed_on();
        let (req, status) = (begun.req(), parts.status.as_u16());
        let (server, kind) = (Some(connection.remote.ip()), kind_of(&parts.headers));
        self.desk.dress(&mut parts.headers);
        parts.version = Version::default();
        let Way { desk, access, wanted, .. } = self.clone();
        let patience = Some((desk.net.clone(), desk.config.timeout));
        let body = Body::relay(body, keep, false, patience, move |relayed| {
            let (bytes, whole, note) = (relayed.bytes, relayed.whole, relayed.note());
            if whole {
                desk.pool.park(&wanted, connection);
            }
            on_end(relayed);
            desk.net.say(AppRecord::RequestEnd { req, status, ok: whole, body_bytes: bytes, note });
            access.end(&desk, &Ended { result: "TCP_MISS", status, bytes, server, kind });
        });
        Response::from_parts(parts, body)
    }

    async fn take(&self, fetched: Fetched, most: u64, note: &str) -> Option<Bytes> {
        let Fetched { mut begun, connection, parts, body } = fetched;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let body = Limited::new(body, most).collect().await.ok()?.to_bytes();
        self.desk.pool.park(&self.wanted, connection);
        begun.taken(parts.status.as_u16(), body.len() as u64, note);
        Some(body)
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        self.desk.answer_itself(&self.caller, self.access.clone(), refusal)
    }

    fn fail(&self, lack: Lack, why: &str) -> Response<Body> {
        let error = match lack {
            Lack::NotStored => "http_request_error",
            Lack::Broken => "http_response_incomplete",
        };
        self.refuse(&Refusal::new(lack.status(), error, why))
    }

    fn dress(&self, how: From, response: &mut Response<Body>) {
        let result = match how {
            From::Stored => "TCP_HIT",
            From::Fetched => "TCP_MISS",
            From::Revalidated => "TCP_REFRESH_UNMODIFIED",
            From::OnError => "TCP_REFRESH_FAIL_OLD",
        };
        let bytes = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
        let (status, kind) = (response.status().as_u16(), kind_of(response.headers()));
        self.access.clone().end(&self.desk, &Ended { result, status, bytes, server: None, kind });
        self.desk.dress(response.headers_mut());
    }
}
