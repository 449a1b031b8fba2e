//! Call servers, callers and attackers: the model's words in those of the apps.

use std::net::SocketAddr;

use ipnet::IpNet;
use rt_apps::attack::{self, Spoof, SpoofKind, SynFlood};
use rt_apps::rpc::{self, Calls, Manners, RpcServer};
use rt_apps::{ConnectOptions, Net, StepFn, StepResult};
use rt_scenario::model::{App, Connections, Forgery, Step, Verb};

/// Starts a call server.
pub(crate) fn serve(net: &Net, app: &App) {
    if let App::Rpc { port, reply, think, closes, backlog, writes, no_delay, quick_ack } = *app {
        let manners = Manners { writes, no_delay, quick_ack };
        let server = RpcServer { port, reply, think, closes, backlog, manners };
        net.serve("rpc", server.run(net.clone()));
    }
}

/// What a machine does when a step begins that calls, floods or forges.
pub(crate) fn step(step: &Step, verb: Verb) -> StepFn {
    match verb {
        Verb::Call {
            target,
            port,
            count,
            request,
            connections,
            at_once,
            every,
            timeout,
            writes,
            no_delay,
            quick_ack,
        } => {
            let connections = match connections {
                Connections::Each => rpc::Connections::Each,
                Connections::Kept => rpc::Connections::Kept,
                Connections::Warmed => rpc::Connections::Warmed,
            };
            let first =
                ConnectOptions { local_port: step.source_port, isn: step.isn, ..ConnectOptions::default() };
            let manners = Manners { writes, no_delay, quick_ack };
            let calls =
                Calls { target, port, count, request, connections, at_once, every, timeout, manners, first };
            Box::new(move |net| Box::pin(rpc::call(net, calls)))
        }
        Verb::Flood { target, port, rate, lasts, sources: IpNet::V4(sources) } => {
            let flood = SynFlood { target, port, rate, lasts, sources };
            Box::new(move |net| Box::pin(attack::syn_flood(net, flood)))
        }
        Verb::Spoof {
            what,
            from: SocketAddr::V4(from),
            to: SocketAddr::V4(to),
            first,
            stride,
            count,
            rate,
        } => {
            let kind = match what {
                Forgery::Rst => SpoofKind::Rst,
                Forgery::Syn => SpoofKind::Syn,
                Forgery::Udp => SpoofKind::Udp,
                Forgery::Answer { name, address } => SpoofKind::Answer { name, address },
            };
            let spoof = Spoof { kind, from, to, first, stride, count, rate };
            Box::new(move |net| Box::pin(attack::spoof(net, spoof)))
        }
        _ => Box::new(|_| Box::pin(async { StepResult::failed("only IPv4 is spoken here") })),
    }
}
