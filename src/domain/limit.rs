//! Limits that an operator sets: each has one name, which answers and metrics use, and one setting.

use std::fmt;

use serde::{Serialize, Serializer};

/// Something that there may be only so much of, or that may take only so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The time that a request's head may take, and a handshake.
    HeaderTimeout,
    /// The time that a request's body may take.
    BodyTimeout,
    /// Bytes of a request's head.
    HeaderBytes,
    /// Lines of a request's head.
    HeaderLines,
    /// Bytes of a request's body.
    BodyBytes,
    /// Bytes of all bodies that are being read.
    BodiesBytes,
    /// Connections, streams included.
    Connections,
    /// Levels of nested arrays and objects.
    JsonDepth,
    /// Characters of an id.
    IdLength,
    /// Tags of one server, which its events carry.
    Tags,
    /// Servers in the state.
    Servers,
    /// Running workflows.
    Workflows,
    /// Steps of one workflow.
    Steps,
    /// Patterns in the state.
    Patterns,
    /// Event types of producers' own that are in use.
    CustomTypes,
    /// Open streams.
    Streams,
    /// Open streams of one address.
    StreamsPerAddress,
    /// Open streams of one token or key.
    StreamsPerToken,
    /// Requests per second of one address.
    RequestsPerAddress,
    /// Requests per second of one token or key.
    RequestsPerToken,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::HeaderBytes,
        Self::HeaderLines,
        Self::BodyBytes,
        Self::BodiesBytes,
        Self::Connections,
        Self::JsonDepth,
        Self::IdLength,
        Self::Tags,
        Self::Servers,
        Self::Workflows,
        Self::Steps,
        Self::Patterns,
        Self::CustomTypes,
        Self::Streams,
        Self::StreamsPerAddress,
        Self::StreamsPerToken,
        Self::RequestsPerAddress,
        Self::RequestsPerToken,
    ];

    /// Its name in answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// The variable that sets it.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        self.names().1
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::HeaderTimeout => ("header_timeout", "INTEGRATION_HEADER_TIMEOUT_MS"),
            Self::BodyTimeout => ("body_timeout", "INTEGRATION_BODY_TIMEOUT_MS"),
            Self::HeaderBytes => ("header_bytes", "INTEGRATION_MAX_HEADER_BYTES"),
            Self::HeaderLines => ("header_lines", "INTEGRATION_MAX_HEADER_LINES"),
            Self::BodyBytes => ("body_bytes", "INTEGRATION_MAX_BODY_BYTES"),
            Self::BodiesBytes => ("bodies_bytes", "INTEGRATION_MAX_BODIES_BYTES"),
            Self::Connections => ("connections", "INTEGRATION_MAX_CONNECTIONS"),
            Self::JsonDepth => ("json_depth", "INTEGRATION_MAX_JSON_DEPTH"),
            Self::IdLength => ("id_length", "INTEGRATION_MAX_ID_LENGTH"),
            Self::Tags => ("tags", "INTEGRATION_MAX_TAGS"),
            Self::Servers => ("servers", "INTEGRATION_MAX_SERVERS"),
            Self::Workflows => ("workflows", "INTEGRATION_MAX_WORKFLOWS"),
            Self::Steps => ("steps", "INTEGRATION_MAX_STEPS"),
            Self::Patterns => ("patterns", "INTEGRATION_MAX_PATTERNS"),
            Self::CustomTypes => ("custom_types", "INTEGRATION_MAX_CUSTOM_TYPES"),
            Self::Streams => ("streams", "INTEGRATION_SSE_MAX_CLIENTS"),
            Self::StreamsPerAddress => {
                ("streams_per_address", "INTEGRATION_MAX_STREAMS_PER_ADDRESS")
            }
            Self::StreamsPerToken => ("streams_per_token", "INTEGRATION_MAX_STREAMS_PER_TOKEN"),
            Self::RequestsPerAddress => (
                "requests_per_address",
                "INTEGRATION_MAX_REQUESTS_PER_ADDRESS",
            ),
            Self::RequestsPerToken => ("requests_per_token", "INTEGRATION_MAX_REQUESTS_PER_TOKEN"),
        }
    }

    /// Whether what one request asks for is too much by itself, so that it never passes; where not, it passes
    /// once there is less of it.
    #[must_use]
    pub const fn is_of_one_request(self) -> bool {
        matches!(
            self,
            Self::HeaderBytes
                | Self::HeaderLines
                | Self::BodyBytes
                | Self::JsonDepth
                | Self::IdLength
                | Self::Tags
                | Self::Steps
        )
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
