//! The route table, its layers, and what handlers share.

pub mod extract;
mod heartbeats;
pub mod problem;
mod servers;

use std::sync::Arc;

use crate::{config::Config, health::Leases, hub::Hub, metrics::Metrics};

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of one server.
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// The only writer.
    pub hub: Hub,
    /// Who is due.
    pub leases: Arc<Leases>,
    /// What is counted.
    pub metrics: Metrics,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}
