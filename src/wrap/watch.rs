//! What the lines between a client and a server tell about the server. Pure: lines and times in, facts out.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::lines::Line;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Client,
    Server,
}

/// What is learnt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    /// What the server is and offers, as far as it is known: the server has answered for the first time, or
    /// something of it changed.
    Described(Box<Description>),
    /// A tool's call has ended.
    Called(Call),
}

/// A server as its client sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Description {
    /// `serverInfo`: what people call it.
    pub(super) title: Option<String>,
    pub(super) version: Option<String>,
    pub(super) protocol_version: Option<String>,
    /// The client that speaks to it: name and version.
    pub(super) client: Option<String>,
    pub(super) tools: Vec<Value>,
    pub(super) resources: Vec<Value>,
    pub(super) prompts: Vec<Value>,
}

/// One call of a tool: never its arguments or its result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) tool: String,
    pub(super) duration: Duration,
    pub(super) outcome: Outcome,
    /// The answer's length.
    pub(super) bytes: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// The tool itself says that it failed.
    ToolError,
    /// The server refused the call.
    Error,
    /// The client didn't want it any more.
    Cancelled,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How the server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    /// Answers, but later than it should; in words.
    Slow(String),
    /// Doesn't answer; in words.
    Wedged(String),
}

/// Follows one conversation.
#[derive(Debug)]
pub(super) struct Watch {
    slow: Option<Duration>,
    pending: HashMap<(Side, String), Pending>,
    /// When the server last wrote anything that answers.
    answered_at: Duration,
    last_slow: Option<String>,
    description: Description,
    known: bool,
    lists: [List; 3],
    counts: Counts,
    latencies: VecDeque<Duration>,
}

#[derive(Debug)]
struct Pending {
    method: String,
    since: Duration,
    /// What the request names: a tool, or the next page of a list.
    about: Option<String>,
    /// It ends when its client ends it, and so never counts as unanswered.
    lasting: bool,
}

/// A list that comes in pages.
#[derive(Debug, Default)]
struct List {
    so_far: Vec<Value>,
}

#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    tool_errors: u64,
    errors: u64,
    unread_lines: u64,
}

impl Watch {
    /// `slow`: an answer that takes longer degrades the server.
    pub(super) fn new(slow: Option<Duration>) -> Self {
        Self {
            slow,
            pending: HashMap::new(),
            answered_at: Duration::ZERO,
            last_slow: None,
            description: Description::default(),
            known: false,
            lists: Default::default(),
            counts: Counts::default(),
            latencies: VecDeque::new(),
        }
    }

    /// Takes in a line that `from` wrote at `now`, counted from the start.
    pub(super) fn line(&mut self, from: Side, line: &Line, now: Duration) -> Vec<Fact> {
        let mut facts = Vec::new();
        if line.envelope.batch {
            for message in batch(line) {
                self.message(from, &message, now, &mut facts);
            }
        } else {
            self.message(from, line, now, &mut facts);
        }
        facts
    }

    /// Bytes passed unseen: what was asked may be answered by now.
    pub(super) fn lost(&mut self, now: Duration) {
        self.pending.clear();
        self.answered_at = now;
    }

