//! The machine's calls as a C program sees them: results, errno, readiness, options, time.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod wire;

use std::net::SocketAddrV4;

use rt_base::{Rng, Time};
use rt_drill::machine::{Applied, Call, EpollEvent, Errno, Received, numbers as n};
use rt_wire::TcpFlags;

use wire::{ACK, FIN, LOCAL, REMOTE, RST, SYN, SYN_ACK, Wire};

const IN: i32 = n::POLLIN | n::POLLRDNORM;
const OUT: i32 = n::POLLOUT | n::POLLWRNORM;

#[test]
fn a_nonblocking_connect_is_in_progress_then_done_then_connected() {
    let mut wire = Wire::new("personality=linux");
    let (fd, to) = (wire.socket(), Some(Wire::to()));
    assert_eq!(wire.recv(fd, 0), Err(Errno::ENOTCONN));
    assert_eq!(wire.send(fd, b"x"), Err(Errno::EPIPE));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::EINPROGRESS)));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::EALREADY)));
    assert_eq!(wire.send(fd, b"x"), Err(Errno::EAGAIN));
    assert_eq!(wire.poll(fd), 0);
    assert_eq!(wire.hear(), Some((SYN, 0)));
    wire.say(SYN_ACK, b"");
    assert_eq!(wire.poll(fd), OUT);
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Ok(())));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::EISCONN)));
    assert_eq!(wire.machine.peer_name(fd), Ok(Wire::to()));
    assert_eq!(*wire.machine.local_name(fd).unwrap().ip(), LOCAL);
}

#[test]
fn a_refused_connect_says_so_once_and_can_be_tried_again() {
    let mut wire = Wire::new("");
    let (fd, to) = (wire.socket(), Some(Wire::to()));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::EINPROGRESS)));
    assert_eq!(wire.hear(), Some((SYN, 0)));
    wire.say(RST, b"");
    assert_eq!(wire.poll(fd) & n::POLLERR, n::POLLERR);
    assert_eq!(wire.get(fd, n::SOL_SOCKET, n::SO_ERROR), Ok(Errno::ECONNREFUSED.0));
    assert_eq!(wire.get(fd, n::SOL_SOCKET, n::SO_ERROR), Ok(0));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::ECONNABORTED)));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::EINPROGRESS)));
}

#[test]
fn a_blocking_connect_is_pending_until_the_answer() {
    let mut wire = Wire::new("");
    let fd = wire.machine.socket(n::AF_INET, n::SOCK_STREAM, 0).unwrap();
    let to = Some(Wire::to());
    assert_eq!(wire.machine.connect(fd, to), Call::Pending);
    assert_eq!(wire.machine.connect(fd, to), Call::Pending);
    assert_eq!(wire.hear(), Some((SYN, 0)));
    wire.say(SYN_ACK, b"");
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Ok(())));
    assert_eq!(wire.machine.recv(fd, &mut [0; 9], 0), Call::Pending);
    wire.say(ACK, b"abc");
    assert_eq!(wire.machine.recv(fd, &mut [0; 9], 0), Call::Done(Ok(Received { len: 3, from: None })));
}

#[test]
fn what_was_peeked_at_is_still_there() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    assert_eq!(wire.recv(fd, n::MSG_PEEK), Err(Errno::EAGAIN));
    wire.say(ACK, b"abcdef");
    assert_eq!(wire.poll(fd), IN | OUT);
    assert_eq!(wire.machine.ioctl(fd, n::SIOCINQ as u64, 0), Ok(6));
    assert_eq!(wire.recv(fd, n::MSG_PEEK), Ok(b"abcdef".to_vec()));
    assert_eq!(wire.recv(fd, 0), Ok(b"abcdef".to_vec()));
    wire.say(FIN, b"");
    assert_eq!(wire.poll(fd), IN | OUT | n::POLLRDHUP);
    assert_eq!(wire.recv(fd, 0), Ok(vec![]));
}

#[test]
fn a_reset_is_told_once_then_the_stream_has_ended() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    wire.say(RST, b"");
    assert_eq!(wire.poll(fd) & (n::POLLERR | n::POLLHUP), n::POLLERR | n::POLLHUP);
    assert_eq!(wire.recv(fd, 0), Err(Errno::ECONNRESET));
    assert_eq!(wire.recv(fd, 0), Ok(vec![]));
    assert_eq!(wire.send(fd, b"x"), Err(Errno::EPIPE));
    assert_eq!(wire.machine.close(fd), Call::Done(Ok(())));
    assert_eq!(wire.machine.close(fd), Call::Done(Err(Errno::EBADF)));
}

