//! The state as lines of text: the whole, the servers with the worst first, the workflows that run. Pure.

use serde_json::Value;

use super::super::{
    text::{Screen, Tone, cut, pad, plain, width, wrap},
    text_of as text,
    when::{ago, span},
    words::{counted, reason},
};

/// The longest id that is shown whole in a column.
const ID: usize = 28;
/// Lines that a server's reason may take.
const MOST_LINES: usize = 3;
/// From how many columns on a screen has room for more about each server.
const WIDE: usize = 100;

/// Lays out a snapshot as it was at `now`.
pub(super) fn lay(
    snapshot: &Value,
    screen: &Screen,
    now: i64,
    all: bool,
    base: &str,
) -> Vec<String> {
    let mut lines = summary(snapshot, screen, base);
    let servers = servers(snapshot, screen, now, all);
    lines.push(String::new());
    if servers.rows.is_empty() {
        let how = "No server is registered. The first one:  timeback-events report server --id ID --name NAME";
        let room = screen.width();
        lines.extend(wrap(how, room, 9));
    } else {
        lines.extend(servers.lines(screen));
    }
    let workflows = workflows(snapshot, screen, now);
    if !workflows.rows.is_empty() {
        lines.push(String::new());
        lines.extend(workflows.lines(screen));
    }
    lines
}

fn summary(snapshot: &Value, screen: &Screen, base: &str) -> Vec<String> {
    let status = plain(text(snapshot, "status"));
    let stats = &snapshot["stats"];
    let number = |name: &str| stats[name].as_u64().unwrap_or_default();
    let mark = screen.paint(Tone::of_health(&status), &format!("● {status}"));
    let up = span(stats["uptimeMs"].as_i64().unwrap_or_default());
    let mut servers = format!(
        "{}, {} healthy",
        counted(number("connectedServers"), "server"),
        number("healthyServers")
    );
    if number("lostServers") > 0 {
        servers.push_str(&format!(", {} lost", number("lostServers")));
    }
    let listeners = counted(number("sseClients"), "listener");
    let about = screen.paint(Tone::Quiet, &format!("  up {up}, {listeners}"));
    let mut lines = vec![format!("{mark}  {}{about}", plain(base))];
    let work = format!(
        "{} running, {} completed, {} failed",
        counted(number("activeWorkflows"), "workflow"),
        number("completedWorkflows"),
        number("failedWorkflows"),
    );
    let whole = format!("{servers}  ·  {work}");
    if width(&whole) <= screen.width() {
        lines.push(whole);
    } else {
        lines.extend([servers, work]);
    }
    let mut warn = |words: &str| {
        for line in wrap(words, screen.width(), MOST_LINES) {
            lines.push(screen.paint(Tone::Odd, &line));
        }
    };
    if let Some(silent) = stats["selfSuspect"]["silent"].as_u64() {
        let who = counted(silent, "server");
        warn(&format!(
            "{who} fell silent at once, so the hub doubts itself and disconnects nobody for now"
        ));
    }
    if stats["starved"].is_object() {
        warn("The hub gets too little CPU time: its own timers are late");
    }
    if stats["unsaved"] == true {
        warn("The hub can't write its log: what it sees changing is in no event yet");
    }
    if stats["clockJump"].is_object() {
        warn("The hub's clock jumped forward, so nothing is pruned by age for now");
    }
    lines
}

