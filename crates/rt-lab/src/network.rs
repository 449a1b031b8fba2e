//! A network written in code. It becomes a scenario text and goes the same way as a file, so code and file cannot differ in
//! what they mean, and mistakes come out as the same diagnostics.

use std::fmt::Write;

use crate::{Refusal, Scenario};

/// A network being written down.
///
/// ```no_run
/// use rt_lab::Network;
///
/// let scenario = Network::new("lab")
///     .host("a", "address: 10.0.0.1/24")
///     .host("b", "address: 10.0.0.2/24, run: [ http: { port: 80, pages: hello } ]")
///     .link("a", "b", "rate: 10Mbit/s, delay: 5ms, loss: 1%")
///     .scenario()?;
/// let mut world = scenario.world(1);
/// assert!(world.open("a", "http://10.0.0.2/").ok);
/// # Ok::<(), rt_lab::Refusal>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Network {
    name: String,
    nodes: Vec<(String, String)>,
    links: Vec<(String, String, String)>,
}

impl Network {
    /// An empty network.
    #[must_use]
    pub fn new(name: &str) -> Network {
        Network { name: name.to_owned(), ..Network::default() }
    }

    /// A machine; `keys` are those of a node in the scenario file, in YAML's flow form.
    #[must_use]
    pub fn host(self, name: &str, keys: &str) -> Network {
        self.node(name, "host", keys)
    }

    /// A machine that forwards.
    #[must_use]
    pub fn router(self, name: &str, keys: &str) -> Network {
        self.node(name, "router", keys)
    }

    /// A learning switch.
    #[must_use]
    pub fn switch(self, name: &str) -> Network {
        self.node(name, "switch", "")
    }

    fn node(mut self, name: &str, kind: &str, keys: &str) -> Network {
        let more = if keys.trim().is_empty() { String::new() } else { format!(", {keys}") };
        self.nodes.push((name.to_owned(), format!("kind: {kind}{more}")));
        self
    }

    /// A link between two ends: a machine (its next free interface) or `machine:interface`. `keys` are those of a link.
    #[must_use]
    pub fn link(mut self, a: &str, b: &str, keys: &str) -> Network {
        let (a, b) = (self.end(a), self.end(b));
        self.links.push((a, b, keys.to_owned()));
        self
    }

    fn end(&self, end: &str) -> String {
        if end.contains(':') {
            return end.to_owned();
        }
        let prefix = format!("{end}:");
        let used = self.links.iter().flat_map(|(a, b, _)| [a, b]).filter(|e| e.starts_with(&prefix)).count();
        format!("{end}:eth{used}")
    }

    /// The scenario file that says the same.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut text = format!("name: {}\nabout: Written in code.\ntopology:\n  nodes:\n", self.name);
        for (name, keys) in &self.nodes {
            let _ = writeln!(text, "    {name}: {{ {keys} }}");
        }
        if !self.links.is_empty() {
            text.push_str("  links:\n");
        }
        for (a, b, keys) in &self.links {
            let more = if keys.trim().is_empty() { String::new() } else { format!(", {keys}") };
            let _ = writeln!(text, "    - {{ endpoints: [\"{a}\", \"{b}\"]{more} }}");
        }
        text
    }

    /// The checked scenario.
    ///
    /// # Errors
    /// [`Refusal::Faulty`] with every mistake, placed in [`Self::yaml`].
    pub fn scenario(&self) -> Result<Scenario, Refusal> {
        Scenario::of_text(&format!("{}.yaml", self.name), &self.yaml())
    }
}
