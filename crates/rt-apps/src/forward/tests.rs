//! What must hold of certificates made on the fly.

use std::sync::Arc;

use rt_stack::{Stack, StackConfig};

use super::mint::{MOST_KEPT, Mint};
use crate::Runtime;
use crate::tls::{PrivateCa, names_of};

const EPOCH: u64 = 1_795_219_200;

#[test]
fn endless_names_do_not_fill_the_memory() {
    let runtime = Runtime::new(Stack::new(StackConfig::default(), 1, "proxy"), 1, "proxy", EPOCH);
    let mint = Mint::new(&runtime.net(), Arc::new(PrivateCa::new(1, EPOCH, "corp-ca").unwrap()));
    for number in 0..MOST_KEPT + 50 {
        mint.identity(&format!("host-{number}.example")).unwrap();
        mint.identity("often.example").unwrap();
    }
    assert_eq!(mint.len(), MOST_KEPT);
    assert!(mint.identity("not a name").is_err());
}

#[test]
fn the_same_seed_makes_the_same_certificate() {
    let make = |seed| {
        let ca = PrivateCa::new(seed, EPOCH, "corp-ca").unwrap();
        let identity = ca.issue("shop.example", (EPOCH, EPOCH + 86_400)).unwrap();
        (identity.chain().to_vec(), ca.root().clone())
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1).0, make(2).0);
    let (chain, root) = make(1);
    let (leaf, root) = (names_of(&chain[0]).unwrap(), names_of(&root).unwrap());
    assert_eq!((leaf.subject.as_str(), leaf.issuer.as_str()), ("CN=shop.example", "CN=corp-ca"));
    assert_eq!(root.subject, root.issuer);
}
