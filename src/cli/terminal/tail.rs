//! `tail`: the stream as lines. Events go to standard output; what the stream says about itself to standard error.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use clap::Args;
use jiff::Zoned;
use serde_json::Value;

use super::{
    Connection, Failure,
    text::{Screen, Tone, cut, json_line, pad, plain, width, wrap},
    text_of, when, words,
};
use crate::client::{EventStream, Exact, Query, StreamItem, Unreadable};

/// Follow events as they happen, and go on where it was after every interruption.
///
/// Events go to standard output, a line each. What the stream says about itself (that it is live, that events are
/// missing, that the hub is gone and when it is back) goes to standard error.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub(in crate::cli) struct Tail {
    /// Only events of these types, comma separated or repeated; a trailing * is a prefix (workflow_*).
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// Only events that concern these servers.
    #[arg(long, value_name = "ID")]
    server: Vec<String>,
    /// Only events that concern these workflows.
    #[arg(long, value_name = "ID")]
    workflow: Vec<String>,
    /// Only events of servers with this tag, key:value; repeated means all of them.
    #[arg(long, value_name = "KEY:VALUE")]
    tag: Vec<String>,
    /// Begin with what happened since then: an age (15m, 2h, 7d), RFC 3339 or epoch ms.
    #[arg(long, value_name = "TIME", group = "start")]
    since: Option<String>,
    /// Begin with the last N events that match.
    #[arg(long, value_name = "N", group = "start")]
    replay: Option<u32>,
    /// Begin right after this event, or with the oldest one that is kept (earliest).
    #[arg(long, value_name = "EVENT", group = "start")]
    after: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print each event's whole envelope, one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Follows until Ctrl-C.
pub(in crate::cli) fn run(tail: &Tail) -> ExitCode {
    super::run(follow(tail))
}