    /// Whether the client waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        self.pending
            .iter()
            .any(|((side, _), pending)| *side == Side::Client && !pending.lasting)
    }

    /// How the server does at `now`.
    pub(super) fn health(&self, now: Duration) -> Health {
        let oldest = self
            .pending
            .iter()
            .filter(|((side, _), pending)| *side == Side::Client && !pending.lasting)
            .map(|(_, pending)| pending)
            .min_by_key(|pending| pending.since);
        if let Some(oldest) = oldest {
            let silent = now.saturating_sub(oldest.since.max(self.answered_at));
            if silent >= WEDGED_AFTER {
                let waited = now.saturating_sub(oldest.since).as_secs();
                return Health::Wedged(format!(
                    "no answer to {} for {waited} s, nor to anything else",
                    oldest.method
                ));
            }
        }
        match &self.last_slow {
            Some(words) => Health::Slow(words.clone()),
            None => Health::Healthy,
        }
    }

    /// Counts and latencies, as a heartbeat's `metrics`.
    pub(super) fn metrics(&self) -> Map<String, Value> {
        let mut metrics = Map::new();
        let mut put = |name: &str, value: Value| drop(metrics.insert(name.to_owned(), value));
        put("calls", json!(self.counts.calls));
        put("toolErrors", json!(self.counts.tool_errors));
        put("errors", json!(self.counts.errors));
        if self.counts.unread_lines > 0 {
            put("unreadLines", json!(self.counts.unread_lines));
        }
        let mut sorted: Vec<_> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        for (name, part) in [("p50Ms", 50), ("p99Ms", 99)] {
            if let Some(latency) =
                sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1)))
            {
                let ms = latency.as_secs_f64() * 1000.0;
                put(name, json!((ms * 100.0).round() / 100.0));
            }
        }
        metrics
    }

    fn message(&mut self, from: Side, line: &Line, now: Duration, facts: &mut Vec<Fact>) {
        let envelope = &line.envelope;
        match (&envelope.method, &envelope.id) {
            (Some(method), Some(id)) => self.request(from, id, method, line, now),
            (Some(method), None) => self.notification(from, method, line, now, facts),
            (None, Some(id)) if envelope.result || envelope.error => {
                let asker = match from {
                    Side::Client => Side::Server,
                    Side::Server => Side::Client,
                };
                if let Some(pending) = self.pending.remove(&(asker, id.clone()))
                    && from == Side::Server
                {
                    self.answer(&pending, line, now, facts);
                }
            }
            // An error without an id answers something that couldn't be read.
            (None, None) if envelope.error => self.answered_at = now,
            _ => self.counts.unread_lines += 1,
        }
    }

    fn request(&mut self, from: Side, id: &str, method: &str, line: &Line, now: Duration) {
        if from == Side::Client {
            self.note_client(line);
        }
        if self.pending.len() >= MOST_PENDING {
            return;
        }
        let about = match method {
            "tools/call" => read::<NamedParams>(line).and_then(|read| read.params.name),
            "tools/list" | "resources/list" | "prompts/list" => {
                read::<PageParams>(line).and_then(|read| read.params.cursor)
            }
            _ => None,
        };
        let pending = Pending {
            method: method.to_owned(),
            since: now,
            about,
            lasting: matches!(method, "subscriptions/listen" | "events/stream"),
        };
        self.pending.insert((from, id.to_owned()), pending);
    }

    fn notification(
        &mut self,
        from: Side,
        method: &str,
        line: &Line,
        now: Duration,
        facts: &mut Vec<Fact>,
    ) {
        match method {
            "notifications/cancelled" => {
                let Some(id) =
                    read::<Cancelled>(line).map(|read| read.params.request_id.to_string())
                else {
                    return;
                };
                if let Some(pending) = self.pending.remove(&(from, id))
                    && from == Side::Client
                {
                    self.called(&pending, Outcome::Cancelled, 0, now, facts);
                }
            }
            // Work goes on: whoever says so isn't wedged.
            "notifications/progress" if from == Side::Server => self.answered_at = now,
            _ => {}
        }
    }

    fn answer(&mut self, pending: &Pending, line: &Line, now: Duration, facts: &mut Vec<Fact>) {
        self.answered_at = now;
        let took = now.saturating_sub(pending.since);
        if !pending.lasting {
            self.time(pending, took);
        }
        let error = line.envelope.error;
        if error {
            self.counts.errors += 1;
        }
        let mut changed = false;
        match pending.method.as_str() {
            "initialize" if !error => changed = self.initialized(line),
            // It answers nothing about the server that a client of the old era would see, and a client that only
            // looks which era the server speaks asks nothing else.
            "server/discover" => {
                self.discovered(line);
                return;
            }
            "tools/list" if !error => changed = self.listed(0, pending, line),
            "resources/list" if !error => changed = self.listed(1, pending, line),
            "prompts/list" if !error => changed = self.listed(2, pending, line),
            "tools/call" => {
                let outcome = match (error, read::<ToolResult>(line)) {
                    (true, _) => Outcome::Error,
                    (false, Some(read)) if read.result.is_error => Outcome::ToolError,
                    (false, _) => Outcome::Ok,
                };
                self.called(pending, outcome, line.bytes, now, facts);
            }
            _ => {}
        }
        if changed || !self.known {
            self.known = true;
            facts.push(Fact::Described(Box::new(self.description.clone())));
        }
    }

    fn time(&mut self, pending: &Pending, took: Duration) {
        if self.latencies.len() == LATENCIES {
            self.latencies.pop_front();
        }
        self.latencies.push_back(took);
        self.last_slow = self.slow.filter(|slow| took > *slow).map(|slow| {
            format!(
                "{} took {:.1} s, slow from {:.1} s on",
                pending.method,
                took.as_secs_f64(),
                slow.as_secs_f64()
            )
        });
    }

    fn called(
        &mut self,
        pending: &Pending,
        outcome: Outcome,
        bytes: u64,
        now: Duration,
        facts: &mut Vec<Fact>,
    ) {
        if pending.method != "tools/call" {
            return;
        }
        self.counts.calls += 1;
        if outcome == Outcome::ToolError {
            self.counts.tool_errors += 1;
        }
        facts.push(Fact::Called(Call {
            tool: pending.about.clone().unwrap_or_default(),
            duration: now.saturating_sub(pending.since),
            outcome,
            bytes,
        }));
    }

    /// Who the client is: of `initialize`, or of any request of the newer era.
    fn note_client(&mut self, line: &Line) {
        if self.description.client.is_some() {
            return;
        }
        let Some(read) = read::<ClientParams>(line) else {
            return;
        };
        let info = read.params.client_info.or(read.params.meta.client_info);
        self.description.client = info.map(|info| info.in_words());
    }

    fn initialized(&mut self, line: &Line) -> bool {
        let Some(Initialized { result }) = read(line) else {
            return false;
        };
        let before = self.description.clone();
        self.description.protocol_version = result.protocol_version;
        self.note_server(result.server_info);
        before != self.description
    }

    fn discovered(&mut self, line: &Line) {
        let Some(Discovered { result }) = read(line) else {
            return;
        };
        self.note_server(result.meta.server_info);
        if self.description.protocol_version.is_none() {
            self.description.protocol_version = result.supported_versions.into_iter().next();
        }
    }

    fn note_server(&mut self, info: Option<Info>) {
        if let Some(info) = info {
            self.description.title = info.title.or(info.name).filter(|name| !name.is_empty());
            self.description.version = info.version.filter(|version| !version.is_empty());
        }
    }

    /// A page of a list: once the last has come, the whole is what the server offers. Whether that is news.
    fn listed(&mut self, which: usize, pending: &Pending, line: &Line) -> bool {
        let Some(Listed { result }) = read(line) else {
            return false;
        };
        let (list, next) = match which {
            0 => (result.tools, result.next_cursor),
            1 => (result.resources, result.next_cursor),
            _ => (result.prompts, result.next_cursor),
        };
        let kept = &mut self.lists[which].so_far;
        if pending.about.is_none() {
            kept.clear();
        }
        kept.extend(list.iter().filter_map(offered));
        kept.truncate(MOST_OFFERED);
        if next.is_some() {
            return false;
        }
        let whole = std::mem::take(kept);
        let known = match which {
            0 => &mut self.description.tools,
            1 => &mut self.description.resources,
            _ => &mut self.description.prompts,
        };
        let changed = *known != whole;
        *known = whole;
        changed
    }
}

