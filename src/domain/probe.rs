//! What asking an MCP server itself tells: the verdicts, and what each is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Health;

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It answered, in time.
    Healthy,
    /// It answered, later than it should.
    ProbeSlow,
    /// It is there, and wants credentials.
    AuthRequired,
    /// It is there, and refuses this request as such: its Host or Origin, its kind, its number.
    Misconfigured,
    /// Something answers, but it doesn't speak MCP.
    WrongProtocol,
    /// It answered with a 5xx.
    ServerError,
    /// It takes connections, and says nothing.
    Wedged,
    /// No connection could be made.
    Refused,
    /// Its name has no address that may be asked.
    Unresolved,
    /// Its certificate, or what it makes of TLS, is no good.
    Tls,
}

impl Verdict {
    /// Its name, as the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::ProbeSlow => "probe_slow",
            Self::AuthRequired => "auth_required",
            Self::Misconfigured => "misconfigured",
            Self::WrongProtocol => "wrong_protocol",
            Self::ServerError => "server_error",
            Self::Wedged => "wedged",
            Self::Refused => "refused",
            Self::Unresolved => "unresolved",
            Self::Tls => "tls",
        }
    }

    /// Whether the server was there: such a probe is as good as a heartbeat.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(
            self,
            Self::Healthy | Self::ProbeSlow | Self::AuthRequired | Self::Misconfigured
        )
    }

    /// Whether it may as well be the hub that is cut off.
    #[must_use]
    pub fn is_unreached(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Unresolved | Self::Wedged | Self::Tls
        )
    }

    /// What it means for the server's health, if it is the `failures`th failed probe in a row.
    #[must_use]
    pub fn health(self, failures: u32, unhealthy_after: u32) -> Health {
        match self {
            Self::Healthy => Health::Healthy,
            _ if self.is_answered() || failures < unhealthy_after => Health::Degraded,
            _ => Health::Unhealthy,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which of its forms a server speaks MCP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Since 2026-07-28: no handshake, no sessions.
    Modern,
    /// Before it: `initialize`, and perhaps a session.
    Legacy,
    /// HTTP+SSE, of 2024-11-05.
    Sse,
}

impl Era {
    /// Its name, as the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
            Self::Sse => "sse",
        }
    }
}
