//! `status`: the fleet at a glance, once or for as long as somebody watches.
//!
//! Watching asks again when the stream says that something happened (or, by a bookmark, that nothing did), never
//! because time passed.

mod board;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use tokio::time::{Instant, sleep_until};

use super::{
    Connection, Failure, say,
    text::{Screen, Tone, cut, json_line, plain},
    text_of, when,
    words::closing,
};
use crate::client::{Client, ClientError, Exact, StreamItem};

/// Show the fleet: every server with its health and why, running workflows, the whole.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub(in crate::cli) struct Status {
    /// Show it anew whenever something happens, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    /// Print the state as the hub gives it, one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Show servers that deregistered, too.
    #[arg(long, short)]
    all: bool,
    /// Exit with 1 where the whole isn't healthy.
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    connection: Connection,
}

/// However much happens, the state isn't asked for more often.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// Shows it.
pub(in crate::cli) fn run(status: &Status) -> ExitCode {
    super::run(async {
        let client = status.connection.client()?;
        let snapshot = if status.watch {
            tokio::select! {
                watched = watch(status, &client) => watched?,
                stop = tokio::signal::ctrl_c() => {
                    stop?;
                    return Ok(ExitCode::SUCCESS);
                }
            }
        } else {
            let snapshot = client.get("/snapshot").await?;
            status.print(&snapshot, &client)?;
            snapshot
        };
        let well = text_of(&snapshot, "status") == "healthy";
        Ok(ExitCode::from(u8::from(status.exit_code && !well)))
    })
}

impl Status {
    fn print(&self, snapshot: &Exact, client: &Client) -> Result<(), Failure> {
        if self.json {
            return say(&json_line(snapshot));
        }
        let screen = Screen::stdout();
        let lines = board::lay(snapshot, &screen, when::now_ms(), self.all, client.base());
        Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
    }
}

/// Shows every state after the first, too. Ends only where the hub refuses or nobody reads along.
async fn watch(status: &Status, client: &Client) -> Result<Exact, Failure> {
    let mut snapshot = client.get("/snapshot").await?;
    let mut view = View::open(status, client);
    let mut trouble = String::new();
    view.show(&snapshot, &trouble)?;
    // From the snapshot's own place on: nothing can happen unseen between the two.
    let mut stream = client.events("").after(text_of(&snapshot, "id"));
    let mut asked = Instant::now();
    let mut stale = false;
    loop {
        let item = tokio::select! {
            item = stream.next() => Some(item?),
            () = sleep_until(asked + SHORTEST_PAUSE), if stale => None,
        };
        match item {
            // The first words of the connection: only a resumption can bring news, and that comes as events.
            Some(StreamItem::Opened { .. }) if trouble.is_empty() => {}
            Some(StreamItem::Opened { .. }) => {
                trouble.clear();
                stale = true;
            }
            Some(
                StreamItem::Event(_)
                | StreamItem::Gap(_)
                | StreamItem::Bookmark(_)
                | StreamItem::Unreadable(_),
            ) => stale = true,
            Some(StreamItem::Snapshot(_)) => {}
            Some(StreamItem::Closing { reason }) => {
                let pause = stream.pause().unwrap_or_default();
                let pause = when::lasting(pause);
                trouble = format!(
                    "The hub has closed the stream, {}; trying again in {pause}.",
                    closing(&reason)
                );
                view.show(&snapshot, &trouble)?;
            }
            Some(StreamItem::Interrupted { cause, .. }) => {
                trouble = format!("The hub can't be reached: {}; trying again.", plain(&cause));
                view.show(&snapshot, &trouble)?;
            }
            None => {
                asked = Instant::now();
                match client.get("/snapshot").await {
                    Ok(fresh) => {
                        snapshot = fresh;
                        trouble.clear();
                    }
                    // The next word of the stream is the next try.
                    Err(error) if passes(&error) => {
                        trouble = format!("{}; trying again.", plain(&error.to_string()));
                    }
                    Err(error) => return Err(error.into()),
                }
                stale = false;
                view.show(&snapshot, &trouble)?;
            }
        }
    }
}

/// Whether a refusal may be another one in a moment.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused { status, .. } => status.is_server_error(),
        _ => false,
    }
}

/// The place where the state is shown again and again: a terminal's second screen, or plain output.
struct View<'a> {
    status: &'a Status,
    client: &'a Client,
    /// When the state that is shown was asked for, epoch ms.
    taken: i64,
    shown: Option<String>,
    on_terminal: bool,
}

/// The second screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

impl<'a> View<'a> {
    fn open(status: &'a Status, client: &'a Client) -> Self {
        let on_terminal = Screen::stdout().size.is_some() && !status.json;
        if on_terminal {
            let _ = write!(io::stdout(), "{ENTER}");
        }
        Self {
            status,
            client,
            taken: 0,
            shown: None,
            on_terminal,
        }
    }

    fn show(&mut self, snapshot: &Exact, trouble: &str) -> Result<(), Failure> {
        if trouble.is_empty() {
            self.taken = when::now_ms();
        }
        if self.status.json {
            // Whoever reads values wants to see each state once.
            let line = json_line(snapshot);
            if trouble.is_empty() && self.shown.as_ref() != Some(&line) {
                say(&line)?;
                self.shown = Some(line);
            }
            return Ok(());
        }
        let screen = Screen::stdout();
        let base = self.client.base();
        let mut lines = board::lay(snapshot, &screen, self.taken, self.status.all, base);
        let at = when::clock(&when::local(self.taken));
        let (tone, foot) = if trouble.is_empty() {
            (Tone::Quiet, format!("As of {at}. Ctrl-C ends."))
        } else {
            (Tone::Bad, format!("As of {at}. {trouble}"))
        };
        lines.push(String::new());
        lines.push(screen.paint(tone, &cut(&foot, screen.width())));
        let mut out = io::stdout().lock();
        let Some((_, rows)) = screen.size.filter(|_| self.on_terminal) else {
            writeln!(out, "{}\n", lines.join("\n"))?;
            return Ok(());
        };
        if lines.len() > rows.max(4) {
            let hidden = lines.len() - rows.max(4) + 1;
            let last = lines.pop().unwrap_or_default();
            lines.truncate(rows.max(4) - 2);
            lines.push(screen.paint(Tone::Quiet, &format!("… {hidden} more lines")));
            lines.push(last);
        }
        // Each line is cleared behind its end and nothing before: so nothing flickers.
        write!(
            out,
            "\u{1b}[H{}\u{1b}[K\u{1b}[J",
            lines.join("\u{1b}[K\r\n")
        )?;
        Ok(out.flush()?)
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if self.on_terminal {
            let _ = write!(io::stdout(), "{LEAVE}");
            let _ = io::stdout().flush();
        }
    }
}
