//! Look-ups through a resolver that walks a small tree: root, com, example.com, and a name server outside of its zone.

use rt_apps::dns::{
    AuthoritativeConfig, RecordType, RecursiveConfig, ResolverConfig, Steering, Whereabouts, Zone,
    authoritative_server, recursive_resolver, shared_cache,
};
use rt_apps::{Net, StepResult, probe};
use rt_base::{Nanos, ReqId};

use crate::lan::{Lan, Machine, ip, machine};

const ROOT: &str = "\
. 86400 IN SOA a.root-servers.net. nstld.example. 1 1800 900 604800 86400
. 518400 IN NS a.root-servers.net.
a.root-servers.net. 518400 IN A 10.0.0.3
com. 172800 IN NS x.gtld-servers.net.
net. 172800 IN NS x.gtld-servers.net.
x.gtld-servers.net. 172800 IN A 10.0.0.4
";
const COM: &str = "\
com. 900 IN SOA x.gtld-servers.net. nstld.example. 1 1800 900 604800 900
com. 172800 IN NS x.gtld-servers.net.
example.com. 172800 IN NS ns1.example.com.
ns1.example.com. 172800 IN A 10.0.0.5
hosted.com. 172800 IN NS ns.provider.net.
circle.com. 172800 IN NS ns.circle.net.
";
const NET: &str = "\
net. 900 IN SOA x.gtld-servers.net. nstld.example. 1 1800 900 604800 900
provider.net. 172800 IN NS ns.provider.net.
ns.provider.net. 172800 IN A 10.0.0.5
circle.net. 172800 IN NS ns.circle.com.
";
const EXAMPLE: &str = "\
example.com. 3600 IN SOA ns1.example.com. admin.example.com. 1 7200 900 1209600 60
example.com. 300 IN A 10.0.0.80
example.com. 300 IN MX 10 mail.example.com.
mail.example.com. 300 IN A 10.0.0.25
www.example.com. 300 IN CNAME example.com.
away.example.com. 300 IN CNAME www.hosted.com.
";
const HOSTED: &str = "\
hosted.com. 3600 IN SOA ns.provider.net. admin.provider.net. 1 7200 900 1209600 60
www.hosted.com. 300 IN A 10.0.0.81
";
const PROVIDER: &str = "\
provider.net. 3600 IN SOA ns.provider.net. admin.provider.net. 1 7200 900 1209600 60
ns.provider.net. 3600 IN A 10.0.0.5
";

fn name_server(name: &str, address: &'static str, zones: &'static [(&'static str, &'static str)]) -> Machine {
    machine(name, address).app(move |runtime| {
        let mut zones: Vec<Zone> =
            zones.iter().map(|(apex, text)| Zone::parse(apex, text).unwrap()).collect();
        if let Some(zone) = zones.iter_mut().find(|z| z.apex().to_string() == "example.com") {
            let many: String = (0..80).map(|i| format!("many.example.com. 300 IN A 10.0.1.{i}\n")).collect();
            *zone = Zone::parse("example.com", &format!("{EXAMPLE}{many}")).unwrap();
        }
        runtime.net().serve("dns", authoritative(&runtime.net(), zones, Nanos::from_millis(2)));
    })
}

fn authoritative(
    net: &Net,
    zones: Vec<Zone>,
    think: Nanos,
) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
    authoritative_server(net.clone(), AuthoritativeConfig { zones, think, ..AuthoritativeConfig::default() })
}

fn resolver(silent: bool) -> Machine {
    machine("resolver", "10.0.0.2/24").app(move |runtime| {
        let roots = vec![("a.root-servers.net".to_string(), ip("10.0.0.3"))];
        let think = Nanos::from_millis(1);
        let config = RecursiveConfig { roots, think, silent, ..RecursiveConfig::default() };
        runtime.net().serve("dns", recursive_resolver(runtime.net(), config));
    })
}

