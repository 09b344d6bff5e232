//! Leases of connected servers: who is due, who is late, who is gone.

use std::sync::Arc;

use crate::domain::{
    Rejection, ServerId, command::ChangeHealth, health::Heartbeat, server::LeaseView,
};

/// All leases. Heartbeats renew them without a commit; only what they change becomes a command.
#[derive(Debug)]
pub struct Leases {}

impl Leases {
    /// What the lease of a connected server says.
    #[must_use]
    pub fn view(&self, _server: &ServerId) -> Option<LeaseView> {
        todo!()
    }

    /// Takes in a heartbeat. What it changes is a command for the hub.
    ///
    /// # Errors
    /// [`Rejection::ServerNotRegistered`], [`Rejection::InstanceReplaced`].
    pub fn beat(
        &self,
        _server: &ServerId,
        _heartbeat: Heartbeat,
    ) -> Result<Option<ChangeHealth>, Rejection> {
        todo!()
    }

    /// The hub's doubt about itself, while it doubts.
    #[must_use]
    pub fn self_suspect(&self) -> Option<SelfSuspect> {
        todo!()
    }
}

/// The hub's doubt about itself: most of the fleet fell silent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct SelfSuspect {
    /// Since when, epoch ms.
    pub since: i64,
    /// How many are silent.
    pub silent: u64,
}

/// Shared by the parts that ask.
pub type SharedLeases = Arc<Leases>;