async fn follow(tail: &Tail) -> Result<ExitCode, Failure> {
    let client = tail.connection.client()?;
    let query = Query::default()
        .with_all("type", &tail.kind)
        .with_all("serverId", &tail.server)
        .with_all("workflowId", &tail.workflow)
        .with_all("tag", &tail.tag)
        .with_all("since", &tail.since)
        .with_all("replay", tail.replay.map(|n| n.to_string()))
        .with_all("lastEventId", &tail.after);
    let mut stream = client.events(query.as_str());
    let mut state = Notes::new(client.base());
    let mut lines = Lines::new(tail.json);
    let mut left = tail.count;
    loop {
        let item = tokio::select! {
            item = stream.next() => item?,
            stop = tokio::signal::ctrl_c() => {
                stop?;
                lines.flush()?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        if let StreamItem::Event(event) = &item {
            lines.event(&event.envelope)?;
            left = left.map(|left| left - 1);
        } else if let Some((tone, note)) = state.of(&item, &stream) {
            // In the order in which it happened, also where both go to the same terminal.
            lines.flush()?;
            let screen = Screen::stderr();
            for line in wrap(&format!("-- {note}"), screen.width(), MOST_LINES) {
                super::note(&screen.paint(tone, &line));
            }
        }
        if left == Some(0) {
            lines.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        if !stream.is_ready() {
            lines.flush()?;
        }
    }
}

/// What the stream says about itself, in words; the same thing only once.
struct Notes {
    base: String,
    connected_before: bool,
    last_cause: Option<String>,
}

impl Notes {
    fn new(base: &str) -> Self {
        Self {
            base: plain(base),
            connected_before: false,
            last_cause: None,
        }
    }

    fn of(&mut self, item: &StreamItem, stream: &EventStream) -> Option<(Tone, String)> {
        match item {
            StreamItem::Opened { verdict, data } => {
                self.last_cause = None;
                let back = std::mem::replace(&mut self.connected_before, true);
                Some(self.opened(verdict, data, back))
            }
            StreamItem::Gap(data) => {
                let words = gap(text_of(data, "reason"));
                Some((Tone::Bad, format!("gap: {words}")))
            }
            StreamItem::Unreadable(frame) => Some((Tone::Bad, unreadable(frame))),
            StreamItem::Closing { reason } => {
                let pause = stream.pause().unwrap_or_default();
                let note = format!("the hub closes the stream: {}", words::closing(reason));
                let pause = when::lasting(pause);
                self.once(&note)
                    .then(|| (Tone::Odd, format!("{note}; trying again in {pause}")))
            }
            StreamItem::Interrupted { cause, .. } => {
                let note = if self.connected_before {
                    format!("interrupted: {}", plain(cause))
                } else {
                    format!(
                        "the hub at {} can't be reached: {}",
                        self.base,
                        plain(cause)
                    )
                };
                self.once(&note)
                    .then(|| (Tone::Odd, format!("{note}; trying until it is back")))
            }
            StreamItem::Event(_) | StreamItem::Snapshot(_) | StreamItem::Bookmark(_) => None,
        }
    }

    fn opened(&self, verdict: &str, data: &Value, back: bool) -> (Tone, String) {
        match (verdict, back) {
            ("gap", _) => {
                let back = if back { "back, with a gap" } else { "gap" };
                let words = gap(text_of(data, "reason"));
                (Tone::Bad, format!("{back}: {words}"))
            }
            ("resumed", true) => (Tone::Quiet, "back: nothing was missed".to_owned()),
            (_, true) => (Tone::Quiet, "back".to_owned()),
            ("live", false) => (Tone::Quiet, format!("live at {}", self.base)),
            (_, false) => {
                let words = format!("at {}: what has happened, then live", self.base);
                (Tone::Quiet, words)
            }
        }
    }

    /// Whether this is news.
    fn once(&mut self, note: &str) -> bool {
        self.last_cause.replace(note.to_owned()).as_deref() != Some(note)
    }
}

/// Names the frame, so that whoever wants it whole can ask for it.
fn unreadable(frame: &Unreadable) -> String {
    let name = |text: &str, without: &str| match text {
        "" => without.to_owned(),
        text => cut(&plain(text), MOST_NAME),
    };
    format!(
        "a frame can't be shown ({}, {}): {}",
        name(&frame.event, "without a name"),
        name(&frame.id, "without an id"),
        plain(&frame.cause)
    )
}

fn gap(reason: &str) -> String {
    let words = match reason {
        "expired" => "events are missing here, they were older than what the hub keeps",
        "corrupt" => "events are missing here, they are damaged on the hub's disk",
        "unknown_log" => {
            "this hub has another log (wiped, restored or replaced), so events may be missing; \
             going on from the oldest one that it keeps"
        }
        "malformed" => {
            "that is no event's id, so events may be missing; going on from the oldest one that is kept"
        }
        other => return format!("events are missing here ({})", plain(other)),
    };
    words.to_owned()
}

/// Events as lines on standard output.
struct Lines {
    out: BufWriter<io::Stdout>,
    json: bool,
    /// The day that the last line belongs to.
    day: Zoned,
    subject: usize,
}

/// The longest type of the hub's own.
const KIND: usize = "integration_status_changed".len();
/// The column of subjects: at first, and at most on a narrow and on a wide screen.
const SUBJECT: (usize, usize, usize) = (14, 16, 28);
/// From how many columns on a screen is wide.
const WIDE: usize = 100;
/// Columns that a name may take in a note.
const MOST_NAME: usize = 60;
/// Lines that one event may take on a terminal.
const MOST_LINES: usize = 6;

impl Lines {
    fn new(json: bool) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            json,
            day: when::local(when::now_ms()),
            subject: SUBJECT.0,
        }
    }

    fn event(&mut self, envelope: &Exact) -> Result<(), Failure> {
        if self.json {
            writeln!(self.out, "{}", json_line(envelope))?;
            return Ok(());
        }
        let screen = Screen::stdout();
        let at = when::local(envelope["timestamp"].as_i64().unwrap_or_default());
        if at.date() != self.day.date() {
            let day = at.strftime("%A, %-d %B %Y").to_string();
            writeln!(self.out, "{}", screen.paint(Tone::Strong, &day))?;
            self.day = at.clone();
        }
        let told = words::tell(envelope);
        let most = if screen.width() < WIDE {
            SUBJECT.1
        } else {
            SUBJECT.2
        };
        self.subject = self.subject.max(width(&told.subject).min(most));
        let kind = plain(text_of(envelope, "type"));
        let line = row(&screen, &when::clock(&at), &kind, &told, self.subject);
        Ok(self.out.write_all(line.as_bytes())?)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// One event, with line ends: time, type, subject, words. On a terminal words go on below themselves; elsewhere a
/// line is as long as it has to be.
fn row(screen: &Screen, clock: &str, kind: &str, told: &words::Told, subject: usize) -> String {
    let narrow = screen.width() < WIDE;
    let kinds = if narrow { KIND - 3 } else { KIND };
    let fit = |text: &str, to: usize| match screen.size {
        Some(_) => pad(&cut(text, to), to),
        None => pad(text, to),
    };
    let mut line = format!(
        "{}  {}  {}",
        screen.paint(Tone::Quiet, clock),
        screen.paint(told.tone, &fit(kind, kinds)),
        screen.paint(Tone::Strong, &fit(&told.subject, subject)),
    );
    let indent = width(clock) + kinds + subject + 6;
    let room = screen.width().saturating_sub(indent).max(12);
    for (n, words) in wrap(&told.words, room, MOST_LINES).iter().enumerate() {
        if n > 0 {
            line.push('\n');
            line.push_str(&" ".repeat(indent - 2));
        }
        line.push_str("  ");
        line.push_str(words);
    }
    line.truncate(line.trim_end_matches(' ').len());
    line.push('\n');
    line
}