/// A laptop that looks these up, one step each; node 0. The resolver is node 1.
fn world(lookups: &[(&'static str, &'static str)], silent: bool) -> Lan {
    let mut laptop = machine("laptop", "10.0.0.1/24").app(|runtime| {
        let hosts = vec![("printer".to_string(), ip("10.0.0.99"))];
        let servers = vec![ip("10.0.0.2")];
        runtime.net().set_resolver(ResolverConfig { servers, hosts, ..ResolverConfig::default() });
    });
    for &(name, rtype) in lookups {
        laptop = laptop.step(|net| probe::lookup(net, name.to_string(), rtype.to_string()));
    }
    Lan::new(
        7,
        vec![
            laptop,
            resolver(silent),
            name_server("root", "10.0.0.3/24", &[(".", ROOT)]),
            name_server("com", "10.0.0.4/24", &[("com", COM), ("net", NET)]),
            name_server(
                "ns1",
                "10.0.0.5/24",
                &[("example.com", EXAMPLE), ("hosted.com", HOSTED), ("provider.net", PROVIDER)],
            ),
        ],
    )
}

fn summaries(lookups: &[(&'static str, &'static str)]) -> Vec<(bool, String)> {
    let mut lan = world(lookups, false);
    let results = (0..lookups.len()).map(|i| lan.step(0, i as u32));
    results.map(|r| (r.ok, r.summary)).collect()
}

#[test]
fn a_lookup_walks_the_tree_once() {
    let mut lan = world(&[("example.com", "A"), ("example.com", "A"), ("mail.example.com", "A")], false);
    assert_eq!(lan.step(0, 0).summary, "example.com A: 10.0.0.80");
    lan.step(0, 1);
    lan.step(0, 2);
    insta::assert_snapshot!(format!("laptop\n{}resolver\n{}", lan.said(0), lan.said(1)));
    let fields = [
        "ip.src",
        "ip.dst",
        "dns.flags.response",
        "dns.flags.authoritative",
        "dns.qry.name",
        "dns.a",
        "dns.ns",
    ];
    insta::assert_snapshot!(lan.tshark("dns", &fields));
}

