//! A machine that was given away: scripted frames stand for the real program that plays it.

use std::net::Ipv4Addr;

use rt_base::{DropReason, HookPoint, Input, Nanos, Outbox, Place, PortId, Signal, Time, What};
use rt_devices::Outward;
use rt_rules::{Action, Chain, CtState, Filter, Match, Origin, Policy};
use rt_sim::{Node, StopReason};
use rt_wire::{ArpOperation, ArpPacket, EthernetHeader, Ipv4Header, MacAddr, checksum};

use crate::lan::{Lan, mac, machine};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Two machines; the first was given away after `seconds`.
fn lan() -> Lan {
    let mut lan = Lan::new(1, vec![machine("laptop", "10.0.0.1/24"), machine("server", "10.0.0.2/24")]);
    lan.run_until(1);
    lan.host(0).give_away();
    lan
}

fn ethernet(dst: MacAddr, ethertype: u16) -> Vec<u8> {
    let mut out = Vec::new();
    EthernetHeader { dst, src: mac(0), ethertype }.emit(&mut out);
    out
}

fn who_has() -> Vec<u8> {
    let mut out = ethernet(MacAddr([0xff; 6]), 0x0806);
    let (operation, target_mac) = (ArpOperation::Request, MacAddr([0; 6]));
    ArpPacket { operation, sender_mac: mac(0), sender_ip: OWN, target_mac, target_ip: OTHER }.emit(&mut out);
    out
}

fn echo(seq: u8) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, seq, b'h', b'i'];
    let sum = checksum::of_sum(checksum::ones_sum(&icmp));
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut out = ethernet(mac(1), 0x0800);
    Ipv4Header::new(OWN, OTHER, 1, 64, icmp.len()).emit(&mut out);
    out.extend_from_slice(&icmp);
    out
}

/// Sends these at these milliseconds; returns what came back.
fn play(lan: &mut Lan, script: &[(u64, Vec<u8>)]) -> Vec<Outward> {
    let mut got = Vec::new();
    for (ms, bytes) in script {
        let at = Time::ZERO + Nanos::from_millis(*ms);
        while lan.sim.run_until(at) == StopReason::Signals {}
        lan.host(0).take_outward(&mut got);
        lan.sim.inject(at, rt_base::NodeId(0), PortId(0), bytes.clone());
    }
    lan.run_until(60);
    lan.host(0).take_outward(&mut got);
    got
}

#[test]
fn a_machine_that_was_given_away_talks_through_its_frames() {
    let mut lan = lan();
    assert!(lan.host(0).is_given_away() && lan.host(0).runtime().is_none());
    assert_eq!(lan.host(0).with_stack(|_| ()), None);
    let got = play(&mut lan, &[(2_000, who_has()), (2_010, echo(1)), (2_020, echo(2))]);
    let told: Vec<(u64, u16, u8)> = got
        .iter()
        .map(|o| {
            let kind = u16::from_be_bytes([o.bytes[12], o.bytes[13]]);
            // Operation of ARP, or type of ICMP.
            (o.at.as_millis(), kind, if kind == 0x0806 { o.bytes[21] } else { o.bytes[34] })
        })
        .collect();
    // There and back over two cables of 1 ms each.
    assert_eq!(told, [(2_004, 0x0806, 2), (2_014, 0x0800, 0), (2_024, 0x0800, 0)]);
    let log = lan.log.lock().unwrap();
    let count = |wanted: fn(&What) -> bool| log.events.iter().filter(|e| wanted(&e.what)).count();
    assert_eq!(count(|w| matches!(w, What::FromOutside { .. })), 3);
    assert_eq!(count(|w| matches!(w, What::ToOutside { .. })), 3);
    drop(log);
    assert!(lan.sim.stats().holds());
    lan.tshark("outside", &[]);
}