/// What one entry of a list offers: its name, its description, and a hash of its whole surface.
fn offered(entry: &Value) -> Option<Value> {
    let name = entry["name"].as_str().or_else(|| entry["uri"].as_str())?;
    let mut surface = entry.clone();
    if let Some(object) = surface.as_object_mut() {
        object.remove("_meta");
    }
    surface.sort_all_objects();
    let hash = Sha256::digest(surface.to_string());
    let hash: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut offered = json!({"name": clipped(name, LONGEST_NAME), "hash": hash});
    if let Some(uri) = entry["uri"].as_str() {
        offered["uri"] = json!(clipped(uri, LONGEST_DESCRIPTION));
    }
    if let Some(description) = entry["description"].as_str() {
        offered["description"] = json!(clipped(description, LONGEST_DESCRIPTION));
    }
    Some(offered)
}

/// At most so many characters of a text.
pub(super) fn clipped(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(end, _)| &text[..end])
}

/// The messages of a batch, each as a line of its own.
fn batch(line: &Line) -> Vec<Line> {
    let messages: Vec<&serde_json::value::RawValue> =
        serde_json::from_slice(&line.text).unwrap_or_default();
    messages
        .into_iter()
        .map(|message| {
            let text = message.get().as_bytes().to_vec();
            let mut scanner = super::envelope::Scanner::default();
            scanner.feed(&text);
            Line {
                envelope: scanner.finish(),
                bytes: text.len() as u64,
                text,
            }
        })
        .filter(|line| !line.envelope.batch)
        .collect()
}

