//! The numbers behind the names that C programs and scripts use (Linux, all architectures but the oldest ones).

macro_rules! numbers {
    ($($name:ident = $number:expr;)*) => {
        $(#[doc = concat!("`", stringify!($name), "` of Linux.")] pub const $name: i32 = $number;)*

        /// The number behind a name such as `SO_REUSEADDR`.
        #[must_use]
        pub fn by_name(name: &str) -> Option<i32> {
            match name {
                $(stringify!($name) => Some($name),)*
                _ => None,
            }
        }
    };
}

numbers! {
    AF_UNSPEC = 0;
    AF_INET = 2;
    AF_INET6 = 10;
    PF_INET = 2;
    PF_INET6 = 10;
    SOCK_STREAM = 1;
    SOCK_DGRAM = 2;
    SOCK_RAW = 3;
    SOCK_NONBLOCK = 0o4000;
    SOCK_CLOEXEC = 0o2_000_000;
    IPPROTO_IP = 0;
    IPPROTO_ICMP = 1;
    IPPROTO_TCP = 6;
    IPPROTO_UDP = 17;
    IPPROTO_IPV6 = 41;

    SOL_IP = 0;
    SOL_SOCKET = 1;
    SOL_TCP = 6;
    SOL_UDP = 17;
    SOL_IPV6 = 41;

    SO_DEBUG = 1;
    SO_REUSEADDR = 2;
    SO_TYPE = 3;
    SO_ERROR = 4;
    SO_DONTROUTE = 5;
    SO_BROADCAST = 6;
    SO_SNDBUF = 7;
    SO_RCVBUF = 8;
    SO_KEEPALIVE = 9;
    SO_OOBINLINE = 10;
    SO_PRIORITY = 12;
    SO_LINGER = 13;
    SO_REUSEPORT = 15;
    SO_RCVLOWAT = 18;
    SO_SNDLOWAT = 19;
    SO_RCVTIMEO = 20;
    SO_SNDTIMEO = 21;
    SO_TIMESTAMP = 29;
    SO_ACCEPTCONN = 30;
    SO_SNDBUFFORCE = 32;
    SO_RCVBUFFORCE = 33;
    SO_TIMESTAMPNS = 35;
    SO_MARK = 36;
    SO_TIMESTAMPING = 37;
    SO_PROTOCOL = 38;
    SO_DOMAIN = 39;
    SO_BUSY_POLL = 46;
    SO_MAX_PACING_RATE = 47;
    SO_INCOMING_CPU = 49;
    SO_ZEROCOPY = 60;
    SO_TXREHASH = 74;

    IP_TOS = 1;
    IP_TTL = 2;
    IP_MTU_DISCOVER = 10;
    IP_RECVERR = 11;
    IP_RECVTTL = 12;
    IP_RECVTOS = 13;
    IP_MTU = 14;
    IP_FREEBIND = 15;
    IP_TRANSPARENT = 19;
    IP_MINTTL = 21;
    IP_BIND_ADDRESS_NO_PORT = 24;
    IP_PMTUDISC_DONT = 0;
    IP_PMTUDISC_WANT = 1;
    IP_PMTUDISC_DO = 2;
    IP_PMTUDISC_PROBE = 3;
    IP_PMTUDISC_INTERFACE = 4;
    IP_PMTUDISC_OMIT = 5;

    TCP_NODELAY = 1;
    TCP_MAXSEG = 2;
    TCP_CORK = 3;
    TCP_KEEPIDLE = 4;
    TCP_KEEPINTVL = 5;
    TCP_KEEPCNT = 6;
    TCP_SYNCNT = 7;
    TCP_LINGER2 = 8;
    TCP_DEFER_ACCEPT = 9;
    TCP_WINDOW_CLAMP = 10;
    TCP_INFO = 11;
    TCP_QUICKACK = 12;
    TCP_CONGESTION = 13;
    TCP_MD5SIG = 14;
    TCP_THIN_LINEAR_TIMEOUTS = 16;
    TCP_THIN_DUPACK = 17;
    TCP_USER_TIMEOUT = 18;
    TCP_REPAIR = 19;
    TCP_REPAIR_QUEUE = 20;
    TCP_QUEUE_SEQ = 21;
    TCP_REPAIR_OPTIONS = 22;
    TCP_FASTOPEN = 23;
    TCP_TIMESTAMP = 24;
    TCP_NOTSENT_LOWAT = 25;
    TCP_CC_INFO = 26;
    TCP_SAVE_SYN = 27;
    TCP_SAVED_SYN = 28;
    TCP_REPAIR_WINDOW = 29;
    TCP_FASTOPEN_CONNECT = 30;
    TCP_ULP = 31;
    TCP_MD5SIG_EXT = 32;
    TCP_FASTOPEN_KEY = 33;
    TCP_FASTOPEN_NO_COOKIE = 34;
    TCP_ZEROCOPY_RECEIVE = 35;
    TCP_INQ = 36;
    TCP_CM_INQ = 36;
    TCP_TX_DELAY = 37;
    // FreeBSD's; the numbers are ours, because Linux has others for them.
    TCP_NOOPT = 0x1008;
    TCP_KEEPINIT = 0x1080;
    TCP_RTO_MAX_MS = 44;

    MSG_OOB = 0x1;
    MSG_PEEK = 0x2;
    MSG_DONTROUTE = 0x4;
    MSG_CTRUNC = 0x8;
    MSG_TRUNC = 0x20;
    MSG_DONTWAIT = 0x40;
    MSG_EOR = 0x80;
    MSG_WAITALL = 0x100;
    MSG_CONFIRM = 0x800;
    MSG_ERRQUEUE = 0x2000;
    MSG_NOSIGNAL = 0x4000;
    MSG_MORE = 0x8000;
    MSG_ZEROCOPY = 0x400_0000;
    MSG_FASTOPEN = 0x2000_0000;

    SHUT_RD = 0;
    SHUT_WR = 1;
    SHUT_RDWR = 2;

    F_GETFL = 3;
    F_SETFL = 4;
    O_RDONLY = 0;
    O_WRONLY = 1;
    O_RDWR = 2;
    O_NONBLOCK = 0o4000;

    FIONREAD = 0x541B;
    SIOCINQ = 0x541B;
    SIOCOUTQ = 0x5411;
    FIONBIO = 0x5421;
    SIOCOUTQNSD = 0x894B;

    POLLIN = 0x1;
    POLLPRI = 0x2;
    POLLOUT = 0x4;
    POLLERR = 0x8;
    POLLHUP = 0x10;
    POLLNVAL = 0x20;
    POLLRDNORM = 0x40;
    POLLWRNORM = 0x100;
    POLLRDHUP = 0x2000;

    EPOLL_CTL_ADD = 1;
    EPOLL_CTL_DEL = 2;
    EPOLL_CTL_MOD = 3;
    EPOLLIN = 0x1;
    EPOLLPRI = 0x2;
    EPOLLOUT = 0x4;
    EPOLLERR = 0x8;
    EPOLLHUP = 0x10;
    EPOLLRDNORM = 0x40;
    EPOLLWRNORM = 0x100;
    EPOLLRDHUP = 0x2000;
    EPOLLONESHOT = 1 << 30;
    EPOLLET = i32::MIN;

    SPLICE_F_MOVE = 1;
    SPLICE_F_NONBLOCK = 2;
    SPLICE_F_MORE = 4;
}
