//! What asking an MCP server itself tells: the verdicts, and what each is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    event::{Health, Transport},
    health::Report,
    input::{FieldError, Fields, IGNORED, Shape},
    json::JsonRef,
};

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
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Healthy,
        Self::ProbeSlow,
        Self::AuthRequired,
        Self::Misconfigured,
        Self::WrongProtocol,
        Self::ServerError,
        Self::Wedged,
        Self::Refused,
        Self::Unresolved,
        Self::Tls,
    ];

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

/// How a server is probed, as its registration or the operator's file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probing {
    /// Where it is asked.
    #[schema(required = false)]
    pub url: String,
    /// How often.
    #[schema(required = false, minimum = 100, maximum = 3_600_000)]
    pub interval_ms: u64,
    /// How long each answer may take.
    #[schema(required = false, minimum = 10, maximum = 60_000)]
    pub timeout_ms: u64,
    /// An answer that takes longer is slow.
    #[schema(required = false, minimum = 1, maximum = 60_000)]
    pub slow_ms: u64,
    /// It stands in the operator's file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(ignore)]
    pub of_file: bool,
    /// What the registration called it, since a probe has learnt what it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub given: Option<String>,
}

/// How often a server is asked where nothing else is said, ms.
pub const INTERVAL_MS: u64 = 30_000;
/// How long an answer may take where nothing else is said, ms.
pub const TIMEOUT_MS: u64 = 5_000;
/// From when on an answer is slow where nothing else is said, ms.
pub const SLOW_MS: u64 = 2_000;

impl Probing {
    /// What `probe` may hold.
    pub const SHAPE: Shape = Shape {
        members: &["url", "intervalMs", "timeoutMs", "slowMs"],
        nested: &[],
        fate: IGNORED,
    };

    /// Reads `{url?, intervalMs?, timeoutMs?, slowMs?}`, which stands at `base`. `own_url` is the server's own.
    ///
    /// # Errors
    /// Every mistake, by pointer.
    pub fn parse(
        value: JsonRef<'_>,
        base: &str,
        own_url: Option<&str>,
        transport: Option<Transport>,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::among(value, base, &Self::SHAPE)?;
        let url = fields.text("url", super::server::parse::MAX_URL_LEN);
        let url = url.or_else(|| own_url.map(str::to_owned));
        if url.is_none() {
            fields.wrong(
                "url",
                "is required where the server has no url of its own: where it is asked",
            );
        }
        if !matches!(transport, None | Some(Transport::Http | Transport::Sse)) {
            fields.wrong(
                "url",
                "can't be asked: only servers of the transports http and sse are probed; timeback-events wrap stands in front of one of stdio",
            );
        }
        let interval_ms = fields
            .number("intervalMs", 100..=3_600_000)
            .unwrap_or(INTERVAL_MS);
        let timeout_ms = fields
            .number("timeoutMs", 10..=60_000)
            .unwrap_or(TIMEOUT_MS);
        let slow_ms = fields.number("slowMs", 1..=60_000).unwrap_or(SLOW_MS);
        fields.finish(url.map(|url| Self {
            url,
            interval_ms,
            timeout_ms,
            slow_ms,
            of_file: false,
            given: None,
        }))
    }

    /// Whether both ask in the same way.
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        let of = |probing: &Self| {
            (
                probing.interval_ms,
                probing.timeout_ms,
                probing.slow_ms,
                probing.of_file,
            )
        };
        self.url == other.url && of(self) == of(other)
    }
}

/// What probes say of an instance: the standing word, and better ones that don't count yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeWord {
    /// What stands.
    pub verdict: Verdict,
    /// How bad that is, and why.
    pub report: Report,
}

impl ProbeWord {
    /// Nothing is known against it.
    #[must_use]
    pub fn well() -> Self {
        Self {
            verdict: Verdict::Healthy,
            report: Report::standing(Health::Healthy, None),
        }
    }

    /// Takes another word in; whether another health stands now. The same again says nothing new.
    pub fn take(
        &mut self,
        verdict: Verdict,
        health: Health,
        detail: &str,
        recover_after: u32,
    ) -> bool {
        if verdict == self.verdict && health == self.report.health {
            let same = self.report.detail.clone();
            return self.report.take(health, same.as_deref(), recover_after);
        }
        let before = self.report.health;
        self.report.take(health, Some(detail), recover_after);
        if self.report.health == health {
            self.verdict = verdict;
        }
        self.report.health != before
    }
}

/// What the last probe found, as a server's view shows it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeView {
    /// When it was, epoch ms; `null` if there was none since the hub started.
    pub at: Option<i64>,
    /// What it found; `null` likewise.
    pub verdict: Option<Verdict>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long the answer took, ms; `null` if there was none.
    pub latency_ms: Option<f64>,
    /// In which era it speaks; `null` if that isn't known.
    pub era: Option<Era>,
    /// Whether the session of an earlier probe served again.
    pub session_kept: bool,
    /// All protocol versions that it says it can speak.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub protocol_versions: Vec<String>,
    /// Failed probes in a row.
    pub failures: u32,
    /// How often it is asked.
    pub interval_ms: u64,
}

impl ProbeView {
    /// Of a server that wasn't asked yet.
    #[must_use]
    pub fn unasked(probing: &Probing) -> Self {
        Self {
            at: None,
            verdict: None,
            detail: None,
            latency_ms: None,
            era: None,
            session_kept: false,
            protocol_versions: Vec::new(),
            failures: 0,
            interval_ms: probing.interval_ms,
        }
    }
}
