//! Drives the table exactly as packetdrill does in its `--so_filename` mode: spins on the clock, sleeps, puts packets on the
//! wire, waits for packets without saying until when, and runs blocking calls on a second thread.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::ffi::{CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::sync::mpsc;

use roundtrip_packetdrill::{Interface, PollFd, SockAddrIn, TimeVal, packetdrill_interface_init};
use rt_wire::{Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions, checksum};

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 44, 5);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TCP: u8 = 6;
const SERVER_PORT: u16 = 8080;
const CLIENT_PORT: u16 = 40_001;
/// The tool sleeps until so many microseconds before an event, then spins.
const SPIN: i64 = 20;

/// What the tool keeps of the library.
#[derive(Clone, Copy)]
struct Tool {
    ifc: Interface,
    start: i64,
}

// SAFETY: the table's functions may be called from two threads, as packetdrill does.
unsafe impl Send for Tool {}

/// A segment with what the tests look at.
#[derive(Clone, Debug)]
struct Seen {
    at: i64,
    header: TcpHeader,
    len: usize,
}

impl Tool {
    fn new(flags: &str) -> Tool {
        let flags = CString::new(flags).unwrap();
        let mut table = MaybeUninit::<Interface>::uninit();
        // SAFETY: a C string, and room for the table, which is filled when the call returns.
        let ifc = unsafe {
            packetdrill_interface_init(flags.as_ptr(), table.as_mut_ptr());
            table.assume_init()
        };
        let mut tool = Tool { ifc, start: 0 };
        tool.start = tool.clock();
        tool
    }

    fn clock(&self) -> i64 {
        let mut time = TimeVal::default();
        // SAFETY: a place for the time.
        let done = unsafe { (self.ifc.gettimeofday)(self.ifc.userdata, &raw mut time, std::ptr::null_mut()) };
        assert_eq!(done, 0);
        time.sec * 1_000_000 + time.usec
    }

    /// Microseconds since the start.
    fn now(&self) -> i64 {
        self.clock() - self.start
    }

    /// As `wait_for_event` of the tool.
    fn wait_until(&self, at: i64) {
        loop {
            let left = at - self.now();
            if left <= 0 {
                return;
            }
            if left > SPIN {
                // SAFETY: no pointers.
                unsafe { (self.ifc.usleep)(self.ifc.userdata, (left - SPIN) as u32) };
            }
        }
    }

    fn socket(&self) -> c_int {
        // SAFETY: no pointers.
        unsafe { (self.ifc.socket)(self.ifc.userdata, 2, 1, 6) }
    }

    fn bind_and_listen(&self, fd: c_int) {
        let address =
            SockAddrIn { family: 2, port: SERVER_PORT.to_be_bytes(), addr: LOCAL.octets(), zero: [0; 8] };
        // SAFETY: an address with its length.
        unsafe {
            assert_eq!((self.ifc.bind)(self.ifc.userdata, fd, (&raw const address).cast(), 16), 0);
            assert_eq!((self.ifc.listen)(self.ifc.userdata, fd, 1), 0);
        }
    }

    fn accept(&self, fd: c_int) -> c_int {
        let (mut address, mut len) = ([0u8; 16], 16u32);
        // SAFETY: room for an address, and its length.
        let made =
            unsafe { (self.ifc.accept)(self.ifc.userdata, fd, address.as_mut_ptr().cast(), &raw mut len) };
        if made >= 0 {
            assert_eq!((len, &address[4..8]), (16, &REMOTE.octets()[..]));
        }
        made
    }

    fn read(&self, fd: c_int, len: usize) -> isize {
        let mut buf = vec![0u8; len];
        // SAFETY: room for `len` bytes.
        unsafe { (self.ifc.read)(self.ifc.userdata, fd, buf.as_mut_ptr().cast::<c_void>(), len) }
    }

    fn write(&self, fd: c_int, len: usize) -> isize {
        let buf = vec![0u8; len];
        // SAFETY: `len` bytes.
        unsafe { (self.ifc.write)(self.ifc.userdata, fd, buf.as_ptr().cast::<c_void>(), len) }
    }