#[test]
fn shutdown_ends_one_way_or_both() {
    let mut wire = Wire::new("");
    let (listener, fd) = wire.accepted();
    assert_eq!(wire.machine.shutdown(fd, 9), Err(Errno::EINVAL));
    assert_eq!(wire.machine.shutdown(fd, n::SHUT_RD), Ok(()));
    assert_eq!(wire.recv(fd, 0), Ok(vec![]));
    assert_eq!(wire.machine.shutdown(fd, n::SHUT_WR), Ok(()));
    assert_eq!(wire.hear(), Some((FIN, 0)));
    assert_eq!(wire.send(fd, b"x"), Err(Errno::EPIPE));
    assert_eq!(wire.machine.shutdown(listener, n::SHUT_RDWR), Ok(()));
    assert_eq!(wire.machine.accept(listener, 0), Call::Done(Err(Errno::EINVAL)));
    assert_eq!(wire.machine.shutdown(listener, n::SHUT_RDWR), Err(Errno::ENOTCONN));
}

/// Linux gives out what came after `shutdown(SHUT_RD)`, BSD throws it away.
#[test]
fn what_comes_after_the_end_of_reading_is_each_systems_affair() {
    for (flags, kept) in [("personality=linux", &b"late"[..]), ("personality=freebsd", b"")] {
        let mut wire = Wire::new(flags);
        let (_, fd) = wire.accepted();
        assert_eq!(wire.machine.shutdown(fd, n::SHUT_RD), Ok(()));
        wire.say(ACK, b"late");
        assert_eq!(wire.recv(fd, 0), Ok(kept.to_vec()));
        assert_eq!(wire.machine.close(fd), Call::Done(Ok(())));
        let mut flags = Vec::new();
        while let Some((said, _)) = wire.hear() {
            flags.push(said);
        }
        assert_eq!(flags.last(), Some(&FIN), "no reset: nothing was left unread");
    }
}

#[test]
fn lingering_for_no_time_resets() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    wire.linger(fd, 0);
    assert_eq!(wire.machine.close(fd), Call::Done(Ok(())));
    assert!(wire.hear().is_some_and(|(flags, _)| flags.has(TcpFlags::RST)));
}

#[test]
fn lingering_waits_for_the_last_acknowledgement_or_its_time() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    wire.linger(fd, 2);
    assert_eq!(wire.machine.close(fd), Call::Pending);
    assert_eq!(wire.hear(), Some((FIN, 0)));
    wire.pass(1_000);
    assert_eq!(wire.machine.close(fd), Call::Pending);
    wire.pass(1_000);
    assert_eq!(wire.machine.close(fd), Call::Done(Ok(())));
}

#[test]
fn a_long_blocking_write_goes_on_where_it_stopped() {
    let mut wire = Wire::new("tcp_wmem=4096 4096 4096");
    let (_, fd) = wire.accepted();
    wire.machine.fcntl(fd, n::F_SETFL, 0).unwrap();
    let bytes = vec![7; 200_000];
    let (mut rounds, mut carried) = (0, 0);
    while wire.machine.send(fd, &bytes, 0, None) == Call::Pending {
        rounds += 1;
        assert!(rounds < 1_000);
        wire.pass(10);
        while let Some((_, len)) = wire.hear() {
            carried += len;
        }
        wire.say(ACK, b"");
    }
    while let Some((_, len)) = wire.hear() {
        carried += len;
        wire.say(ACK, b"");
    }
    assert_eq!((rounds > 1, carried), (true, 200_000));
}

#[test]
fn options_are_kept_checked_and_doubled() {
    let mut wire = Wire::new("");
    let (listener, fd) = wire.accepted();
    assert_eq!(wire.set(fd, n::SOL_SOCKET, n::SO_RCVBUF, 10_000), Ok(()));
    assert_eq!(wire.get(fd, n::SOL_SOCKET, n::SO_RCVBUF), Ok(20_000));
    assert_eq!(wire.set(fd, n::IPPROTO_TCP, n::TCP_KEEPCNT, 0), Err(Errno::EINVAL));
    assert_eq!(wire.set(fd, n::IPPROTO_TCP, n::TCP_KEEPIDLE, 30), Ok(()));
    assert_eq!(wire.get(fd, n::IPPROTO_TCP, n::TCP_KEEPIDLE), Ok(30));
    assert_eq!(wire.get(fd, n::IPPROTO_TCP, n::TCP_KEEPINTVL), Ok(75));
    assert_eq!(wire.get(fd, n::IPPROTO_TCP, 999), Err(Errno::ENOPROTOOPT));
    assert_eq!(wire.get(listener, n::SOL_SOCKET, n::SO_ACCEPTCONN), Ok(1));
    assert_eq!(wire.get(listener, n::SOL_SOCKET, n::SO_TYPE), Ok(n::SOCK_STREAM));
    let name = wire.machine.getsockopt(fd, n::IPPROTO_TCP, n::TCP_CONGESTION, 16).unwrap();
    assert!(name.starts_with(b"cubic\0"));
    assert_eq!(wire.machine.setsockopt(fd, n::IPPROTO_TCP, n::TCP_CONGESTION, b"reno"), Ok(()));
    let unknown = wire.machine.setsockopt(fd, n::IPPROTO_TCP, n::TCP_CONGESTION, b"tulip");
    assert_eq!(unknown, Err(Errno::ENOENT));
}

