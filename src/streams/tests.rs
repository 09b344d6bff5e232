//! Streams on real sockets over a log in memory: what clients see, whatever they do.

mod ends;
mod index;
mod once_and_in_order;
mod rig;