    /// The client says something.
    fn inject(&self, flags: TcpFlags, seq: u32, ack: u32, len: usize) {
        let mut options = TcpOptions::default();
        options.mss = flags.has(TcpFlags::SYN).then_some(1_000);
        let header = TcpHeader {
            src: CLIENT_PORT,
            dst: SERVER_PORT,
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            window: 32_792,
            urgent: 0,
            options,
        };
        let mut segment = Vec::new();
        header.emit(&mut segment);
        segment.resize(segment.len() + len, 0);
        checksum::fill_transport(REMOTE.into(), LOCAL.into(), TCP, &mut segment);
        let mut packet = Vec::new();
        Ipv4Header::new(REMOTE, LOCAL, TCP, 255, segment.len()).emit(&mut packet);
        packet.extend_from_slice(&segment);
        // SAFETY: a packet with its length.
        let sent = unsafe { (self.ifc.netdev_send)(self.ifc.userdata, packet.as_ptr().cast(), packet.len()) };
        assert_eq!(sent, 0);
    }

    /// The next segment that the machine sends; `None` when there will be none.
    fn receive(&self) -> Option<Seen> {
        let (mut buf, mut time) = ([0u8; 2_000], 0i64);
        let mut len = buf.len();
        // SAFETY: room for `len` bytes, and places for the length and the time.
        let got = unsafe {
            (self.ifc.netdev_receive)(
                self.ifc.userdata,
                buf.as_mut_ptr().cast::<c_void>(),
                &raw mut len,
                &raw mut time,
            )
        };
        assert_eq!(got, 0);
        if len == 0 {
            return None;
        }
        let (ip, rest) = Ipv4Header::parse(&buf[..len]).unwrap();
        assert_eq!((ip.src, ip.dst), (LOCAL, REMOTE));
        let (header, payload) = TcpHeader::parse(&rest[..ip.payload_len()]).unwrap();
        Some(Seen { at: time - self.start, len: payload.len(), header })
    }

    /// A connection on which the client has sent its SYN at 100 ms and its ACK at 200 ms; the server's first sequence
    /// number, and the descriptor of the listener.
    fn handshake(&self) -> (u32, c_int) {
        let listener = self.socket();
        assert!(listener > 2);
        self.bind_and_listen(listener);
        self.wait_until(100_000);
        self.inject(TcpFlags::SYN, 0, 0, 0);
        let answer = self.receive().unwrap();
        assert_eq!(answer.header.flags, TcpFlags::SYN | TcpFlags::ACK);
        assert!((100_000..100_010).contains(&answer.at), "{}", answer.at);
        self.wait_until(200_000);
        self.inject(TcpFlags::ACK, 1, answer.header.seq.0.wrapping_add(1), 0);
        (answer.header.seq.0.wrapping_add(1), listener)
    }

    fn errno() -> i32 {
        std::io::Error::last_os_error().raw_os_error().unwrap()
    }

    fn free(self) {
        // SAFETY: the last call.
        unsafe { (self.ifc.free)(self.ifc.userdata) };
    }
}

#[test]
fn a_connection_is_accepted_written_to_and_its_data_sent_again_on_time() {
    let tool = Tool::new("personality=linux");
    let (una, listener) = tool.handshake();
    let fd = tool.accept(listener);
    assert!(fd > 2);
    assert!(std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists(), "the descriptor is real");
    assert_eq!(tool.write(fd, 1_000), 1_000);
    let first = tool.receive().unwrap();
    assert_eq!((first.header.seq.0, first.len), (una, 1_000));
    // Nobody answers: waiting for the next packet moves the clock to the timer.
    let before = tool.now();
    let mut last = first.at;
    let mut again = tool.receive().unwrap();
    assert!(tool.now() > before + 100_000);
    let mut gap = again.at - last;
    assert_eq!((again.header.seq.0, again.len), (una, 1_000));
    for _ in 0..3 {
        last = again.at;
        again = tool.receive().unwrap();
        assert!(again.at - last >= gap, "retransmissions back off");
        gap = again.at - last;
    }
    // SAFETY: no pointers.
    assert_eq!(unsafe { (tool.ifc.close)(tool.ifc.userdata, fd) }, 0);
    tool.free();
}

