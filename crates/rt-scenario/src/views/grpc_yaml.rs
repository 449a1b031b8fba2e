//! gRPC servers and calls back to YAML, and in words.

use super::app_yaml::certificate_name;
use super::plain_yaml::{Entries, list};
use crate::grpc;
use crate::model::{GrpcCalls, GrpcServer};
use crate::units::show_duration;

pub(super) fn server(entries: &mut Entries, server: &GrpcServer) -> &'static str {
    let GrpcServer { port, certificate, workers, unit, queue, stops } = server;
    entries.put("port", port.to_string());
    entries.0.extend(certificate.map(|c| ("certificate".to_owned(), certificate_name(c))));
    entries.put("workers", workers.to_string());
    entries.put("unit", show_duration(*unit));
    entries.put_if(*queue != grpc::QUEUE, "queue", || queue.to_string());
    entries.put_if(!stops, "stops", || "no".to_owned());
    "grpc"
}

pub(super) fn calls(entries: &mut Entries, calls: &GrpcCalls) {
    entries.put_if(calls.at_once != 1, "at-once", || calls.at_once.to_string());
    entries.put_if(calls.jobs != [1], "jobs", || list(calls.jobs.iter().map(u32::to_string)));
    entries.put_if(calls.request != grpc::INPUT, "request", || calls.request.to_string());
    entries.put_if(calls.every.0 > 0, "every", || show_duration(calls.every));
    entries.0.extend(calls.deadline.map(|span| ("deadline".to_owned(), show_duration(span))));
    entries.0.extend(calls.cancel_after.map(|span| ("cancel-after".to_owned(), show_duration(span))));
}

/// A server in a few words.
pub(super) fn say(server: &GrpcServer) -> String {
    let how = if server.certificate.is_some() { " over TLS" } else { "" };
    let workers = rt_base::count(u64::from(server.workers), "worker");
    format!("a gRPC server{how} on port {} with {workers}", server.port)
}
