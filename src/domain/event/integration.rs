//! What events say of the integration as a whole: its status, and its patterns.

use serde::{Deserialize, Serialize};

use super::server::Health;
use crate::domain::ids::ServerId;

/// `data` of the hub's own `integration_status_changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationStatusChanged {
    /// The status now.
    pub status: Health,
    /// The status before.
    pub previous_status: Health,
    /// Servers connected.
    pub connected_servers: u64,
    /// Of them, healthy.
    pub healthy_servers: u64,
    /// Servers lost by `heartbeat_timeout`.
    pub lost_servers: u64,
    /// The first ten of them, in the order in which they were lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub lost: Vec<ServerId>,
    /// Workflows that run.
    pub active_workflows: u64,
    /// What moved the status; absent where only time did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Because>,
}

/// The event of a server that moved the integration's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Because {
    /// Whose.
    #[schema(value_type = String)]
    pub server_id: ServerId,
    /// Its type.
    pub r#type: String,
}

/// A pattern as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pattern {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is on.
    pub enabled: bool,
}

/// `data` of `pattern_enabled` and `pattern_disabled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PatternSwitched {
    /// The pattern as it is now.
    pub pattern: Pattern,
    /// `startup` or `api`.
    pub source: String,
}
