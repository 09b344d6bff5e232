//! The rules as tables, and the invariants as properties.

mod body;
mod ends;
mod events;
mod life;
mod listing;
mod loss;
mod properties;
mod support;
