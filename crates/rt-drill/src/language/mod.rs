//! The language of packetdrill scripts: lexer, parser, syntax tree.