#[test]
fn tcp_info_is_where_linux_has_it() {
    let mut wire = Wire::new("");
    let (listener, fd) = wire.accepted();
    assert_eq!(wire.send(fd, &[0; 100]), Ok(100));
    let info = wire.machine.getsockopt(fd, n::IPPROTO_TCP, n::TCP_INFO, 1_000).unwrap();
    let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    assert_eq!((info[0], info[1]), (1, 0), "established and open");
    assert_eq!((word(16), word(24), word(80)), (536, 1, 10), "snd_mss, unacked, snd_cwnd");
    let info = wire.machine.getsockopt(listener, n::IPPROTO_TCP, n::TCP_INFO, 1).unwrap();
    assert_eq!(info, [10], "listening, and no more than was asked for");
}

#[test]
fn edges_are_told_once_and_levels_always() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    let (level, edge) = (wire.machine.epoll_create(1).unwrap(), wire.machine.epoll_create(1).unwrap());
    let event = |events: i32, data| EpollEvent { events: events as u32, data };
    wire.machine.epoll_ctl(level, n::EPOLL_CTL_ADD, fd, event(n::EPOLLIN, 7)).unwrap();
    wire.machine.epoll_ctl(edge, n::EPOLL_CTL_ADD, fd, event(n::EPOLLIN | n::EPOLLET, 8)).unwrap();
    let again = wire.machine.epoll_ctl(edge, n::EPOLL_CTL_ADD, fd, event(n::EPOLLIN, 8));
    assert_eq!(again, Err(Errno::EEXIST));
    assert_eq!(wire.machine.epoll_wait(level, 8, -1), Call::Pending);
    wire.say(ACK, b"a");
    for _ in 0..2 {
        assert_eq!(wire.machine.epoll_wait(level, 8, 0), Call::Done(Ok(vec![event(n::EPOLLIN, 7)])));
    }
    assert_eq!(wire.machine.epoll_wait(edge, 8, 0), Call::Done(Ok(vec![event(n::EPOLLIN, 8)])));
    assert_eq!(wire.machine.epoll_wait(edge, 8, 0), Call::Done(Ok(vec![])));
    wire.say(ACK, b"b");
    assert_eq!(wire.machine.epoll_wait(edge, 8, 0), Call::Done(Ok(vec![event(n::EPOLLIN, 8)])));
}

#[test]
fn a_pipe_carries_what_is_spliced_from_and_to_a_socket() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    let (reader, writer) = wire.machine.pipe().unwrap();
    let nothing = wire.machine.splice(fd, writer, 100, n::SPLICE_F_NONBLOCK);
    assert_eq!(nothing, Call::Done(Err(Errno::EAGAIN)));
    wire.say(ACK, b"hello");
    assert_eq!(wire.machine.splice(fd, writer, 100, 0), Call::Done(Ok(5)));
    assert_eq!(wire.machine.splice(reader, fd, 3, 0), Call::Done(Ok(3)));
    let mut sent = 0;
    while let Some((_, len)) = wire.hear() {
        sent += len;
    }
    assert_eq!(sent, 3);
    assert_eq!(wire.recv(reader, 0), Ok(b"lo".to_vec()));
    assert_eq!(wire.machine.recv(reader, &mut [0; 9], 0), Call::Pending);
    assert_eq!(wire.machine.close(writer), Call::Done(Ok(())));
    assert_eq!(wire.recv(reader, 0), Ok(vec![]));
}