#[test]
fn all_kinds_of_answers() {
    let cases = [
        ("www.example.com", "A"),
        ("away.example.com", "A"),
        ("example.com", "MX"),
        ("example.com", "NS"),
        ("www.example.com", "CNAME"),
        ("nope.example.com", "A"),
        ("nope.example.com", "A"),
        ("example.com", "AAAA"),
        ("nope.nowhere", "A"),
        ("www.circle.com", "A"),
        ("PRINTER", "A"),
        ("10.1.2.3", "A"),
        ("bad..name", "A"),
        ("example.com", "XYZ"),
    ];
    let results = summaries(&cases);
    let shown: Vec<String> = results.iter().map(|(ok, summary)| format!("{ok} {summary}")).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn another_server_is_asked_when_one_is_silent() {
    let laptop = machine("laptop", "10.0.0.1/24")
        .app(|runtime| {
            let servers = vec![ip("10.0.0.2")];
            runtime.net().set_resolver(ResolverConfig { servers, ..ResolverConfig::default() });
        })
        .step(|net| probe::lookup(net, "example.com".into(), "A".into()))
        .step(|net| probe::lookup(net, "loop.example.com".into(), "A".into()));
    let resolver = machine("resolver", "10.0.0.2/24").app(|runtime| {
        let roots = vec![("gone.root".to_string(), ip("10.0.0.66")), ("b.root".to_string(), ip("10.0.0.3"))];
        let config = RecursiveConfig { roots, ..RecursiveConfig::default() };
        runtime.net().serve("dns", recursive_resolver(runtime.net(), config));
    });
    const ROOT: &str = "\
. 60 IN SOA a. b. 1 2 3 4 60
example.com. 172800 IN NS ns1.example.com.
ns1.example.com. 172800 IN A 10.0.0.5
";
    const LOOP: &str = "\
example.com. 3600 IN SOA ns1.example.com. admin.example.com. 1 7200 900 1209600 60
example.com. 300 IN A 10.0.0.80
loop.example.com. 300 IN CNAME pool.example.com.
pool.example.com. 300 IN CNAME loop.example.com.
";
    let root = name_server("root", "10.0.0.3/24", &[(".", ROOT)]);
    let ns1 = machine("ns1", "10.0.0.5/24").app(|runtime| {
        let zone = Zone::parse("example.com", LOOP).unwrap();
        runtime.net().serve("dns", authoritative(&runtime.net(), vec![zone], Nanos::ZERO));
    });
    let mut lan = Lan::new(7, vec![laptop, resolver, root, ns1]);
    assert!(lan.step(0, 0).ok);
    let looped = lan.step(0, 1);
    assert_eq!(looped.summary, "loop.example.com: the resolver could not say (SERVFAIL)");
    insta::assert_snapshot!(lan.said(1));
}

#[test]
fn a_long_answer_comes_over_tcp() {
    let mut lan = world(&[("many.example.com", "A")], false);
    let result = lan.step(0, 0);
    assert!(result.ok, "{}", result.summary);
    assert_eq!(result.lines.len(), 80);
    let wire = lan.tshark("tcp", &["tcp.dstport", "dns.flags.truncated", "dns.count.answers"]);
    insta::assert_snapshot!(wire);
    lan.run_until(20);
    assert_eq!((1..5).map(|node| lan.host(node).open_connections()).sum::<usize>(), 0);
}

#[test]
fn a_silent_resolver_is_asked_again() {
    let mut lan = world(&[("example.com", "A")], true);
    let result = lan.step(0, 0);
    assert_eq!(result, StepResult::failed("example.com: no answer from any resolver (2 tries)"));
    insta::assert_snapshot!(lan.said(0));
}

#[test]
fn a_machine_without_name_server_says_so_at_once() {
    let laptop = machine("laptop", "10.0.0.1/24")
        .app(|runtime| {
            let servers = vec![ip("10.0.0.2"), ip("10.0.0.3")];
            runtime.net().set_resolver(ResolverConfig { servers, ..ResolverConfig::default() });
        })
        .step(|net| probe::lookup(net, "example.com".into(), "A".into()));
    let mut lan = Lan::new(7, vec![laptop, machine("deaf", "10.0.0.2/24")]);
    lan.step(0, 0);
    insta::assert_snapshot!(lan.said(0));
}

#[test]
fn a_browsers_cache_comes_first() {
    let cache = shared_cache();
    let mut lan = {
        let (first, second) = (cache.clone(), cache);
        let work = |cache: rt_apps::dns::SharedNameCache| {
            move |net: rt_apps::Net| async move {
                let answer = net.lookup_with("example.com", RecordType::A, ReqId(0), Some(&cache)).await;
                StepResult::ok(format!("{:?}", answer.map(|a| a.from)))
            }
        };
        let laptop = machine("laptop", "10.0.0.1/24")
            .app(|runtime| {
                let servers = vec![ip("10.0.0.2")];
                runtime.net().set_resolver(ResolverConfig { servers, ..ResolverConfig::default() });
            })
            .step(work(first))
            .step(work(second));
        let zone = [("example.com", EXAMPLE)];
        let zone: &'static [(&str, &str)] = Box::leak(Box::new(zone));
        Lan::new(7, vec![laptop, name_server("ns", "10.0.0.2/24", zone)])
    };
    assert_eq!(lan.step(0, 0).summary, "Ok(Resolver)");
    assert_eq!(lan.step(0, 1).summary, "Ok(BrowserCache)");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed_name: &'static str| {
        let mut lan = world(&[(seed_name, "A")], false);
        lan.step(0, 0);
        lan.digest()
    };
    assert_eq!(run("www.example.com"), run("www.example.com"));
    assert_ne!(run("www.example.com"), run("example.com"));
}

const POOL: &str = "\
pool.test. 3600 IN SOA ns. admin. 1 7200 900 1209600 60
pool.test. 300 IN A 10.0.9.1
pool.test. 300 IN A 10.0.9.2
pool.test. 300 IN A 10.0.9.3
";

