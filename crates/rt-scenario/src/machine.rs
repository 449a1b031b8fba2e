//! What every machine may have, wherever it is written: ports, TCP, name resolution, browser, firewall, NAT.

use rt_base::{HookPoint, NodeId};
use rt_rules::{Action, Chain, NatRule, Policy, PortRange};

use crate::diag::{Code, Span};
use crate::model::PortPolicy;
use crate::rules_text::{self, Line};
use crate::tcp;
use crate::tree::{Kind, Value};
use crate::units;
use crate::world::World;

impl World<'_, '_> {
    /// Reads the keys that every machine has, except `run` and `firewall`, which need its interfaces.
    pub(crate) fn read_machine(&mut self, id: NodeId, value: &Value) {
        self.read_stack(id, value);
        self.read_resolver(id, value);
        self.read_ssh_home(id, value);
        if let Some(browser) = value.get("browser") {
            self.read_browser(id, browser);
        }
        if let Some(exec) = value.get("exec") {
            let words = exec.items().iter().filter_map(Value::text).map(str::to_owned);
            self.node(id).node.exec = words.collect();
        }
        if let Some(processing) = value.duration_at("processing") {
            self.node(id).node.processing = processing;
        }
    }

    fn read_stack(&mut self, id: NodeId, value: &Value) {
        let stack = &mut self.node(id).node.stack;
        if let Some(ports) = value.get("ephemeral-ports") {
            let (range, policy) = read_ports(ports);
            stack.port_policy =
                if policy == Some("random") { PortPolicy::Random } else { PortPolicy::Sequential };
            if let Some(range) = range {
                (stack.ports_first, stack.ports_last) = (range.first, range.last);
            }
        }
        if let Some(ttl) = value.whole_at("ttl") {
            stack.ttl = u8::try_from(ttl).unwrap_or(64);
        }
        self.read_conntrack(id, value);
        if let Some(tcp) = value.get("tcp") {
            self.idle_tcp_keys(tcp);
            let stack = &mut self.node(id).node.stack;
            tcp::read(tcp, &mut stack.tcp);
            let isns = tcp.get("isns").map(Value::items).unwrap_or_default();
            stack.listen_isns.extend(isns.iter().filter_map(|v| v.text()?.parse::<u32>().ok()));
        }
    }

    fn read_resolver(&mut self, id: NodeId, value: &Value) {
        let resolver = &mut self.node(id).node.resolver;
        if let Some(servers) = value.get("resolvers") {
            resolver.servers = servers.items().iter().filter_map(Value::address).collect();
        }
        if let Some(lookup) = value.get("lookup") {
            resolver.timeout = lookup.duration_at("timeout").unwrap_or(resolver.timeout);
            resolver.ids = lookup.whole_at("ids-from").and_then(|n| u16::try_from(n).ok());
            resolver.attempts = lookup.whole_at("attempts").map_or(resolver.attempts, |n| n.min(10) as u32);
        }
        self.read_own_hosts(id, value);
        self.read_own_balance(id, value);
    }

    fn read_browser(&mut self, id: NodeId, value: &Value) {
        let browser = &mut self.node(id).node.browser;
        if let Some(agent) = value.str_at("user-agent") {
            browser.user_agent = agent.to_owned();
        }
        browser.http2 = value.flag_at("http2").unwrap_or(browser.http2);
        browser.connections =
            value.whole_at("connections").map_or(browser.connections, |n| n.clamp(1, 64) as u32);
        browser.parse = value.duration_at("parse").unwrap_or(browser.parse);
        browser.render = value.duration_at("render").unwrap_or(browser.render);
        browser.timeout = value.duration_at("timeout").unwrap_or(browser.timeout);
        browser.like_chrome |= value.str_at("like") == Some("chrome");
        if let Some(language) = value.str_at("language") {
            browser.language = language.to_owned();
        }
        browser.stays_open = value.duration_at("stays-open").or(browser.stays_open);
        if let Some(delays) = value.get("notices-close") {
            let spans = delays.items().iter().filter_map(|v| units::duration(v.text()?).ok());
            browser.notices_close = spans.collect();
        }
        browser.connect_timeout = value.duration_at("connect-timeout").or(browser.connect_timeout);
        self.read_cookies(id, value);
        self.read_browser_proxy(id, value);
    }