#[test]
fn names_are_checked() {
    let mut wire = Wire::new("");
    let (a, b) = (wire.socket(), wire.socket());
    let name = SocketAddrV4::new(LOCAL, 80);
    assert_eq!(wire.machine.bind(a, SocketAddrV4::new(REMOTE, 80)), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(wire.machine.bind(a, name), Ok(()));
    assert_eq!(wire.machine.bind(a, name), Err(Errno::EINVAL));
    assert_eq!(wire.machine.bind(b, name), Err(Errno::EADDRINUSE));
    for fd in [a, b] {
        wire.set(fd, n::SOL_SOCKET, n::SO_REUSEADDR, 1).unwrap();
    }
    assert_eq!(wire.machine.bind(b, name), Ok(()));
    assert_eq!(wire.machine.listen(a, 1), Ok(()));
    assert_eq!(wire.machine.listen(b, 1), Err(Errno::EADDRINUSE));
    assert_eq!(wire.machine.socket(n::AF_INET6, n::SOCK_STREAM, 0), Err(Errno::EAFNOSUPPORT));
    assert_eq!(wire.machine.socket(n::AF_INET, n::SOCK_STREAM, 99), Err(Errno::EPROTONOSUPPORT));
}

#[test]
fn datagrams_come_with_their_sender() {
    let mut wire = Wire::new("");
    let fd = wire.machine.socket(n::AF_INET, n::SOCK_DGRAM, 0).unwrap();
    assert_eq!(wire.send(fd, b"x"), Err(Errno::EDESTADDRREQ));
    assert_eq!(wire.machine.connect(fd, Some(SocketAddrV4::new(REMOTE, 53))), Call::Done(Ok(())));
    assert_eq!(wire.send(fd, b"question"), Ok(8));
    let packet = wire.machine.take_packet().unwrap();
    assert_eq!(packet.bytes.len(), 36);
    // The answer is the question with its ends swapped.
    let mut answer = packet.bytes.clone();
    let port = [answer[20], answer[21]];
    answer[12..16].copy_from_slice(&REMOTE.octets());
    answer[16..20].copy_from_slice(&LOCAL.octets());
    answer[20..24].copy_from_slice(&[0, 53, port[0], port[1]]);
    wire.machine.inject(&answer);
    let mut buf = [0; 4];
    let got = wire.machine.recv(fd, &mut buf, n::MSG_TRUNC);
    let from = Some(SocketAddrV4::new(REMOTE, 53));
    assert_eq!(got, Call::Done(Ok(Received { len: 8, from })));
    assert_eq!(&buf, b"ques");
}

#[test]
fn timers_fire_at_their_own_time_and_the_clock_stops_with_the_last() {
    let mut wire = Wire::new("tcp_syn_retries=2");
    let (fd, to) = (wire.socket(), Some(Wire::to()));
    assert_eq!(wire.machine.connect(fd, to), Call::Done(Err(Errno::EINPROGRESS)));
    let mut times = Vec::new();
    while wire.machine.run_to_packet(Time(600_000_000_000)) {
        times.push(wire.machine.take_packet().unwrap().at.as_millis());
    }
    assert_eq!(times, [0, 1_000, 3_000]);
    assert!(wire.machine.now() < Time(600_000_000_000));
    assert_eq!(wire.get(fd, n::SOL_SOCKET, n::SO_ERROR), Ok(Errno::ETIMEDOUT.0));
}

#[test]
fn sysctls_take_effect_while_it_runs() {
    let mut wire = Wire::new("");
    assert_eq!(wire.machine.set("net.ipv4.tcp_syn_retries", "1"), Ok(Applied::Yes));
    assert_eq!(wire.machine.set("net.core.default_qdisc", "fq"), Ok(Applied::Ignored));
    assert_eq!(wire.machine.set("vm.swappiness", "1"), Ok(Applied::Unknown));
    let fd = wire.socket();
    assert_eq!(wire.get(fd, n::IPPROTO_TCP, n::TCP_SYNCNT), Ok(1));
}

/// Whatever is put on the wire: no panic, and the machine lives.
#[test]
fn nonsense_on_the_wire_is_survived() {
    let mut wire = Wire::new("");
    let (_, fd) = wire.accepted();
    let mut rng = Rng::stream(1, "nonsense", "wire");
    for round in 0..2_000 {
        let len = (rng.next_u32() % 90) as usize;
        let mut packet: Vec<u8> = (0..len).map(|_| rng.next_u32() as u8).collect();
        if round % 2 == 0 && len >= 20 {
            packet[0] = 0x45;
        }
        wire.machine.inject(&packet);
    }
    while wire.machine.take_packet().is_some() {}
    wire.say(ACK, b"still here");
    assert_eq!(wire.recv(fd, 0), Ok(b"still here".to_vec()));
}
