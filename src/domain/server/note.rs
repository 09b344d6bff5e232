//! What is kept beside the log and is no event: health that changes no verdict, and farewells of instances that nobody
//! knows yet. A note is as durable as an event, and the newest of its key holds; the log doesn't grow by them.

use serde::{Deserialize, Serialize};

use crate::domain::{
    health::Condition,
    ids::{InstanceId, ServerId},
};

/// One thing to keep, or to keep no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "note",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Note {
    /// What is known of a connected instance's health.
    Condition {
        /// Whose instance.
        server: ServerId,
        /// Which one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
        /// Of which connection.
        connection: u64,
        /// What is known.
        condition: Condition,
        /// Its lease's words for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_words: Option<String>,
    },
    /// An instance said that it goes before it was known.
    Farewell {
        /// Of which server.
        server: ServerId,
        /// Which one.
        instance: InstanceId,
        /// When, by the time that has really passed, ms.
        at: i64,
    },
    /// A connection is over, and what was known of it.
    Over {
        /// Which one.
        connection: u64,
    },
    /// A farewell is forgotten.
    Forgotten {
        /// Of which server.
        server: ServerId,
        /// Which instance's.
        instance: InstanceId,
    },
}

impl Note {
    /// What it is kept under. The next note of the same key takes its place.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Condition { connection, .. } | Self::Over { connection } => {
                format!("condition/{connection}")
            }
            Self::Farewell {
                server, instance, ..
            }
            | Self::Forgotten { server, instance } => format!("farewell/{server}/{instance}"),
        }
    }

    /// The text that is kept; `None`: nothing is kept under its key any more.
    #[must_use]
    pub fn body(&self) -> Option<String> {
        match self {
            Self::Condition { .. } | Self::Farewell { .. } => serde_json::to_string(self).ok(),
            Self::Over { .. } | Self::Forgotten { .. } => None,
        }
    }

    /// Reads a text that was kept.
    ///
    /// # Errors
    /// Where it is another version's, or damaged.
    pub fn read(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }
}
