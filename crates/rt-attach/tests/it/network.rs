//! What the network of a guest looks like, and that it is the only one it has.

use std::net::TcpListener;
use std::time::Duration;

use rt_attach::{
    AttachError, Device, DeviceChoice, DeviceKind, GuestRoute, MAX_FRAME, Plan, Poller, launch, survey,
};

use crate::roles;
use crate::world::{PATIENCE, interface, laptop, run, serve, start, until};

/// Every kind of device that can be had here: without a readable node there is no TAP, and `Auto` says so.
pub(crate) fn kinds() -> Vec<DeviceChoice> {
    let tap = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok();
    if tap { vec![DeviceChoice::Tap, DeviceChoice::Veth] } else { vec![DeviceChoice::Veth] }
}

#[test]
fn guest_has_the_interface_addresses_and_routes_of_the_plan() {
    for kind in kinds() {
        let mut plan = laptop(
            "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ls /sys/class/net; cat /proc/net/route; \
             grep -c . /proc/net/if_inet6; hostname; cat /proc/net/fib_trie | grep -c 10.9.8.7",
        );
        plan.device = kind;
        plan.interfaces[0].mtu = 1400;
        plan.interfaces[0].addresses.push(([10, 9, 8, 7].into(), 32));
        // A next hop that no address makes a neighbour.
        let to = Some(([192, 168, 5, 77].into(), 24));
        plan.routes.push(GuestRoute { to, via: Some([172, 16, 0, 1].into()), interface: 0 });
        plan.routes.push(GuestRoute { to: Some(([203, 0, 113, 9].into(), 32)), via: None, interface: 0 });
        let said = run(&plan).said;
        assert!(said.starts_with("02:00:00:00:00:07\n1400\neth0\nlo\n"), "{said}");
        // The kernel's own way to print them: hexadecimal, in the byte order of the machine.
        for (to, via) in [("00000000", "0100000A"), ("0005A8C0", "010010AC"), ("097100CB", "00000000")] {
            assert!(said.contains(&format!("eth0\t{to}\t{via}\t")), "{to} via {via}: {said}");
        }
        assert!(said.contains("\n0\nlaptop\n"), "no IPv6 address: {said}");
        assert!(!said.ends_with("\n0\n"), "the second address: {said}");
    }
}

#[test]
fn guest_pings_the_world() {
    for kind in kinds() {
        let mut plan = laptop("ping -c 3 -i 0.2 -s 1400 8.8.8.8");
        plan.device = kind;
        let outcome = run(&plan);
        assert_eq!(outcome.code, 0, "{outcome:?} (package iputils-ping)");
        assert!(outcome.said.contains("3 received, 0% packet loss"), "{outcome:?}");
    }
}

#[test]
fn guest_binds_low_ports_and_gets_back_every_byte() {
    for kind in kinds() {
        let mut plan = laptop("");
        plan.device = kind;
        plan.command = roles::command("datagrams");
        let outcome = run(&plan);
        assert!(outcome.said.contains("all came back"), "{outcome:?}");
    }
}

#[test]
fn guest_has_as_many_interfaces_as_wanted() {
    for kind in kinds() {
        let mut plan = laptop("ls /sys/class/net | tr '\\n' ' '; ping -c 1 10.2.0.1 >&2; ping -c 1 10.3.0.1");
        plan.device = kind;
        for n in [2u8, 3] {
            let mut more = interface(n);
            more.name = format!("eth{}", n - 1);
            more.addresses = vec![([10, n, 0, 7].into(), 24)];
            plan.interfaces.push(more);
        }
        let outcome = run(&plan);
        assert!(outcome.said.starts_with("eth0 eth1 eth2 lo"), "{outcome:?}");
        assert_eq!((outcome.code, outcome.said.matches(" 0% packet loss").count()), (0, 2), "{outcome:?}");
    }
}

