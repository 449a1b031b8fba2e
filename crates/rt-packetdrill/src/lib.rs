//! A shared library for the original packetdrill (`--so_filename`): its C interface on one side, [`rt_drill::machine`]
//! on the other.
