//! What can be typed. The help texts teach: each command says what it answers and shows one use.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// A whole internet in one process: describe a network in one file, run real protocols over it byte for byte, and
/// follow any request there and back.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Begin with:
  roundtrip run web-browsing          type google.com into a browser and read what happens
  roundtrip follow web-browsing       the same story, from the last run
  roundtrip new home my-network.yaml  a commented file of your own

Exit codes: 0 yes, 1 no (an expectation failed, the answer is no), 2 could not answer (a faulty file, bad usage).
stdout is data, stderr is talk; --format json gives every answer as JSON."
)]
pub(crate) struct Args {
    /// How answers are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A Mermaid diagram (only `show`).
    Mermaid,
    /// A Graphviz graph (only `show`).
    Dot,
    /// A page (only `can --matrix`).
    Html,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List the scenarios that are built in, with a line each.
    List,
    /// Write a commented scenario file of your own to start from.
    #[command(after_help = "Example: roundtrip new home my-network.yaml && roundtrip run my-network.yaml")]
    New {
        /// Which kind of network to start with: home or two-hosts.
        template: String,
        /// Where to write it; without it, the text goes to stdout. An existing file is left alone.
        file: Option<PathBuf>,
    },
    /// Check a scenario: every mistake in one run, each with its line and what to do.
    #[command(after_help = "Example: roundtrip check my-network.yaml\nExit codes: 0 in order, 2 mistakes.")]
    Check {
        /// A file, or the name of a built-in scenario.
        scenario: String,
    },
    /// Show the network that a scenario describes, or what a machine remembers at a moment of a run.
    #[command(after_help = SHOW_HELP)]
    Show {
        /// A file, or the name of a built-in scenario; with --at also a run's folder.
        scenario: String,
        /// Write sites out as plain nodes, links, routes and rules (a scenario file again).
        #[arg(long, conflicts_with = "at")]
        expanded: bool,
        /// Show the tables of this machine; may be given several times.
        #[arg(long, value_name = "MACHINE")]
        at: Vec<String>,
        /// Which tables; all when not given.
        #[arg(long, value_enum, value_delimiter = ',', requires = "at")]
        table: Vec<TableChoice>,
        /// When, in virtual time, such as 1.2s; the end of the run when not given.
        #[arg(long, requires = "at")]
        time: Option<String>,
    },
    /// Run a scenario, tell its story, check its expectations and write everything to a folder.
    #[command(
        after_help = "The folder gets captures/*.pcapng (they open decrypted in Wireshark), story.txt, story.json, \
story.html, page.har, trace.json (opens in Perfetto), events.bin, junit.xml and run.json.
Example: roundtrip run web-browsing --seed 7 --out /tmp/seven
Exit codes: 0 all expectations hold, 1 one does not, 2 the scenario is faulty."
    )]
    Run {
        /// A file, or the name of a built-in scenario.
        scenario: String,
        /// Chooses all random things; the same seed gives the same bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where to write; roundtrip-out/NAME otherwise.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Stop at this virtual time, such as 1.5s or 300ms; otherwise when all steps and their connections are done.
        #[arg(long)]
        until: Option<String>,
        /// Which packets get a comment in the captures that says what they are part of.
        #[arg(long, value_enum, default_value_t = CommentChoice::Key)]
        comments: CommentChoice,
        /// Do not print the story (it is in the folder).
        #[arg(long, short)]
        quiet: bool,
    },
    /// Run real programs on simulated machines: the real curl on the laptop, in the simulated internet, in real time.
    #[command(after_help = EXEC_HELP)]
    Exec {
        /// A file, or the name of a built-in scenario.
        #[arg(required_unless_present = "join")]
        scenario: Option<String>,
        /// The folder of a world that is up (roundtrip up): run the program there.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["scenario", "out", "device", "root", "seed", "allow_exec", "publish", "serve"])]
        join: Option<PathBuf>,
        /// The machine that the program plays; several: --as A -- COMMAND --as B -- COMMAND
        #[arg(long = "as", value_name = "MACHINE", required = true)]
        machine: String,
        #[command(flatten)]
        world: WorldArgs,
        /// What to keep: everything, only the frames that the programs sent (replay makes the rest), or nothing. Less is faster.
        #[arg(long, value_enum, default_value_t = RecordArg::All)]
        record: RecordArg,
        #[command(flatten)]
        bridges: BridgeArgs,
        /// Say how the program is attached, and where its story is.
        #[arg(long, short)]
        verbose: bool,
        /// Say nothing but what the program says, no warning either.
        #[arg(long, short, conflicts_with = "verbose")]
        quiet: bool,
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Keep a world running in real time, so that programs can be run in it from other terminals.
    #[command(after_help = UP_HELP)]
    Up {
        /// A file, or the name of a built-in scenario.
        scenario: String,
        #[command(flatten)]
        world: WorldArgs,
        #[command(flatten)]
        bridges: BridgeArgs,
    },
    /// Make a run with real programs again, without them: from the frames that they sent, byte for byte.
    #[command(after_help = REPLAY_HELP)]
    Replay {
        /// The run's folder.
        run: PathBuf,
        /// Where to write; RUN-replay otherwise.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Another world for the same frames: what if?
        #[arg(long)]
        scenario: Option<String>,
        /// Which packets get a comment in the captures that says what they are part of.
        #[arg(long, value_enum, default_value_t = CommentChoice::Key)]
        comments: CommentChoice,
        /// Do not print the story (it is in the folder).
        #[arg(long, short)]
        quiet: bool,
    },
    /// Follow one request, or one packet of it hop by hop and layer by layer.
    #[command(after_help = "Examples:
  roundtrip follow web-browsing                                  every request of the last run
  roundtrip follow web-browsing --request 1                      the first one
  roundtrip follow web-browsing --request 1 --packet 7           its 7th packet at every hop, before and after each rewrite
  roundtrip follow web-browsing --request 1 --at home.router     what that machine saw
  roundtrip follow lossy --connection 1                          a TCP connection: states, waits, retransmissions
A name reads its last run in roundtrip-out/, or makes one.")]
    Follow {
        /// A run's folder, or the name of a built-in scenario.
        run: String,
        /// Which request: its number, or its URL.
        #[arg(long)]
        request: Option<String>,
        /// Which packet of the request, from 1.
        #[arg(long)]
        packet: Option<usize>,
        /// Only what this machine saw.
        #[arg(long)]
        at: Option<String>,
        /// A TCP connection by itself: its number, MACHINE:PORT, or part of an end's name.
        #[arg(long, conflicts_with_all = ["request", "packet", "at"])]
        connection: Option<String>,
    },
    /// Draw a TCP connection of a run as SVG: time-sequence, congestion window, round-trip time, queues, states.
    #[command(after_help = "Examples:
  roundtrip plot lossy                                   the connections of the last run
  roundtrip plot lossy 1 --out lossy.svg                 every plot of the first one
  roundtrip plot lossy laptop:52432 --what cwnd          only the congestion window, to stdout
FLOW is a connection's number, MACHINE:PORT, or part of an end's name or address. --format json gives the points.")]
    Plot {
        /// A run's folder, or the name of a built-in scenario.
        run: String,
        /// Which connection; without it, they are listed.
        flow: Option<String>,
        /// What to draw.
        #[arg(long, value_enum, default_value_t = PlotChoice::All)]
        what: PlotChoice,
        /// Whose segments to draw; otherwise of the side that sent more.
        #[arg(long, value_enum)]
        from: Option<SideChoice>,
        /// The file to write; without it, the SVG goes to stdout.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Can FROM reach TO? Sends one real probe, then lifts each blocker in turn, so that every reason comes out.
    #[command(after_help = CAN_HELP)]
    Can {
        /// A file, or the name of a built-in scenario.
        scenario: String,
        /// Who asks: a machine, an address, a name, `internet`, or a group.
        from: Option<String>,
        /// Who is asked: the same, with :PORT (TCP), :PORT/udp or nothing (a ping) behind.
        to: Option<String>,
        /// All pairs as a table; FROM and TO narrow it.
        #[arg(long)]
        matrix: bool,
        /// The port: the same as :PORT behind TO. With --matrix the one that is asked everywhere; otherwise the services that each
        /// machine runs.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// By what is asked.
        #[arg(long, value_enum)]
        protocol: Option<ProtocolArg>,
        /// The moment of the run, such as 1.2s: what the timeline has cut, healed or impaired by then is so.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// What must come out (for CI): exit code 0 when it does, 1 when not. In a group every pair counts.
        #[arg(long, value_enum, conflicts_with = "matrix")]
        expect: Option<ExpectArg>,
        /// Chooses all random things.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Play packetdrill scripts: write down what you believe about TCP and have it checked.
    #[command(after_help = DRILL_HELP)]
    Drill {
        /// Scripts, or folders (every *.pkt below them).
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Whose habits the machine has: linux, linux-4, freebsd, freebsd-11, macos or constrained.
        #[arg(long)]
        personality: Option<String>,
        /// A setting of the machine, such as net.ipv4.tcp_sack=0; may be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        sysctl: Vec<String>,
        /// How far a time may be off, such as 1ms; exact to the microsecond without it.
        #[arg(long)]
        tolerance: Option<String>,
        /// Leave windows and options of outbound segments unchecked.
        #[arg(long)]
        relaxed: bool,
        /// Do not mind packets after the last line that no line mentions.
        #[arg(long)]
        lenient_end: bool,
        /// How long after the last line nothing may be sent; 5ms without it.
        #[arg(long, value_name = "TIME")]
        horizon: Option<String>,
        /// Check also which timestamps outbound segments echo.
        #[arg(long)]
        check_echo: bool,
        /// Replace a word in the scripts; may be given several times.
        #[arg(long, short = 'D', value_name = "NAME=VALUE")]
        define: Vec<String>,
        /// Print all that happened.
        #[arg(long)]
        trace: bool,
        /// Write the packets of one script to this file (pcapng, opens in Wireshark).
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
    },
    /// What a change of a network changes: in its stories, in who can reach whom, in its machines' tables.
    #[command(after_help = "Examples:
  roundtrip diff before.yaml after.yaml                  two files: both are run with the same seed
  roundtrip diff roundtrip-out/monday roundtrip-out/home two runs, each with its own seed
  git show main:net.yaml > old.yaml && roundtrip diff old.yaml net.yaml --format json
`-` is what was, `+` what is. Rules are compared by what they say, not by their line.
Exit codes: 0 the same, 1 something differs, 2 could not answer.")]
    Diff {
        /// A file, the name of a built-in scenario, or a run's folder.
        a: String,
        /// Another one.
        b: String,
        /// Chooses all random things, for what is no run yet.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The address calculator: what a prefix holds, what an address or a port means, what overlaps, how to cut a network up.
    #[command(after_help = IP_HELP)]
    Ip {
        /// Addresses, prefixes, ranges (10.0.0.5-10.0.0.20), ports (:443, 1024-65535) or prefix lengths (/28).
        #[arg(required = true)]
        what: Vec<String>,
        /// Cut the prefix into all subnets of this length.
        #[arg(long, value_name = "LENGTH", conflicts_with_all = ["into", "hosts", "within", "except", "summarise"])]
        split: Option<String>,
        /// Cut the prefix into so many equal subnets.
        #[arg(long, value_name = "N", conflicts_with_all = ["hosts", "within", "except", "summarise"])]
        into: Option<u32>,
        /// Cut from the prefix one subnet for each of these numbers of hosts.
        #[arg(long, value_name = "N,N..", value_delimiter = ',', conflicts_with_all = ["within", "except", "summarise"])]
        hosts: Vec<u64>,
        /// Is all of it inside this prefix?
        #[arg(long = "in", value_name = "PREFIX", conflicts_with_all = ["except", "summarise"])]
        within: Option<String>,
        /// What is left without this one; may be given several times.
        #[arg(long, value_name = "PREFIX", conflicts_with = "summarise")]
        except: Vec<String>,
        /// The fewest prefixes that cover the same addresses.
        #[arg(long)]
        summarise: bool,
    },
    /// Make a scenario of a network that another tool describes.
    Import {
        #[command(subcommand)]
        from: ImportFrom,
    },
    /// Print the JSON Schema of the scenario file (editors complete and check with it) or of story.json.
    Schema {
        /// scenario or story.
        #[arg(default_value = "scenario", value_parser = ["scenario", "story"])]
        which: String,
    },
}

/// What `show --help` teaches.
const SHOW_HELP: &str = "\
Examples:
  roundtrip show web-browsing                     who is connected to whom, with addresses
  roundtrip show web-browsing --expanded          every site written out as plain nodes, links, routes and rules
  roundtrip show web-browsing --format mermaid    a diagram for Markdown pages; dot for Graphviz
  roundtrip show web-browsing --at home.router --table nat                       its NAT table when the run is over
  roundtrip show web-browsing --at home.router --table nat,conntrack --time 1.2s at this moment of the run
  roundtrip show web-browsing --at laptop --table routes                         and neighbors, rules
With --at, a name reads its last run in roundtrip-out/, or makes one.";

/// Where a network comes from.
#[derive(Subcommand, Debug)]
pub(crate) enum ImportFrom {
    /// AWS networks from a plan or a state of Terraform or OpenTofu, before anything is built.
    #[command(after_help = IMPORT_TERRAFORM_HELP)]
    Terraform {
        /// What `terraform show -json` printed; `-` reads standard input.
        plan: PathBuf,
        /// Where to write the scenario; without it, it goes to stdout. An existing file is left alone.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// What `import terraform --help` teaches.
const IMPORT_TERRAFORM_HELP: &str = "\
VPCs with subnets, route tables, gateways, security groups and network ACLs in all the ways in which Terraform writes them,
instances, peerings, transit gateways and endpoints; modules, count and for_each. What is known only after apply is found through the
configuration. What cannot be carried over is listed on stderr and in the file, with the reason.

Examples:
  terraform plan -out tfplan && terraform show -json tfplan > plan.json
  roundtrip import terraform plan.json --out network.yaml
  roundtrip can network.yaml web database:5432               why not? names the resource
  terraform show -json tfplan | roundtrip import terraform - > network.yaml

Exit codes: 0 imported, 1 imported but the scenario has mistakes, 2 the file cannot be read.";

/// What `exec --help` teaches.
const EXEC_HELP: &str = "\
The program runs in namespaces of its own. Its only network is the machine's: its address, its resolver, its NAT; every
host name is one of the simulated internet, whose certificates it trusts. Nothing of this computer's network is visible,
and nothing of it is changed. The scenario's own steps for that machine are not carried out, those of others are.

Examples:
  roundtrip exec web-browsing --as laptop -- curl -v https://google.com/
  roundtrip exec web-browsing --as laptop -- bash          a shell there: ip addr, ping, dig, traceroute, tcpdump -i eth0
  roundtrip follow roundtrip-out/web-browsing              what the program did, request by request
  roundtrip replay roundtrip-out/web-browsing              the same run again, without the program
  roundtrip exec FILE --as phone -- curl http://tablet/ --as tablet -- python3 -m http.server 80

The exit code is the program's (of several, the first that is not 0); 2 when it could not be started, 127 when there is no
such command. Ctrl-C ends both. Attached runs go at the pace of the real clock, and their certificates are valid today.";

/// What `up --help` teaches.
const UP_HELP: &str = "\
Examples:
  roundtrip up playground                                                        in one terminal
  roundtrip exec --join roundtrip-out/playground --as laptop -- bash             in another one
  roundtrip exec --join roundtrip-out/playground --as phone -- curl http://192.168.1.10/
  roundtrip up web-browsing --publish 8443:google:443            your own browser or curl at 127.0.0.1:8443 opens a simulated server
  roundtrip up playground --serve 8080:tablet:80                 a server of yours at 127.0.0.1:8080 is the tablet's

The scenario's steps are carried out in real time. A machine does its own until the first program joins it; from then on it is
the programs'. Ctrl-C ends the world and every program in it, and its story is written: roundtrip follow, roundtrip replay.";

/// What `replay --help` teaches.
const REPLAY_HELP: &str = "\
A run with real programs keeps every frame that came from outside, with its time, in inputs.bin. Replayed, the run gives the
same captures and the same story to the byte, on any machine and without the programs or any rights.

Examples:
  roundtrip replay roundtrip-out/web-browsing
  roundtrip replay roundtrip-out/web-browsing --scenario slower.yaml    what if the network had been another?
What the programs sent stays as it was. In another world the answers may differ from those that they reacted to; then the
two no longer fit together, as a conversation of which one half was taped.

Exit codes: 0 the same bytes (or nothing to compare with), 1 something differs, 2 the recording cannot be read.";

/// What `drill --help` teaches.
const DRILL_HELP: &str = "\
A script is a list of events, each with a time in seconds:

  0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3        a system call and what it must return
  +0  bind(3, ..., ...) = 0                            `+`: so long after the event before
  +0  listen(3, 1) = 0
  +0  < S 0:0(0) win 65535 <mss 1460>                  `<`: this packet arrives
  +0  > S. 0:0(0) ack 1 <...>                          `>`: this packet must leave, now, and no other before it
  +.1 < . 1:1(0) ack 1 win 257                         numbers count from each side's SYN
  +0  accept(3, ..., ...) = 4
  +0  %{ assert tcpi_snd_cwnd == 10 }%                 what TCP_INFO must say

Examples:
  roundtrip drill drills                               every script of a folder
  roundtrip drill my.pkt --trace                       one script, with all that happened
  roundtrip drill my.pkt --personality freebsd         the same belief about another system
The whole language is in docs/drill.md. Exit codes: 0 all pass, 1 one fails, 2 one cannot be read or judged.";

/// What `can --help` teaches.
const CAN_HELP: &str = "\
Examples:
  roundtrip can web-browsing laptop google.com:443      a name: the laptop looks it up
  roundtrip can home web 203.0.113.50:8080              an address, whoever has it, also nobody
  roundtrip can home internet laptop                    a stranger, added to the internet for the probe; no port: a ping
  roundtrip can home phone dns:53/udp                   a datagram (or --protocol udp)
  roundtrip can home 'site home' internet:443           a group: every machine of a site, of a security group (group NAME),
                                                        of a subnet (its name or its prefix)
  roundtrip can home internet laptop:80 --expect no     in CI: fails when it can
  roundtrip can cable-cut laptop 9.9.9.9 --at 300ms     after a change of the timeline
  roundtrip can home --matrix                           all pairs: who reaches which service
  roundtrip can home --matrix --port 443 --format html  the same as a page, every machine asked at one port

Each reason comes with the rule, the line where it was written, AWS's code where it has one, and the smallest change that lifts
it. All of them are needed: with any one left, the answer stays no. docs/can.md has the whole story.

Exit codes: 0 yes (with --expect: as expected), 1 no, 2 could not answer.";

/// What `ip --help` teaches.
const IP_HELP: &str = "\
Examples:
  roundtrip ip 192.168.1.0/24                       mask, range, usable hosts, what AWS leaves of it, what it is for
  roundtrip ip 100.64.3.9                           what an address means by the registries (RFC 6890)
  roundtrip ip :443                                 a port; 32768-60999: a range of ports
  roundtrip ip 10.0.0.0/16 10.0.128.0/20            do they overlap? (exit code 1 if they do)
  roundtrip ip 10.0.2.50 --in 10.0.0.0/16           is it inside? (exit code 1 if it is not)
  roundtrip ip 10.0.0.0/16 --split /24              all subnets; --into 5: so many equal ones; --hosts 100,20,2: one for each
  roundtrip ip 0.0.0.0/0 --except 10.0.0.0/8        the rest as prefixes; --summarise: the fewest prefixes
IPv6 as well. Exit codes: 0 yes or no question, 1 no, 2 what was typed is no address.";

/// How a world with real programs in it is made.
#[derive(clap::Args, Debug)]
pub(crate) struct WorldArgs {
    /// Chooses all random things of the simulation.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where to write, and where others find a world that is up; roundtrip-out/NAME otherwise.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// What connects programs: a TAP device, or a veth pair where that is not to be had.
    #[arg(long, value_enum, default_value_t = DeviceArg::Auto)]
    pub(crate) device: DeviceArg,
    /// Be root inside.
    #[arg(long)]
    pub(crate) root: bool,
    /// Let the programs run that the scenario itself names (exec:).
    #[arg(long)]
    pub(crate) allow_exec: bool,
}

impl WorldArgs {
    /// The folder to write to.
    pub(crate) fn folder(&self, scenario: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| rt_lab::default_out(scenario))
    }

    /// How programs are attached.
    pub(crate) fn attach(&self) -> rt_lab::AttachOptions {
        rt_lab::AttachOptions { device: self.device.meant(), root: self.root }
    }
}

/// Ports of this computer that are bridges into the world.
#[derive(clap::Args, Debug)]
pub(crate) struct BridgeArgs {
    /// Make a simulated server's port one of 127.0.0.1, as in 8443:web:443: your own browser can open it. Connections come from
    /// the machine nearest to it, or from a named one: 8443:web:443:laptop. May be given several times.
    #[arg(long, value_name = "PORT:MACHINE:PORT")]
    pub(crate) publish: Vec<String>,
    /// Make a real server on 127.0.0.1 a machine's service, as in 8080:backend:80. May be given several times.
    #[arg(long, value_name = "PORT:MACHINE:PORT")]
    pub(crate) serve: Vec<String>,
}

/// What connects a real program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DeviceArg {
    /// A TAP where it is to be had, else a veth pair.
    Auto,
    /// A TAP, or an error.
    Tap,
    /// A veth pair.
    Veth,
}

/// What is kept of a run with real programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RecordArg {
    /// Captures, events and the story.
    All,
    /// The frames that the programs sent: replay makes the rest.
    Inputs,
    /// Nothing.
    None,
}

/// By what a probe asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ProtocolArg {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
    /// A ping.
    Icmp,
}

/// What an answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ExpectArg {
    /// Every pair reaches.
    Yes,
    /// No pair does.
    No,
}

/// Which packets get a comment in the captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CommentChoice {
    /// Every packet.
    All,
    /// Those that begin or end something.
    Key,
    /// None.
    None,
}

/// One of a machine's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TableChoice {
    /// NAT mappings: inside, outside, lifetime, rule.
    Nat,
    /// Flows: state, both directions, counters, lifetime.
    Conntrack,
    /// Routes with their origin and use.
    Routes,
    /// Neighbours: which MAC an address has.
    Neighbors,
    /// Filter and NAT rules with what they decided.
    Rules,
}

/// What to draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PlotChoice {
    /// Segments, acknowledgements, the window and SACK blocks, as tcptrace draws them.
    TimeSequence,
    /// Congestion window, slow start threshold, bytes in flight.
    Cwnd,
    /// Round-trip times and the retransmission timeout.
    Rtt,
    /// The queues on the way.
    Queue,
    /// The states of both ends.
    States,
    /// All of these, one below the other.
    All,
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum SideChoice {
    /// The end that opened it.
    Client,
    /// The other end.
    Server,
}
