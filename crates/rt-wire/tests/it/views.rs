//! What people see.

use std::fmt::Write;

use rt_wire::{Icmpv4, TcpFlags, layers, summary};

use crate::packets::{assorted, data, ping, syn, tcp};

fn shown(frame: &[u8]) -> String {
    let mut text = String::new();
    for view in layers(frame) {
        let _ = writeln!(text, "{} {:?}", view.name, view.range);
        for (name, value) in view.fields {
            let _ = writeln!(text, "  {name}: {value}");
        }
    }
    text
}

#[test]
fn a_syn_layer_by_layer() {
    insta::assert_snapshot!(shown(&tcp(&syn(), b"")));
}

#[test]
fn an_error_shows_what_it_quotes() {
    let frames = assorted();
    insta::assert_snapshot!(shown(&frames[15]));
}

#[test]
fn what_is_wrong_is_said() {
    let mut frame = tcp(&data(1, 2, TcpFlags::ACK), b"hello");
    frame[60] ^= 1;
    let cut = ping(Icmpv4::EchoRequest { id: 1, seq: 1 }, b"");
    let text = format!("{}\n{}\n{}", shown(&frame), shown(&cut[..30]), summary(&cut[..30]));
    insta::assert_snapshot!(text);
}