#[test]
fn settings_of_the_network_can_be_changed_inside() {
    let names = "tcp_sack tcp_timestamps tcp_window_scaling tcp_ecn tcp_fastopen";
    let script =
        format!("cd /proc/sys/net/ipv4; for n in {names}; do echo 0 > $n; cat $n; done | tr -d '\\n'");
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_sack").unwrap();
    assert_eq!(run(&laptop(&script)).said, "00000");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_sack").unwrap(), before);
}

#[test]
fn guest_cannot_reach_the_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = laptop("");
    plan.command = roles::command("connect");
    plan.interfaces.clear();
    plan.routes.clear();
    plan.env.push(("TARGET".into(), listener.local_addr().unwrap().to_string().into()));
    let said = run(&plan).said;
    assert!(said.contains("not connected: Connection refused"), "its own loopback: {said}");
    plan.env[0].1 = "8.8.8.8:53".into();
    let said = run(&plan).said;
    assert!(said.contains("not connected: Network is unreachable"), "{said}");
}

#[test]
fn two_guests_talk_over_a_wire_of_ours() {
    let (mut one, _out) = start(&laptop("ping -c 3 -i 0.2 10.0.0.8"));
    let mut plan = laptop("sleep 1000");
    plan.interfaces = vec![interface(8)];
    let (mut two, _silence) = start(&plan);
    let (mut poller, mut frame) = (Poller::new(), vec![0; MAX_FRAME]);
    let mut code = None;
    until("the ping ends", || {
        poller
            .wait(&[one.devices[0].watch(), two.devices[0].watch()], Some(Duration::from_millis(20)))
            .unwrap();
        pass(&mut one.devices[0], &mut two.devices[0], &mut frame);
        pass(&mut two.devices[0], &mut one.devices[0], &mut frame);
        code = one.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!((code, two.try_wait().unwrap()), (Some(0), None));
}

fn pass(from: &mut Device, to: &mut Device, frame: &mut [u8]) {
    while let Ok(length) = from.read(frame) {
        to.write(&frame[..length]).unwrap();
    }
}

#[test]
fn an_interface_that_is_removed_is_a_clear_error() {
    for kind in kinds() {
        let mut plan = laptop("ip link del eth0 && sleep 1000");
        plan.device = kind;
        let (mut guest, _out) = start(&plan);
        let mut frame = vec![0; MAX_FRAME];
        let mut error = None;
        until("the interface is gone (package iproute2)", || match guest.devices[0].read(&mut frame) {
            Err(e) if e.kind() == std::io::ErrorKind::NotConnected => {
                error = Some(e.to_string());
                true
            }
            _ => false,
        });
        assert!(error.unwrap().contains("something inside has removed it"));
        let error = guest.devices[0].write(&[0; 60]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        assert_eq!(guest.try_wait().unwrap(), None, "the program goes on");
    }
}

#[test]
fn frames_that_do_not_fit_are_counted_and_skipped() {
    for kind in kinds() {
        let mut plan = laptop(
            "ip link set eth0 mtu 9000 && ip neigh add 10.0.0.1 lladdr 2:0:0:0:0:1 dev eth0 && \
             ping -c 1 -W 1 -s 4000 10.0.0.1; ping -c 1 -W 1 -s 100 10.0.0.1; sleep 1000",
        );
        plan.device = kind;
        let (mut guest, _out) = start(&plan);
        let device = &mut guest.devices[0];
        let mut frame = [0; 1514];
        let mut length = None;
        until("the short ping arrives", || {
            length = device.read(&mut frame).ok().filter(|_| frame[23] == 1).or(length);
            length.is_some()
        });
        assert_eq!(
            (length, device.lost()),
            (Some(142), u64::from(kind == DeviceChoice::Tap || device.lost() > 0))
        );
    }
}

#[test]
fn a_frame_that_is_none_is_refused_and_one_for_a_dead_interface_is_lost() {
    for kind in kinds() {
        let mut plan = laptop("ip link set eth0 down; sleep 1000");
        plan.device = kind;
        let (mut guest, _out) = start(&plan);
        let device = &mut guest.devices[0];
        for length in [0, 13, MAX_FRAME + 1] {
            let error = device.write(&vec![0; length]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
        until("a frame is lost", || {
            device.write(&[0xff; 60]).unwrap();
            device.lost() > 0
        });
        assert_eq!(guest.try_wait().unwrap(), None);
    }
}

/// Random bytes and headers that lie: the kernel inside judges them, and nothing else happens.
#[test]
fn broken_frames_do_no_harm() {
    for kind in kinds() {
        let mut plan = laptop("ping -c 1 -W 20 10.0.0.1");
        plan.device = kind;
        let (mut guest, _out) = start(&plan);
        let mut seed = 1u32;
        for n in 0..20_000usize {
            let frame: Vec<u8> = (0..14 + n % 1500)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            guest.devices[0].write(&frame).unwrap();
        }
        assert_eq!(serve(&mut guest), 0);
    }
}

#[test]
fn auto_says_what_it_chose() {
    let (guest, _out) = start(&laptop("sleep 1000"));
    let tap = kinds().contains(&DeviceChoice::Tap);
    assert_eq!(guest.devices[0].kind(), if tap { DeviceKind::Tap } else { DeviceKind::Veth });
    assert_eq!(
        guest.notes.iter().any(|n| n.contains("using a veth pair instead")),
        !tap,
        "{:?}",
        guest.notes
    );
    if !tap {
        let mut plan = laptop("true");
        plan.device = DeviceChoice::Tap;
        let error = launch(&plan).unwrap_err().to_string();
        assert!(error.contains("/dev/net/tun has mode"), "{error}");
    }
}

#[test]
fn impossible_plans_are_refused_in_words() {
    let check = |change: &dyn Fn(&mut Plan), words: &str| {
        let mut plan = laptop("true");
        change(&mut plan);
        match launch(&plan) {
            Err(AttachError::Misuse { what }) => assert!(what.contains(words), "{what}"),
            other => panic!("{words}: {other:?}"),
        }
    };
    check(&|p| p.hostname = "x".repeat(65), "host name");
    check(&|p| p.interfaces[0].name = "eth0/..".into(), "name of an interface");
    check(&|p| p.interfaces[0].mtu = 65_522, "MTU");
    check(&|p| p.interfaces[0].mac = [0xff; 6], "hardware address");
    check(&|p| p.interfaces[0].addresses[0].1 = 33, "prefix");
    check(&|p| p.interfaces.push(interface(7)), "two interfaces");
    check(&|p| p.interfaces = (0..17).map(interface).collect(), "at most 16");
    check(&|p| p.routes[0].interface = 1, "not there");
    check(&|p| p.command[2] = "a\0b".into(), "zero byte");
    check(&|p| p.files[0].path = "etc/x".into(), "absolute");
}

#[test]
fn survey_finds_namespaces_where_guests_can_be_launched() {
    let findings = survey();
    let namespaces = findings.iter().find(|f| f.essential).unwrap();
    assert!(namespaces.found, "{}", namespaces.detail);
    let tap = findings.iter().find(|f| f.what == "TAP devices").unwrap();
    assert_eq!(tap.found, kinds().contains(&DeviceChoice::Tap), "{}", tap.detail);
}

#[test]
fn a_poller_wakes_in_time() {
    let clock = rt_attach::WallClock::start();
    let mut poller = Poller::new();
    assert_eq!(poller.wait(&[], Some(Duration::from_millis(20))).unwrap(), []);
    let waited = clock.elapsed().0;
    assert!((20_000_000..PATIENCE.as_nanos() as u64).contains(&waited), "{waited}");
    // More descriptors than are kept without allocating.
    let pipes: Vec<_> = (0..20).map(|_| std::io::pipe().unwrap()).collect();
    std::io::Write::write_all(&mut &pipes[13].1, b"x").unwrap();
    let watched: Vec<_> = pipes.iter().map(|(read, _)| std::os::fd::AsFd::as_fd(read)).collect();
    let ready = poller.wait(&watched, None).unwrap();
    assert_eq!(ready.iter().position(|r| *r), Some(13));
}
