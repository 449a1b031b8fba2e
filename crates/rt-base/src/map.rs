//! A hash map for hot look-ups whose hash is fixed. It must never be iterated (law 5): keep what must be walked in a
//! `Vec` or `BTreeMap` beside it.

/// Fixed-seed hasher of [`FixedMap`].
pub type FixedHasher = foldhash::fast::FixedState;

/// Look-ups only; never iterate it.
#[allow(clippy::disallowed_types, reason = "the one place where the fixed hash is chosen")]
pub type FixedMap<K, V> = std::collections::HashMap<K, V, FixedHasher>;