/// Only pings may leave (or not even they), and nothing may come in but answers.
fn guarded(pings: Action) -> Lan {
    let mut lan = Lan::new(1, vec![machine("laptop", "10.0.0.1/24"), machine("server", "10.0.0.2/24")]);
    lan.run_until(1);
    let origin = Origin::Line { file: "t.yaml".into(), line: 1 };
    let states = vec![CtState::Established, CtState::Related];
    let answers = Filter::new(Match { states, ..Match::default() }, Action::Accept, origin.clone());
    let pings = Filter::new(Match { protocol: Some(1), ..Match::default() }, pings, origin.clone());
    let policy = Policy::new(Action::Drop, origin);
    let input = Chain { hook: HookPoint::Input, rules: vec![answers], policy: policy.clone() };
    let output = Chain { hook: HookPoint::Output, rules: vec![pings], policy };
    lan.host(0).with_stack(|stack| stack.set_rules(vec![input, output], Vec::new()));
    lan.host(0).give_away();
    lan
}

/// Where filters dropped something, and by which rule.
fn filtered<'e>(events: impl IntoIterator<Item = &'e rt_base::Event>) -> Vec<(Place, u32)> {
    let of = |what: &What| match what {
        What::Drop { reason: DropReason::Filtered, place, rule, .. } => Some((*place, *rule)),
        _ => None,
    };
    events.into_iter().filter_map(|e| of(&e.what)).collect()
}

#[test]
fn filters_stay_when_a_machine_is_given_away() {
    // What it begins may be answered.
    let mut lan = guarded(Action::Accept);
    assert_eq!(play(&mut lan, &[(2_000, who_has()), (2_010, echo(1))]).len(), 2);
    assert_eq!(filtered(&lan.log.lock().unwrap().events), []);
    // What it may not begin does not leave: the first rule says so.
    let mut lan = guarded(Action::Drop);
    assert_eq!(play(&mut lan, &[(2_000, who_has()), (2_010, echo(1))]).len(), 1, "the answer of ARP");
    assert_eq!(filtered(&lan.log.lock().unwrap().events), [(Place::Hook(HookPoint::Output), 0)]);
    assert!(lan.sim.stats().holds());
    // What others begin does not come in: no rule names it.
    let mut lan = guarded(Action::Accept);
    let mut bytes = echo(1);
    bytes[..12].rotate_left(6);
    bytes[26..30].copy_from_slice(&OTHER.octets());
    bytes[30..34].copy_from_slice(&OWN.octets());
    let mut out = Outbox::new(true);
    let frame = out.new_frame(bytes, rt_base::FrameId::NONE);
    lan.host(0).handle(Time(2_000_000_000), Input::Frame { port: PortId(0), frame }, &mut out);
    let mut got = Vec::new();
    lan.host(0).take_outward(&mut got);
    assert_eq!(got, []);
    assert_eq!(filtered(&out.events), [(Place::Hook(HookPoint::Input), u32::MAX)]);
}

#[test]
fn the_same_script_gives_the_same_run() {
    let script =
        [(2_000, who_has()), (2_001, echo(1)), (2_001, echo(2)), (3_000, vec![]), (3_001, vec![0xff; 9_000])];
    let digest = || {
        let mut lan = lan();
        play(&mut lan, &script);
        assert!(lan.sim.stats().holds());
        lan.digest()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn who_was_given_away_does_no_step_and_who_was_not_hears_nobody_outside() {
    let mut lan = lan();
    let mut out = Outbox::new(true);
    lan.host(0).handle(Time(1), Input::Command { step: 3 }, &mut out);
    assert!(matches!(&out.signals[..], [Signal::StepDone { step: 3, ok: false, .. }]));
    lan.host(1).handle(Time(1), Input::Outside { port: PortId(0), bytes: vec![0; 60] }, &mut out);
    assert!(out.frames.is_empty());
    // Twice is once.
    lan.host(0).give_away();
    assert!(lan.host(0).is_given_away());
}