    fn read_cookies(&mut self, id: NodeId, value: &Value) {
        for (domain, cookies) in value.get("cookies").map(Value::entries).unwrap_or_default() {
            for cookie in cookies.text().unwrap_or("").split(';') {
                match cookie.trim().split_once('=') {
                    Some((name, is)) => {
                        let cookie = (domain.text.to_lowercase(), name.to_owned(), is.to_owned());
                        self.node(id).node.browser.cookies.push(cookie);
                    }
                    None => {
                        let message = format!("`{}` is not a cookie", cookie.trim());
                        self.problems
                            .add(Code::WrongShape, cookies.span, message, "not a cookie")
                            .help("cookies look like `NID=123`");
                        return;
                    }
                }
            }
        }
        self.node(id).node.browser.cookies.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Reads `firewall:`, and the other guards. A direction that is written replaces the chain of that hook.
    pub(crate) fn read_firewall(&mut self, id: NodeId, value: &Value) {
        self.read_guards(id, value);
        let Some(firewall) = value.get("firewall") else { return };
        let hooks = [("in", HookPoint::Input), ("out", HookPoint::Output), ("forward", HookPoint::Forward)];
        for (key, hook) in hooks {
            if let Some((name, lines)) = firewall.entry(key)
                && lines.kind != Kind::Null
            {
                let name_span = name.span;
                let chain = self.read_chain(id, hook, lines, name_span);
                let chains = &mut self.node(id).node.chains;
                chains.retain(|c| c.hook != hook);
                chains.push(chain);
            }
        }
    }

    fn read_chain(&mut self, id: NodeId, hook: HookPoint, lines: &Value, span: Span) -> Chain {
        let origin = self.default_of(span, "without an `otherwise` line the rest passes");
        let mut chain = Chain { hook, rules: Vec::new(), policy: Policy::new(Action::Accept, origin) };
        let mut policy_written = false;
        for line in lines.items() {
            let Some(text) = line.text() else { continue };
            let read = rules_text::firewall(text, &|name| self.find_port(id, name));
            match read {
                Ok(Line::Rule(rule)) => {
                    let origin = self.line(line.span);
                    let rule = rule.with_origin(origin);
                    self.check_group(line.span, &rule.when, text);
                    chain.rules.push(rule);
                }
                Ok(Line::Otherwise(action, construct)) => {
                    policy_written = true;
                    chain.policy = Policy { construct, ..Policy::new(action, self.line(line.span)) };
                }
                Err(why) => self.bad_rule(line.span, text, &why, FIREWALL_HELP),
            }
        }
        let only_allows = !chain.rules.is_empty() && chain.rules.iter().all(|r| r.action == Action::Accept);
        if only_allows && !policy_written {
            self.problems
                .add(
                    Code::NothingDenied,
                    span,
                    "this list allows things and denies nothing",
                    "everything passes",
                )
                .help("add the line `- otherwise deny` if the rest must not pass");
        }
        chain
    }

    /// Reads `nat:` of a plain node.
    pub(crate) fn read_nat(&mut self, id: NodeId, value: &Value) {
        for line in value.get("nat").map(Value::items).unwrap_or_default() {
            let Some(text) = line.text() else { continue };
            match rules_text::nat(text, &|name| self.find_port(id, name)) {
                Ok((when, action, behaviour)) => {
                    let origin = self.line(line.span);
                    let rule = NatRule { behaviour, ..NatRule::new(when, action, origin) };
                    if behaviour.overload && !behaviour.overloads() {
                        let strict =
                            "mapping address-and-port-dependent filtering address-and-port-dependent";
                        let help = format!("add `{strict}`, or leave `overload` away");
                        self.idle_overload(self.part(line, "overload"), &help);
                    }
                    self.node(id).node.nat.push(rule);
                }
                Err(why) => self.bad_rule(line.span, text, &why, NAT_HELP),
            }
        }
    }

    pub(crate) fn bad_rule(&mut self, span: Span, text: &str, why: &str, help: &str) {
        let message = format!("the line `{text}` cannot be read: {why}");
        self.problems.add(Code::BadRule, span, message, "not understood").help(help);
    }
}

const FIREWALL_HELP: &str = "lines look like `allow tcp from 10.0.0.0/8 port 443`, `deny icmp`, `allow established`, `otherwise deny`";
const NAT_HELP: &str =
    "lines look like `masquerade out wan using 10001-`, `dnat to 10.0.0.2:80 tcp port 8080 in wan`";

/// Range and policy of `10001-` or `{ range: 10001-, policy: random }`.
pub(crate) fn read_ports(value: &Value) -> (Option<PortRange>, Option<&str>) {
    match &value.kind {
        Kind::Map(_) => (value.str_at("range").and_then(|t| units::ports(t).ok()), value.str_at("policy")),
        _ => (value.text().and_then(|t| units::ports(t).ok()), None),
    }
}
