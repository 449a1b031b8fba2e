//! gRPC servers and calls: the model's words in those of the apps.

use rt_apps::grpc::{self, GrpcCalls, GrpcServer};
use rt_apps::{ConnectOptions, Net, StepFn};
use rt_scenario::model::{self, Step};

use crate::apps::Shared;

/// Starts a server.
pub(crate) fn serve(net: &Net, server: &model::GrpcServer, shared: &Shared) {
    let model::GrpcServer { port, certificate, workers, unit, queue, stops } = *server;
    let identity = shared.identity(certificate);
    let server = GrpcServer { port, identity, workers, unit, queue, stops };
    net.serve("grpc server", server.run(net.clone()));
}

/// What a machine does when a step begins that calls one.
pub(crate) fn step(step: &Step, calls: model::GrpcCalls, shared: &Shared) -> StepFn {
    let first = ConnectOptions { local_port: step.source_port, isn: step.isn, ..ConnectOptions::default() };
    let calls = GrpcCalls {
        secure: calls.secure,
        host: calls.target,
        port: calls.port,
        path: calls.path,
        count: calls.count,
        at_once: calls.at_once,
        jobs: calls.jobs,
        input: calls.request,
        every: calls.every,
        deadline: calls.deadline,
        cancel_after: calls.cancel_after,
        roots: shared.roots(),
        first,
    };
    Box::new(move |net| Box::pin(grpc::call(net, calls)))
}
