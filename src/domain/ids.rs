//! Names that clients choose: 1 to 128 of `A-Z a-z 0-9 . _ : -`, but neither `.` nor `..`. Parsed once at the edge, then
//! trusted; so no id can ever break an SSE line, a header, a log line or a path.

use std::{fmt, sync::Arc};

use super::limit::Limit;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Longest id, in bytes.
pub const MAX_ID_LEN: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Empty, or with another character in it.
    #[error("must be 1 to {MAX_ID_LEN} characters of A-Z a-z 0-9 . _ : -")]
    Malformed,
    /// Too long.
    #[error(
        "is longer than {MAX_ID_LEN} characters; ids are 1 to {MAX_ID_LEN} of A-Z a-z 0-9 . _ : -"
    )]
    TooLong,
    /// A path's own words for here and one up.
    #[error("must not be . or .., which clients take for steps within a path")]
    Dots,
}

impl InvalidId {
    /// The limit that it passes, where that is what is wrong.
    #[must_use]
    pub fn limit(self) -> Option<Limit> {
        (self == Self::TooLong).then_some(Limit::IdLength)
    }
}

/// Checks an id that somebody chooses.
fn check(text: &str) -> Result<(), InvalidId> {
    match text {
        "." | ".." => Err(InvalidId::Dots),
        _ => check_stored(text),
    }
}

/// Checks an id that was taken in once: logs of versions that took `.` and `..` stay readable.
fn check_stored(text: &str) -> Result<(), InvalidId> {
    let clean = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    match text.len() {
        1..=MAX_ID_LEN if clean => Ok(()),
        len if len > MAX_ID_LEN => Err(InvalidId::TooLong),
        _ => Err(InvalidId::Malformed),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// [`InvalidId`] where it is empty, too long or holds another character.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.into()))
            }

            /// Reads an id that was taken in once, as logs and snapshots hold it.
            ///
            /// # Errors
            /// [`InvalidId`] where no version ever took it.
            pub fn stored(text: &str) -> Result<Self, InvalidId> {
                check_stored(text).map(|()| Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::stored(&text).map_err(D::Error::custom)
            }
        }
    };
}

id!(
    /// An MCP server.
    ServerId
);

impl ServerId {
    /// The id of a server that named none: `srv-` and the UUID, which the edge made.
    #[must_use]
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(format!("srv-{uuid}").into())
    }
}

id!(
    /// One run of a server's process: a claim belongs to it, and a newer one replaces it.
    InstanceId
);
id!(
    /// A workflow.
    WorkflowId
);

impl WorkflowId {
    /// The id of a workflow that was given none: `wf-` and the UUID, which the edge made.
    #[must_use]
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(format!("wf-{uuid}").into())
    }
}

id!(
    /// A step within one workflow.
    StepId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_within_a_path_are_no_ids_but_stay_readable_in_old_logs() {
        for dots in [".", ".."] {
            assert_eq!(ServerId::parse(dots), Err(InvalidId::Dots));
            assert_eq!(dots.parse::<StepId>(), Err(InvalidId::Dots));
            assert!(ServerId::stored(dots).is_ok());
            assert!(serde_json::from_value::<WorkflowId>(dots.into()).is_ok());
        }
        for good in ["...", ".a", "a.", "-", ":"] {
            assert!(ServerId::parse(good).is_ok(), "{good}");
        }
        assert!(ServerId::stored("a b").is_err());
    }
}