#[test]
fn the_clock_creeps_while_the_tool_spins() {
    let tool = Tool::new("");
    let before = tool.now();
    tool.wait_until(before + 15);
    let after = tool.now();
    assert!((before + 15..before + 25).contains(&after), "{before} {after}");
    tool.wait_until(3_600_000_000);
    assert!((3_600_000_000..3_600_000_100).contains(&tool.now()));
    tool.free();
}

#[test]
fn calls_that_would_block_block_on_the_second_thread_and_end_on_time() {
    let tool = Tool::new("personality=linux");
    let listener = tool.socket();
    tool.bind_and_listen(listener);
    let (says, told) = mpsc::channel();
    let second = std::thread::spawn(move || {
        let tool = tool;
        says.send(()).unwrap();
        let fd = tool.accept(listener);
        let accepted = tool.now();
        says.send(()).unwrap();
        let read = tool.read(fd, 500);
        (fd, accepted, read, tool.now())
    });
    told.recv().unwrap();
    // Long enough by the wall clock to be inside of the call, as the tool makes sure of.
    std::thread::sleep(std::time::Duration::from_millis(50));
    tool.wait_until(100_000);
    tool.inject(TcpFlags::SYN, 0, 0, 0);
    let answer = tool.receive().unwrap();
    tool.wait_until(300_000);
    tool.inject(TcpFlags::ACK, 1, answer.header.seq.0.wrapping_add(1), 0);
    told.recv().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    tool.wait_until(500_000);
    tool.inject(TcpFlags::ACK | TcpFlags::PSH, 1, answer.header.seq.0.wrapping_add(1), 200);
    tool.wait_until(900_000);
    let (fd, accepted, read, ended) = second.join().unwrap();
    assert!(fd > 2);
    assert!((300_000..300_010).contains(&accepted), "accept returned at {accepted}");
    assert_eq!(read, 200);
    assert!((500_000..500_010).contains(&ended), "read returned at {ended}");
    tool.free();
}

#[test]
fn a_packet_that_will_never_come_is_an_empty_one() {
    let tool = Tool::new("");
    let listener = tool.socket();
    tool.bind_and_listen(listener);
    assert!(tool.receive().is_none());
    tool.free();
}

#[test]
fn errors_come_as_minus_one_and_errno() {
    let tool = Tool::new("personality=freebsd,net.inet.tcp.sack.enable=0,no.such.name=1");
    let fd = tool.socket();
    assert_eq!((tool.read(fd, 10), Tool::errno()), (-1, 107));
    assert_eq!((tool.read(9_999, 10), Tool::errno()), (-1, 9));
    // SAFETY: no pointers.
    let listening = unsafe { (tool.ifc.listen)(tool.ifc.userdata, 9_999, 1) };
    assert_eq!((listening, Tool::errno()), (-1, 9));
    let mut fds = [PollFd { fd, events: 4, revents: 0 }, PollFd { fd: -1, events: 1, revents: 7 }];
    // SAFETY: two entries.
    let telling = unsafe { (tool.ifc.poll)(tool.ifc.userdata, fds.as_mut_ptr(), 2, 0) };
    assert_eq!((telling, fds[0].revents, fds[1].revents), (1, 0x14, 0));
    // SAFETY: null pointers are errors, not crashes.
    let bound = unsafe { (tool.ifc.bind)(tool.ifc.userdata, fd, std::ptr::null(), 16) };
    assert_eq!((bound, Tool::errno()), (-1, 14));
    tool.free();
}

#[test]
fn tcp_info_has_the_hosts_layout() {
    let tool = Tool::new("personality=linux");
    let (_, listener) = tool.handshake();
    let fd = tool.accept(listener);
    let (mut info, mut len) = ([0xffu8; 256], 256u32);
    // SAFETY: room for 256 bytes.
    let got = unsafe {
        (tool.ifc.getsockopt)(tool.ifc.userdata, fd, 6, 11, info.as_mut_ptr().cast::<c_void>(), &raw mut len)
    };
    assert_eq!(got, 0);
    let field = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    assert_eq!(info[0], 1, "tcpi_state is TCP_ESTABLISHED");
    assert_eq!(field(16), 1_000, "tcpi_snd_mss");
    assert_eq!(field(80), 10, "tcpi_snd_cwnd");
    assert!((99_000..101_000).contains(&field(68)), "tcpi_rtt is {}", field(68));
    tool.free();
}
