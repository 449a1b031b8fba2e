//! What `show` prints.

use rt_scenario::views;

use crate::shipped::{all, model};

fn two_hosts() -> rt_scenario::Model {
    let (name, text) = all().into_iter().find(|(n, _)| n == "two-hosts").expect("shipped");
    model(&name, &text)
}

#[test]
fn text() {
    insta::assert_snapshot!(views::text(&two_hosts()));
}

#[test]
fn diagrams() {
    let model = two_hosts();
    insta::assert_snapshot!("mermaid", views::mermaid(&model));
    insta::assert_snapshot!("dot", views::dot(&model));
}

#[test]
fn plain_level() {
    insta::assert_snapshot!(views::plain_yaml(&two_hosts()));
}

#[test]
fn a_whole_internet() {
    let (name, text) = all().into_iter().find(|(n, _)| n == "web-browsing").expect("shipped");
    let model = model(&name, &text);
    insta::assert_snapshot!("web-browsing", views::text(&model));
    insta::assert_snapshot!("web-browsing.mermaid", views::mermaid(&model));
}

#[test]
fn a_private_cloud() {
    let (name, text) = all().into_iter().find(|(n, _)| n == "alice-and-bob").expect("shipped");
    let model = model(&name, &text);
    insta::assert_snapshot!("alice-and-bob", views::text(&model));
    insta::assert_snapshot!("alice-and-bob.mermaid", views::mermaid(&model));
}
