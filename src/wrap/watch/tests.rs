use super::*;
use crate::wrap::lines::Lines;

/// A conversation in virtual time.
struct Talk {
    watch: Watch,
    now: Duration,
}

impl Talk {
    fn new(slow_ms: Option<u64>) -> Self {
        Self {
            watch: Watch::new(slow_ms.map(Duration::from_millis)),
            now: Duration::ZERO,
        }
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn says(&mut self, from: Side, message: &str) -> Vec<Fact> {
        let mut facts = Vec::new();
        let (watch, now) = (&mut self.watch, self.now);
        Lines::default().feed(format!("{message}\n").as_bytes(), |line| {
            facts.extend(watch.line(from, &line, now));
        });
        facts
    }

    fn client(&mut self, message: &str) -> Vec<Fact> {
        self.says(Side::Client, message)
    }

    fn server(&mut self, message: &str) -> Vec<Fact> {
        self.says(Side::Server, message)
    }

    fn health(&self) -> Health {
        self.watch.health(self.now)
    }
}

fn described(facts: &[Fact]) -> &Description {
    let [Fact::Described(description)] = facts else {
        panic!("one description: {facts:?}");
    };
    description
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","clientInfo":{"name":"desk","version":"2"}}}"#;
const INITIALIZED: &str = r#"{"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"files","version":"1.2"}},"jsonrpc":"2.0","id":0}"#;

#[test]
fn an_old_server_is_described_by_its_handshake_and_its_lists() {
    let mut talk = Talk::new(None);
    talk.client(INITIALIZE);
    let facts = talk.server(INITIALIZED);
    let description = described(&facts);
    assert_eq!(description.title.as_deref(), Some("files"));
    assert_eq!(description.version.as_deref(), Some("1.2"));
    assert_eq!(description.protocol_version.as_deref(), Some("2025-11-25"));
    assert_eq!(description.client.as_deref(), Some("desk 2"));

    talk.client(r#"{"id":1,"method":"tools/list"}"#);
    let first =
        r#"{"id":1,"result":{"tools":[{"name":"read","inputSchema":{}}],"nextCursor":"p2"}}"#;
    assert_eq!(talk.server(first), []);
    talk.client(r#"{"id":2,"method":"tools/list","params":{"cursor":"p2"}}"#);
    let facts = talk.server(r#"{"id":2,"result":{"tools":[{"name":"write"}]}}"#);
    let names: Vec<_> = described(&facts)
        .tools
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["read", "write"]);
}

#[test]
fn the_same_list_again_is_no_news_and_a_changed_schema_is() {
    let mut talk = Talk::new(None);
    let list = |schema: &str| {
        format!(r#"{{"id":1,"result":{{"tools":[{{"name":"read","inputSchema":{schema}}}]}}}}"#)
    };
    let ask = r#"{"id":1,"method":"tools/list"}"#;
    talk.client(ask);
    let before = described(&talk.server(&list(r#"{"type":"object"}"#)))
        .tools
        .clone();
    talk.client(ask);
    assert_eq!(talk.server(&list(r#"{"type":"object"}"#)), []);
    talk.client(ask);
    let facts = talk.server(&list(r#"{"type":"array"}"#));
    assert_ne!(described(&facts).tools[0]["hash"], before[0]["hash"]);
}

#[test]
fn a_client_that_only_looks_for_the_era_describes_nothing() {
    let mut talk = Talk::new(None);
    talk.client(r#"{"id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"desk"}}}}"#);
    let discovered = r#"{"id":1,"result":{"supportedVersions":["2026-07-28"],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"new","version":"3"}}}}"#;
    assert_eq!(talk.server(discovered), []);
    talk.client(r#"{"id":2,"method":"tools/list","params":{}}"#);
    let facts = talk.server(r#"{"id":2,"result":{"tools":[]}}"#);
    let description = described(&facts);
    assert_eq!(description.title.as_deref(), Some("new"));
    assert_eq!(description.protocol_version.as_deref(), Some("2026-07-28"));
    assert_eq!(description.client.as_deref(), Some("desk"));
}

#[test]
fn calls_end_well_badly_refused_or_unwanted() {
    let mut talk = Talk::new(None);
    talk.client(INITIALIZE);
    talk.server(INITIALIZED);
    let call = |id: u32| {
        format!(
            r#"{{"id":{id},"method":"tools/call","params":{{"name":"read","arguments":{{"path":"/secret"}}}}}}"#
        )
    };
    let mut outcomes = Vec::new();
    for (id, answer) in [
        (1, r#"{"id":1,"result":{"content":[]}}"#),
        (2, r#"{"id":2,"result":{"content":[],"isError":true}}"#),
        (3, r#"{"id":3,"error":{"code":-32602,"message":"no"}}"#),
    ] {
        talk.client(&call(id));
        let facts = talk.after(20).server(answer);
        let [Fact::Called(call)] = &facts[..] else {
            panic!("{facts:?}")
        };
        assert_eq!(
            (call.tool.as_str(), call.duration.as_millis()),
            ("read", 20)
        );
        outcomes.push(call.outcome.as_str());
    }
    talk.client(&call(4));
    let facts = talk.client(r#"{"method":"notifications/cancelled","params":{"requestId":4}}"#);
    let [Fact::Called(call)] = &facts[..] else {
        panic!("{facts:?}")
    };
    outcomes.push(call.outcome.as_str());
    assert_eq!(outcomes, ["ok", "tool_error", "error", "cancelled"]);
    assert_eq!(talk.watch.metrics()["calls"], 4);
    assert!(!talk.watch.is_asked());
}

#[test]
fn a_request_that_nothing_answers_for_a_minute_means_wedged() {
    let mut talk = Talk::new(None);
    talk.client(INITIALIZE);
    talk.server(INITIALIZED);
    talk.client(r#"{"id":1,"method":"tools/call","params":{"name":"slow"}}"#);
    talk.after(59_999);
    assert_eq!(talk.health(), Health::Healthy);
    talk.after(1);
    assert!(
        matches!(talk.health(), Health::Wedged(words) if words.contains("tools/call for 60 s"))
    );
    // Another answer shows that it lives, and so does progress.
    talk.client(r#"{"id":2,"method":"ping"}"#);
    talk.server(r#"{"id":2,"result":{}}"#);
    assert_eq!(talk.health(), Health::Healthy);
    talk.after(59_000);
    talk.server(r#"{"method":"notifications/progress","params":{"progress":1}}"#);
    talk.after(59_000);
    assert_eq!(talk.health(), Health::Healthy);
    talk.after(1_000);
    assert!(matches!(talk.health(), Health::Wedged(_)));
}

#[test]
fn what_lasts_on_purpose_or_was_asked_by_the_server_never_counts() {
    let mut talk = Talk::new(None);
    talk.client(r#"{"id":1,"method":"subscriptions/listen"}"#);
    talk.server(r#"{"id":1,"method":"sampling/createMessage"}"#);
    talk.after(600_000);
    assert_eq!(talk.health(), Health::Healthy);
    // The ids of the two sides are apart, and so are 1 and "1".
    talk.client(r#"{"id":"1","method":"ping"}"#);
    talk.client(r#"{"id":1,"result":{}}"#);
    assert!(talk.watch.is_asked());
}

#[test]
fn a_slow_answer_degrades_until_a_fast_one() {
    let mut talk = Talk::new(Some(1_000));
    talk.client(r#"{"id":1,"method":"tools/call","params":{"name":"a"}}"#);
    talk.after(1_500).server(r#"{"id":1,"result":{}}"#);
    assert_eq!(
        talk.health(),
        Health::Slow("tools/call took 1.5 s, slow from 1.0 s on".to_owned())
    );
    talk.client(r#"{"id":2,"method":"ping"}"#);
    talk.after(5).server(r#"{"id":2,"result":{}}"#);
    assert_eq!(talk.health(), Health::Healthy);
}

#[test]
fn batches_and_garbage_are_taken_as_they_come() {
    let mut talk = Talk::new(None);
    talk.client(
        r#"[{"id":1,"method":"ping"},{"id":2,"method":"tools/call","params":{"name":"x"}}]"#,
    );
    let facts = talk.server(r#"[{"id":1,"result":{}},{"id":2,"result":{"content":[]}}]"#);
    assert_eq!(facts.len(), 2);
    for garbage in [
        "hello",
        "{}",
        "[1,[2]]",
        r#"{"id":9,"result":{}}"#,
        r#"{"method":5,"id":{}}"#,
    ] {
        assert_eq!(talk.server(garbage), [], "{garbage}");
    }
    talk.watch.lost(talk.now);
    assert!(!talk.watch.is_asked());
}
