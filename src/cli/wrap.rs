//! `wrap`: stands in front of a stdio MCP server's own command, and reports it.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Args;

use super::{failed, terminal::Connection};
use crate::{
    words::Span,
    wrap::{self, Options},
};

/// Run a stdio MCP server and report it to a hub. Client and server notice nothing: every byte passes as it is, and
/// a hub that is away, slow or refusing changes nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "In an MCP client's configuration, put `timeback-events wrap --` before the server's own command:\n\n  \
timeback-events wrap -- npx -y @modelcontextprotocol/server-filesystem /srv\n\n\
It ends as the server does, with its exit code (128 and the signal's number if it was killed; 127 and 126 if it can't be found or run). \
TIMEBACK_EVENTS_TOKEN holds the token of a hub that asks for one."
)]
pub(super) struct Wrap {
    /// The server's id; several wrappers with the same id are instances of one server. If it isn't given, it is made
    /// of the command, and another command of the same name gets :2, :3 and so on.
    #[arg(long, value_parser = id)]
    id: Option<String>,
    /// What people call it; if it isn't given, what the server calls itself.
    #[arg(long)]
    name: Option<String>,
    /// A label, key:value; repeated for more.
    #[arg(long, value_name = "KEY:VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// Append an event mcp.tool_called for each call of a tool: its name, duration, outcome and size, never its
    /// arguments or results.
    #[arg(long)]
    calls: bool,
    /// An answer that takes longer than this, such as 2s or 500ms, degrades the server.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    slow: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
    /// The server's own command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(wrap: Wrap) -> ExitCode {
    let options = Options {
        id: wrap.id,
        name: wrap.name,
        tags: wrap.tag,
        calls: wrap.calls,
        slow: wrap.slow,
        command: wrap.command,
    };
    let connection = wrap.connection;
    let connect = Box::new(move || connection.client().map_err(|why| why.to_string()));
    match wrap::run(options, connect) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if text.is_empty() || text.len() > 128 || !text.chars().all(fits) || text == "." || text == ".."
    {
        return Err(
            "an id is 1 to 128 letters, digits, dots, dashes, colons and underscores".to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    text.split_once([':', '='])
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "a tag looks like env:production".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match Span::parse(text) {
        Some(Span::Millis(ms)) => Ok(Duration::from_millis(ms)),
        _ => Err("a duration looks like 2s or 500ms".to_owned()),
    }
}