fn servers(snapshot: &Value, screen: &Screen, now: i64, all: bool) -> Table {
    let wide = screen.width() >= WIDE;
    let mut head = vec!["SERVER", "HEALTH", "LAST SEEN"];
    if wide {
        head.extend(["OVER", "TOOLS"]);
    }
    head.push("WHY");
    let mut found: Vec<(u8, &str, Vec<Cell>)> = Vec::new();
    for server in list(snapshot, "servers") {
        let health = match (text(server, "status"), text(server, "reason")) {
            ("connected", _) => text(server, "health"),
            (_, "heartbeat_timeout") => "lost",
            // Of one that is gone the hub keeps evidence only where it was lost.
            _ if !text(server, "detail").is_empty() => "lost",
            _ if all => "gone",
            _ => continue,
        };
        let rank = match health {
            "lost" => 0,
            "unhealthy" => 1,
            "degraded" => 2,
            "healthy" => 3,
            _ => 4,
        };
        let seen = server["lastSeenAt"].as_i64();
        let seen = seen.map_or_else(String::new, |then| ago(now, then));
        let id = text(server, "id");
        let mut row = vec![
            Cell::of(Tone::Strong, id),
            Cell::of(Tone::of_health(health), health),
            Cell::of(Tone::Plain, &seen),
        ];
        if wide {
            let connection = &server["connection"];
            let tools = connection["capabilities"]["tools"].as_array();
            let tools = tools.map_or(0, Vec::len).to_string();
            row.push(Cell::of(Tone::Quiet, text(connection, "transport")));
            row.push(Cell::of(Tone::Quiet, &tools));
        }
        row.push(Cell::of(Tone::Plain, &why(server, health)));
        found.push((rank, id, row));
    }
    found.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    Table {
        head,
        rows: found.into_iter().map(|(_, _, row)| row).collect(),
    }
}

fn why(server: &Value, health: &str) -> String {
    let (word, detail) = (text(server, "reason"), text(server, "detail"));
    match (health, word, detail) {
        ("healthy", _, detail) => detail.to_owned(),
        ("lost", "heartbeat_timeout", _) => "no heartbeat, given up".to_owned(),
        ("lost", word, _) => reason(word),
        (_, word, "") => reason(word),
        (_, _, detail) => detail.to_owned(),
    }
}

fn workflows(snapshot: &Value, screen: &Screen, now: i64) -> Table {
    let bar_width = if screen.width() >= WIDE { 20 } else { 10 };
    let mut running: Vec<&Value> = list(snapshot, "workflows")
        .iter()
        .filter(|workflow| text(workflow, "status") == "running")
        .collect();
    running.sort_by_key(|workflow| workflow["startedAt"].as_i64());
    let rows = running.into_iter().map(|workflow| {
        let number = |name: &str| workflow[name].as_u64().unwrap_or_default();
        let (done, total) = (number("completedSteps"), number("totalSteps"));
        let since = now - workflow["startedAt"].as_i64().unwrap_or(now);
        vec![
            Cell::of(Tone::Strong, text(workflow, "id")),
            Cell::of(Tone::Good, &bar(done, total, bar_width)),
            Cell::of(Tone::Plain, &format!("{done}/{total}")),
            Cell::of(Tone::Plain, &span(since)),
            Cell::of(Tone::Plain, &doing(workflow)),
        ]
    });
    Table {
        head: vec!["WORKFLOW", "PROGRESS", "STEPS", "FOR", "NOW"],
        rows: rows.collect(),
    }
}

/// What a workflow does at this moment: the steps that run, and on which server; else what it waits for.
fn doing(workflow: &Value) -> String {
    let steps = list(workflow, "steps");
    let in_state = |state: &'static str| {
        steps
            .iter()
            .filter(move |step| text(step, "status") == state)
    };
    let running: Vec<String> = in_state("running")
        .map(|step| {
            let on = match text(step, "serverId") {
                "" => String::new(),
                server => format!(" on {server}"),
            };
            let attempt = match step["attempt"].as_u64() {
                Some(attempt) if attempt > 1 => format!(" (attempt {attempt})"),
                _ => String::new(),
            };
            format!("{}{on}{attempt}", text(step, "id"))
        })
        .collect();
    if !running.is_empty() {
        return running.join(", ");
    }
    let ready: Vec<String> = in_state("ready")
        .map(|step| match text(step, "server") {
            "" => text(step, "id").to_owned(),
            server => format!("{} (for {server})", text(step, "id")),
        })
        .collect();
    if ready.is_empty() {
        return "no step is ready".to_owned();
    }
    format!("waits for {}", ready.join(", "))
}

