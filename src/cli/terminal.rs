//! What people type: `tail`, `status`, `report`. They see a hub only through [`crate::client`], as anybody does.
//!
//! Whatever came over the network is cleaned by [`text`] before a terminal sees it. Results go to standard
//! output, everything about them to standard error.

mod report;
mod status;
mod tail;
mod text;
mod when;
mod words;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use http::StatusCode;
use serde_json::Value;

pub(super) use self::{
    report::{Report, run as report},
    status::{Status, run as status},
    tail::{Tail, run as tail},
};
use crate::client::{Client, ClientError};

/// What is printed below the help of each of these commands.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused, or it failed; 2 wrong arguments, also where only \
the hub could tell; 3 the hub can't be reached; 4 it knows no such server, workflow or step (a server registers again); \
5 it conflicts with what is already so (another instance or attempt has taken over: stop).\n\n\
TIMEBACK_EVENTS_TOKEN holds the token of a hub that asks for one; it is never shown.";

/// How long a call waits for its answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which hub, and who asks.
#[derive(Debug, Clone, Args)]
pub(super) struct Connection {
    /// The hub's address.
    #[arg(
        long,
        env = "TIMEBACK_EVENTS_URL",
        default_value = "http://127.0.0.1:3001",
        global = true
    )]
    url: String,
    /// A file that holds the token; where it isn't named, TIMEBACK_EVENTS_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Connection {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                Failure::Usage(format!("the token file {}: {error}", path.display()))
            })?),
            None => std::env::var("TIMEBACK_EVENTS_TOKEN").ok(),
        };
        let token = token.as_deref().map(str::trim).filter(|t| !t.is_empty());
        let client = Client::new(&self.url, token)?;
        if token.is_some() && !travels_safely(&self.url) {
            note("warning: the token travels unencrypted; use https:// beyond this machine");
        }
        Ok(client.patience(PATIENCE))
    }
}

/// Whether nobody between here and there can read along.
fn travels_safely(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    uri.scheme_str() == Some("https")
        || host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why a command didn't do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The arguments can't be meant.
    #[error("{0}")]
    Usage(String),
    /// The hub, or the way to it.
    #[error(transparent)]
    Hub(#[from] ClientError),
    /// Standard output, or the machine.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Hub(ClientError::Address(_) | ClientError::Token) => 2,
            Self::Hub(ClientError::Unreachable { .. }) => 3,
            Self::Hub(ClientError::Refused { status, .. }) => match *status {
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => 2,
                StatusCode::NOT_FOUND | StatusCode::GONE => 4,
                StatusCode::CONFLICT => 5,
                _ => 1,
            },
            Self::Hub(_) | Self::Io(_) => 1,
        }
    }

    /// In a person's words, a line per mistake.
    fn tell(&self) -> String {
        let Self::Hub(ClientError::Refused {
            status,
            detail,
            problem,
            ..
        }) = self
        else {
            return text::plain(&self.to_string());
        };
        let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let mut told = text::plain(detail);
        if errors.len() > 1 {
            // The hub points into its answer; here it is shown.
            if let Some((words, _)) = told.split_once("; `errors`") {
                told = format!("{words}:");
            }
            for error in errors {
                let part = |name: &str| text::plain(error[name].as_str().unwrap_or_default());
                told.push_str(&format!("\n  {}: {}", part("pointer"), part("detail")));
            }
        }
        if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            told.push_str(
                "\nName a token that may do this: TIMEBACK_EVENTS_TOKEN or --token-file.",
            );
        }
        told
    }
}

/// Runs a command to its end, and tells what went wrong.
fn run<F: Future<Output = Result<ExitCode, Failure>>>(command: F) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(code) => code,
        // Whoever read along has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            note(&format!("error: {}", failure.tell()));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// One line to standard error. That nobody reads it is no reason to stop.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// One line to standard output.
fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// A text member of an object; empty where there is none.
fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(status: u16, problem: Value) -> Failure {
        Failure::Hub(ClientError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            slug: String::new(),
            detail: text_of(&problem, "detail").to_owned(),
            problem: Box::new(problem.into()),
        })
    }

    #[test]
    fn a_refusal_is_told_in_words_and_cleaned() {
        let failure = refused(
            422,
            json!({"detail": "2 fields are wrong\u{1b}[31m; `errors` names each", "errors": [
                {"pointer": "/name", "detail": "is required"},
                {"pointer": "/transport", "detail": "must be\nhttp"}
            ]}),
        );
        assert_eq!(
            failure.tell(),
            "2 fields are wrong:\n  /name: is required\n  /transport: must be http"
        );
        assert!(refused(401, json!({})).tell().contains("--token-file"));
    }

    #[test]
    fn scripts_can_tell_refusals_apart() {
        for (status, code) in [(400, 2), (422, 2), (401, 1), (404, 4), (409, 5), (507, 1)] {
            assert_eq!(refused(status, json!({})).exit_code(), code, "{status}");
        }
    }

    #[test]
    fn a_token_is_safe_on_this_machine_and_within_tls() {
        for (url, safe) in [
            ("http://127.0.0.1:3001", true),
            ("http://[::1]:3001", true),
            ("http://localhost:1", true),
            ("https://hub.example", true),
            ("http://hub.example", false),
        ] {
            assert_eq!(travels_safely(url), safe, "{url}");
        }
    }
}