fn read<'a, T: Deserialize<'a>>(line: &'a Line) -> Option<T> {
    serde_json::from_slice(&line.text).ok()
}

#[derive(Deserialize)]
struct NamedParams {
    params: Named,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

#[derive(Deserialize)]
struct PageParams {
    #[serde(default)]
    params: Page,
}

#[derive(Deserialize, Default)]
struct Page {
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Cancelled<'a> {
    #[serde(borrow)]
    params: CancelledParams<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelledParams<'a> {
    #[serde(borrow)]
    request_id: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct ToolResult {
    result: ToolOutcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolOutcome {
    #[serde(default)]
    is_error: bool,
}

#[derive(Deserialize)]
struct ClientParams {
    #[serde(default)]
    params: WithClient,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WithClient {
    client_info: Option<Info>,
    #[serde(rename = "_meta")]
    meta: ClientMeta,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClientMeta {
    #[serde(rename = "io.modelcontextprotocol/clientInfo")]
    client_info: Option<Info>,
}

#[derive(Deserialize)]
struct Initialized {
    result: InitializeResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult {
    protocol_version: Option<String>,
    server_info: Option<Info>,
}

#[derive(Deserialize)]
struct Discovered {
    result: DiscoverResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult {
    #[serde(default)]
    supported_versions: Vec<String>,
    #[serde(rename = "_meta", default)]
    meta: ServerMeta,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerMeta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    name: Option<String>,
    title: Option<String>,
    version: Option<String>,
}

impl Info {
    fn in_words(&self) -> String {
        let name = self.name.as_deref().unwrap_or("unknown");
        let words = match self
            .version
            .as_deref()
            .filter(|version| !version.is_empty())
        {
            Some(version) => format!("{name} {version}"),
            None => name.to_owned(),
        };
        clipped(&words, LONGEST_NAME).to_owned()
    }
}

#[derive(Deserialize)]
struct Listed {
    result: ListResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ListResult {
    tools: Vec<Value>,
    resources: Vec<Value>,
    prompts: Vec<Value>,
    next_cursor: Option<String>,
}

/// A request that is unanswered for so long, while nothing else is answered, means that the server is wedged.
const WEDGED_AFTER: Duration = Duration::from_secs(60);
/// Requests that are remembered at a time. More than that isn't followed; it still passes.
const MOST_PENDING: usize = 4096;
/// The newest answers that latencies are of.
const LATENCIES: usize = 512;
/// Tools, resources or prompts that are reported, each.
const MOST_OFFERED: usize = 500;
/// Longest name that is reported, in characters.
const LONGEST_NAME: usize = 120;
/// Longest description that is reported, in characters; a change beyond it shows in the hash.
const LONGEST_DESCRIPTION: usize = 160;

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