/// A bar of so many columns. It is full only when all is done, and empty only while nothing is.
fn bar(done: u64, total: u64, columns: usize) -> String {
    let all = columns as u64;
    let filled = match (done * all).checked_div(total) {
        None => 0,
        Some(0) if done > 0 => 1,
        Some(filled) => filled.min(all),
    };
    let filled = usize::try_from(filled).unwrap_or(columns);
    format!("{}{}", "█".repeat(filled), "░".repeat(columns - filled))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// One field of a table, clean.
struct Cell {
    tone: Tone,
    text: String,
}

impl Cell {
    fn of(tone: Tone, text: &str) -> Self {
        Self {
            tone,
            text: plain(text),
        }
    }
}

/// Columns as wide as their widest field; the last one takes what is left of the screen.
struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    fn lines(&self, screen: &Screen) -> Vec<String> {
        let last = self.head.len() - 1;
        let columns: Vec<usize> = (0..last)
            .map(|at| {
                let fields = self.rows.iter().map(|row| width(&row[at].text));
                let widest = fields.max().unwrap_or_default().min(ID);
                widest.max(self.head[at].len())
            })
            .collect();
        let indent: usize = columns.iter().map(|column| column + 2).sum();
        let room = screen.width().saturating_sub(indent).max(12);
        let mut head: String = (0..last)
            .map(|at| format!("{}  ", pad(self.head[at], columns[at])))
            .collect();
        head.push_str(self.head[last]);
        let mut lines = vec![screen.paint(Tone::Quiet, &head)];
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &column) in row.iter().zip(&columns) {
                // What is cut off can be had whole where the output is no terminal.
                let text = match screen.size {
                    Some(_) => cut(&cell.text, column),
                    None => cell.text.clone(),
                };
                line.push_str(&screen.paint(cell.tone, &text));
                line.push_str(&" ".repeat(column.saturating_sub(width(&text)) + 2));
            }
            let words = wrap(&row[last].text, room, MOST_LINES);
            for (n, words) in words.iter().enumerate() {
                if n > 0 {
                    line = " ".repeat(indent);
                }
                line.push_str(&screen.paint(row[last].tone, words));
                lines.push(line.trim_end().to_owned());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bar_is_full_only_at_the_end() {
        for (done, total, bar_is) in [
            (0, 0, "░░░░"),
            (0, 9, "░░░░"),
            (1, 99, "█░░░"),
            (2, 4, "██░░"),
            (98, 99, "███░"),
            (99, 99, "████"),
        ] {
            assert_eq!(bar(done, total, 4), bar_is, "{done} of {total}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_columns_stand_below_each_other() {
        let server = |id: &str, health: &str, status: &str, reason: &str, detail: &str| {
            json!({"id": id, "health": health, "status": status, "reason": reason, "detail": detail,
                   "lastSeenAt": 60_000, "connection": {"transport": "http", "capabilities": {"tools": [1, 2]}}})
        };
        let snapshot = json!({
            "status": "degraded",
            "servers": [
                server("alpha", "healthy", "connected", "", ""),
                server("beta\u{1b}[2J", "unhealthy", "connected", "missed_heartbeats", "3 heartbeats missed"),
                server("gone", "healthy", "disconnected", "deregistered", ""),
                server("lost", "unhealthy", "disconnected", "heartbeat_timeout", ""),
                server("died", "unhealthy", "disconnected", "out of memory", "no heartbeat for 40 s"),
            ],
            "workflows": [{"id": "wf", "status": "running", "startedAt": 98_800, "completedSteps": 1, "totalSteps": 2,
                "steps": [{"id": "a", "status": "completed"}, {"id": "b", "status": "running", "serverId": "alpha", "attempt": 2}]}],
            "stats": {"connectedServers": 2, "healthyServers": 1, "lostServers": 1, "activeWorkflows": 1, "uptimeMs": 5000}
        });
        let screen = Screen::PAPER;
        let lines = lay(&snapshot, &screen, 100_000, false, "http://hub");
        let expected = "\
● degraded  http://hub  up 5.0 s, 0 listeners
2 servers, 1 healthy, 1 lost  ·  1 workflow running, 0 completed, 0 failed

SERVER  HEALTH     LAST SEEN  OVER  TOOLS  WHY
died    lost       40 s ago   http  2      out of memory
lost    lost       40 s ago   http  2      no heartbeat, given up
beta    unhealthy  40 s ago   http  2      3 heartbeats missed
alpha   healthy    40 s ago   http  2

WORKFLOW  PROGRESS              STEPS  FOR    NOW
wf        ██████████░░░░░░░░░░  1/2    1.2 s  b on alpha (attempt 2)";
        assert_eq!(lines.join("\n"), expected);
    }
}
