//! What heartbeats mean: the rules of a lease, in virtual time.
