//! A health check of one server by gRPC (`grpc.health.v1.Health/Check`), as Envoy's and Kubernetes' are: the server is well
//! when it says SERVING.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use prost::Message;
use tonic::Code;

use super::proto::health::health_check_response::ServingStatus;
use super::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::http::Body;

/// Its path.
pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Flag and length before a message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Bytes of an answer that are read.
const LONGEST: usize = 1 << 16;

/// Makes a request ask for this service's health; the empty name means the whole server.
pub(crate) fn ask(request: &mut Request<Body>, service: &str) {
    let message = HealthCheckRequest { service: service.to_owned() };
    let mut framed = BytesMut::with_capacity(PREFIX + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    *request.method_mut() = Method::POST;
    *request.body_mut() = Body::from(framed.freeze());
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// What the answer says.
///
/// # Errors
/// Why the server is not well, in words.
pub(crate) async fn judge(response: Response<Incoming>) -> Result<(), String> {
    if response.status() != StatusCode::OK {
        return Err(format!("{CHECK} gives {}", response.status().as_u16()));
    }
    let head = response.headers().clone();
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|e| e.to_string())?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let code = status(&trailers).or_else(|| status(&head)).unwrap_or(Code::Unknown);
    if code != Code::Ok {
        return Err(format!("{CHECK} ends with {code:?}"));
    }
    match serving(body.to_bytes()) {
        Some(ServingStatus::Serving) => Ok(()),
        Some(other) => Err(format!("{CHECK} says {}", other.as_str_name())),
        None => Err(format!("{CHECK} gives no message that can be read")),
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

fn serving(body: Bytes) -> Option<ServingStatus> {
    let message = body.get(PREFIX..)?;
    HealthCheckResponse::decode(message).ok().map(|answer| answer.status())
}
