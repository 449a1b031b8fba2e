//! The program: arguments and printing; everything else is `rt-lab`.
fn main() {}
