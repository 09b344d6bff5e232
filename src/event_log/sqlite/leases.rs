//! When servers were last seen, as one value: a row per server would hold up commits every ten seconds.
//!
//! Each lease is the connection (`u64`), the time (`i64`), the length of the id (`u16`) and the id.

use crate::{domain::ServerId, event_log::SavedLease};

/// Writes leases.
pub(super) fn encode(leases: &[SavedLease]) -> Vec<u8> {
    let mut out = Vec::with_capacity(leases.len() * 48);
    for lease in leases {
        let id = lease.server.as_str().as_bytes();
        out.extend_from_slice(&lease.connection.to_le_bytes());
        out.extend_from_slice(&lease.last_seen_at.to_le_bytes());
        out.extend_from_slice(&(id.len() as u16).to_le_bytes());
        out.extend_from_slice(id);
    }
    out
}

/// Reads them back; `None` where the bytes are no such list.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<SavedLease>> {
    let mut leases = Vec::new();
    while !bytes.is_empty() {
        let (connection, rest) = bytes.split_first_chunk()?;
        let (last_seen_at, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        leases.push(SavedLease {
            server: ServerId::stored(std::str::from_utf8(id).ok()?).ok()?,
            connection: u64::from_le_bytes(*connection),
            last_seen_at: i64::from_le_bytes(*last_seen_at),
        });
        bytes = rest;
    }
    Some(leases)
}
