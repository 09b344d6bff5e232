//! Asks an MCP server over HTTP whether it is there, what it is and what it offers, as a client would, in whichever era
//! it speaks.
//!
//! Safe by construction: a name is resolved once, every address is checked, and one of those very addresses is
//! connected to ([`Permit`], `wire`); redirects aren't followed, proxies aren't used, answers are cut off at 1 MiB.
//! An endpoint that isn't known to be HTTP+SSE never sees a GET, at most one session is open ([`Kept`]), and what the
//! target's headers hold is in no finding, whoever sends it back.

mod allow;
mod answer;
mod conduct;
mod offers;
mod target;
mod wire;

use std::time::Duration;

use serde_json::Value;

use crate::domain::{
    event::Transport,
    probe::{Era, Verdict},
};

pub use allow::{Allow, Permit};
pub use conduct::{Kept, Prober};
pub use offers::hash;
pub use target::Target;

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For each answer.
    pub timeout: Duration,
    /// An answer that takes longer is slow.
    pub slow: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            slow: Duration::from_secs(2),
        }
    }
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// In one word.
    pub verdict: Verdict,
    /// Why, in a person's words.
    pub detail: String,
    /// How long the answer took; `None` if there was none.
    pub latency: Option<Duration>,
    /// In which era it speaks, if that is known.
    pub era: Option<Era>,
    /// Whether the session of an earlier probe served again.
    pub session_kept: bool,
    /// The server asks to be left alone for so long.
    pub retry_after: Option<Duration>,
    /// What it is and offers, if it said so.
    pub learned: Option<Box<Learned>>,
}

/// What a server says that it is and offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// What people call it.
    pub name: Option<String>,
    /// Its software's version.
    pub version: Option<String>,
    /// The protocol's version that was spoken.
    pub protocol_version: Option<String>,
    /// All that it says it can speak.
    pub protocol_versions: Vec<String>,
    /// How it was reached.
    pub transport: Transport,
    /// Its tools; `None` if it didn't say.
    pub tools: Option<Vec<Value>>,
    /// Its resources, likewise.
    pub resources: Option<Vec<Value>>,
    /// Its prompts, likewise.
    pub prompts: Option<Vec<Value>>,
}