/// `laptops`, each of which looks `pool.test` up once; a resolver, whose root is the name server of that zone; the server.
fn pool(laptops: &[&'static str], client_subnet: bool, steering: Vec<Steering>) -> Lan {
    let names = ["one", "two", "three", "four", "five", "six", "seven"];
    let laptop = |(name, address): (&&'static str, &&'static str)| {
        let asks = machine(name, *address).app(|runtime| {
            let servers = vec![ip("10.0.0.2")];
            runtime.net().set_resolver(ResolverConfig { servers, ..ResolverConfig::default() });
        });
        asks.step(|net| probe::lookup(net, "pool.test".into(), "A".into()))
    };
    let mut machines: Vec<Machine> = names.iter().zip(laptops).map(laptop).collect();
    machines.push(machine("resolver", "10.0.0.2/16").app(move |runtime| {
        let roots = vec![("ns".to_string(), ip("10.0.0.3"))];
        let config = RecursiveConfig { roots, client_subnet, ..RecursiveConfig::default() };
        runtime.net().serve("dns", recursive_resolver(runtime.net(), config));
    }));
    machines.push(machine("ns", "10.0.0.3/16").app(move |runtime| {
        // The leaf zone and what delegates to it, on one machine.
        let root = ". 60 IN SOA a. b. 1 2 3 4 60\npool.test. 172800 IN NS ns.pool.test.\nns.pool.test. 172800 IN A 10.0.0.4\n";
        let zones = vec![Zone::parse(".", root).unwrap()];
        let config = AuthoritativeConfig { zones, ..AuthoritativeConfig::default() };
        runtime.net().serve("dns", authoritative_server(runtime.net(), config));
    }));
    machines.push(machine("leaf", "10.0.0.4/16").app(move |runtime| {
        let zones = vec![Zone::parse("pool.test", POOL).unwrap()];
        let config = AuthoritativeConfig { zones, steering, ..AuthoritativeConfig::default() };
        runtime.net().serve("dns", authoritative_server(runtime.net(), config));
    }));
    Lan::new(7, machines)
}

/// The order of the addresses in each answer that a laptop got, as tshark reads it.
fn orders(name: &str, lan: &mut Lan, laptops: usize) -> Vec<String> {
    for laptop in 0..laptops {
        assert!(lan.step(laptop as u32, 0).ok);
    }
    let wire = lan.tshark(name, &["udp.srcport", "ip.src", "dns.a"]);
    let answers = wire.lines().filter_map(|line| line.strip_prefix("53 10.0.0.2 "));
    answers.map(|line| line.replace("10.0.", "")).collect()
}

/// Every asker gets another address first, though the resolver asked only once.
#[test]
fn answers_turn() {
    let laptops = ["10.0.1.1/16", "10.0.1.2/16", "10.0.1.3/16", "10.0.1.4/16"];
    let mut lan = pool(&laptops, false, Vec::new());
    let got = orders("turns", &mut lan, laptops.len());
    assert_eq!(got, ["9.1,9.2,9.3", "9.2,9.3,9.1", "9.3,9.1,9.2", "9.1,9.2,9.3"]);
    let asked = lan.tshark("asked", &["udp.dstport", "ip.dst"]);
    assert_eq!(asked.lines().filter(|line| *line == "53 10.0.0.4").count(), 1, "{asked}");
}

/// A name server that knows places gives each network its own address when the resolver tells the network, and keeps them apart;
/// else all get what is near to the resolver.
#[test]
fn a_resolver_may_tell_where_its_client_is() {
    let whereabouts = |network: &str, nearest| Whereabouts {
        network: network.parse().unwrap(),
        city: "somewhere".into(),
        nearest,
    };
    let steering = Steering {
        name: "pool.test".into(),
        places: (1..4).map(|n| (ip(&format!("10.0.9.{n}")), format!("place-{n}"))).collect(),
        networks: vec![
            whereabouts("10.0.0.0/24", 2),
            whereabouts("10.0.1.0/24", 0),
            whereabouts("10.0.5.0/24", 1),
        ],
    };
    let laptops = ["10.0.1.1/16", "10.0.5.1/16", "10.0.1.2/16", "10.0.7.1/16"];
    let mut told = pool(&laptops, true, vec![steering.clone()]);
    assert_eq!(orders("told", &mut told, laptops.len()), ["9.1", "9.2", "9.1", "9.1,9.2,9.3"]);
    let fields =
        ["udp.srcport", "ip.src", "dns.opt.client.addr4", "dns.opt.client.netmask", "dns.opt.client.scope"];
    let wire = told.tshark("subnets", &fields);
    let subnets: Vec<&str> = wire.lines().filter_map(|line| line.strip_prefix("53 10.0.0.4 ")).collect();
    // The second laptop of the first network is answered from the cache.
    assert_eq!(subnets, ["10.0.1.0 24 24", "10.0.5.0 24 24", "10.0.7.0 24 0"]);
    let mut untold = pool(&laptops, false, vec![steering]);
    assert_eq!(orders("untold", &mut untold, laptops.len()), ["9.3"; 4]);
}
