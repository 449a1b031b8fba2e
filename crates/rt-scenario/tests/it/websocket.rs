//! WebSocket in a scenario: what is read, and that the plain level says the same.

use rt_base::Nanos;
use rt_scenario::model::{App, SocketKind, Talk, Verb};
use rt_scenario::{Model, load, render_all, views};

use crate::shipped::essence;

const TEXT: &str = r#"
name: t
topology:
  nodes:
    ann: { address: 10.0.0.2/24 }
    shop:
      address: 10.0.0.1/24
      run:
        - http: { websocket: { /echo: echo, /chat: room, /live: { push: tick, every: 300ms }, /slow: { push: tock } } }
  links:
    - endpoints: ["ann:eth0", "shop:eth0"]
steps:
  - { do: "ann opens wss://shop/chat?as=ann", says: [hello, "how are you?"], binary: 20kB, times: 3, every: 1s, listens: 2s }
  - ann opens ws://10.0.0.1:8080
"#;

fn model(text: &str) -> Model {
    load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)))
}

#[test]
fn paths_and_conversations_are_read() {
    let model = model(TEXT);
    let App::HttpServer { hosting, .. } = &model.nodes[1].apps[0] else { panic!() };
    let push = |text: &str, ms| SocketKind::Push { text: text.into(), every: Nanos::from_millis(ms) };
    let expected = [
        ("/echo", SocketKind::Echo),
        ("/chat", SocketKind::Room),
        ("/live", push("tick", 300)),
        ("/slow", push("tock", 1_000)),
    ];
    let expected = expected.map(|(path, kind)| (path.to_owned(), kind));
    assert_eq!(hosting.sockets, expected);
    let talk = Talk {
        secure: true,
        target: "shop".into(),
        port: 443,
        path: "/chat?as=ann".into(),
        says: vec!["hello".into(), "how are you?".into()],
        binary: Some(20_000),
        times: 3,
        every: Nanos::from_secs(1),
        listens: Nanos::from_secs(2),
        timeout: Nanos::from_secs(30),
    };
    assert_eq!(model.steps[0].verb, Verb::WebSocket(talk));
    let Verb::WebSocket(talk) = &model.steps[1].verb else { panic!() };
    assert_eq!((talk.secure, talk.port, talk.path.as_str()), (false, 8080, "/"));
}

#[test]
fn the_plain_level_says_the_same() {
    let first = model(TEXT);
    let plain = views::plain_yaml(&first);
    assert_eq!(essence(&model(&plain)), essence(&first), "{plain}");
}
