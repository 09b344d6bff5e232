//! `report`: what a shell script has to tell a hub. Prints the one thing that a script goes on with.

mod step;

use std::{
    io::{self, Read as _},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use self::step::StepSpec;
use super::{
    Connection, Failure, say,
    text::{json_line, plain},
    text_of,
};
use crate::client::{Client, Exact};

/// Report to a hub, as a server or as whoever coordinates: what a shell script needs.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub(in crate::cli) struct Report {
    #[command(subcommand)]
    what: What,
    /// Print the hub's whole answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Register a server, or renew its registration; prints its id.
    Server(Server),
    /// Send a heartbeat; prints the server's health as the hub sees it.
    Heartbeat {
        /// The server.
        id: String,
        /// The server's own health.
        #[arg(long, value_enum)]
        health: Option<Health>,
        /// Why it is so, in words.
        #[arg(long)]
        detail: Option<String>,
        /// The instance that sends it.
        #[arg(long, value_name = "ID")]
        instance: Option<String>,
    },
    /// Deregister a server.
    Gone {
        /// The server.
        id: String,
        /// Why, in words.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Start a workflow, from a file or from steps; prints its id.
    Workflow(Workflow),
    /// Claim a step or report its end; prints the attempt of a claim, else the step's status.
    Step(Step),
    /// Append an event; prints its id.
    Event {
        /// Its type: a dotted name (grades.synced), custom_…, or one of the hub's own.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The server that it concerns.
        #[arg(long, value_name = "ID")]
        server: Option<String>,
        /// What happened: JSON, or @FILE, or @- for standard input.
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Server {
    /// Its id; where it isn't given, the hub makes one.
    #[arg(long)]
    id: Option<String>,
    /// What people call it.
    #[arg(long)]
    name: String,
    /// How clients reach it.
    #[arg(long, value_enum, default_value = "stdio")]
    transport: Transport,
    /// Where clients reach it.
    #[arg(long, value_name = "URL")]
    at: Option<String>,
    /// Its version. (Not --version, which is that of this command.)
    #[arg(long, value_name = "VERSION")]
    server_version: Option<String>,
    /// A label, key=value; repeated for more.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    tag: Vec<(String, String)>,
    /// A tool that it has, by name; repeated for more.
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// A resource that it has; repeated for more.
    #[arg(long, value_name = "NAME")]
    resource: Vec<String>,
    /// A prompt that it has; repeated for more.
    #[arg(long, value_name = "NAME")]
    prompt: Vec<String>,
    /// How often it will send a heartbeat.
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// This run of it: another one takes the server's place.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
}

#[derive(Debug, Args)]
struct Workflow {
    /// The body of POST /workflows, as a file of JSON; - is standard input.
    #[arg(required_unless_present_any = ["name", "step"], conflicts_with_all = ["name", "step", "description", "timeout_ms"])]
    file: Option<std::path::PathBuf>,
    /// Its id; where it isn't given, that of the file, or the hub makes one.
    #[arg(long)]
    id: Option<String>,
    /// What people call it.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// A step: ID[,after=STEP][,server=ID][,tool=NAME][,retries=N][,timeout=MS][,optional]; repeated for more, `after` too.
    #[arg(long, value_name = "STEP")]
    step: Vec<StepSpec>,
    /// How long it may take as a whole.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
}

#[derive(Debug, Args)]
struct Step {
    /// The workflow.
    workflow: String,
    /// The step.
    step: String,
    /// What it does now.
    #[arg(value_enum)]
    status: StepStatus,
    /// The server that does it.
    #[arg(long, value_name = "ID")]
    server: Option<String>,
    /// The attempt that this is about, as its claim printed it.
    #[arg(long, value_name = "N")]
    attempt: Option<u64>,
    /// What came out: JSON, or @FILE, or @- for standard input.
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    /// What went wrong, in words.
    #[arg(long)]
    error: Option<String>,
    /// The instance that does it.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
}

/// A word of the contract as an argument.
macro_rules! words {
    ($name:ident: $($variant:ident = $word:literal),+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        enum $name { $(#[value(name = $word)] $variant),+ }

        impl $name {
            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words!(Health: Healthy = "healthy", Degraded = "degraded", Unhealthy = "unhealthy");
words!(Transport: Stdio = "stdio", Sse = "sse", Http = "http", Websocket = "websocket");
words!(StepStatus: Running = "running", Completed = "completed", Failed = "failed");

/// Reports it.
pub(in crate::cli) fn run(report: &Report) -> ExitCode {
    super::run(async {
        let client = report.connection.client()?;
        let (answer, short) = report.what.carry_out(&client).await?;
        if report.json {
            if !answer.is_null() {
                say(&json_line(&answer))?;
            }
        } else if !short.is_empty() {
            say(&plain(&short))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl What {
    /// The hub's answer, and what a script wants of it.
    async fn carry_out(&self, client: &Client) -> Result<(Exact, String), Failure> {
        let of = |answer: Exact, name: &str| {
            let short = text_of(&answer, name).to_owned();
            (answer, short)
        };
        Ok(match self {
            Self::Server(server) => of(client.register(&server.body()).await?, "id"),
            Self::Heartbeat {
                id,
                health,
                detail,
                instance,
            } => {
                let body = object([
                    ("health", health.map(|health| json!(health.word()))),
                    ("detail", given(detail)),
                    ("instanceId", given(instance)),
                ]);
                of(client.heartbeat(id, &body).await?, "health")
            }
            Self::Gone { id, reason } => {
                client.deregister(id, reason.as_deref()).await?;
                (Value::Null.into(), String::new())
            }
            Self::Workflow(workflow) => of(client.start_workflow(&workflow.body()?).await?, "id"),
            Self::Step(step) => {
                let answer = client
                    .report_step(&step.workflow, &step.step, &step.body()?)
                    .await?;
                match step.status {
                    StepStatus::Running => {
                        let attempt = answer["attempt"].to_string();
                        (answer, attempt)
                    }
                    _ => of(answer, "status"),
                }
            }
            Self::Event { kind, server, data } => {
                let data = data.as_deref().map(|data| json_argument("--data", data));
                let data = data.transpose()?.unwrap_or_else(|| json!({}).into());
                let answer = client.emit(kind, server.as_deref(), &data).await?;
                let id = answer["ids"][0].as_str().unwrap_or_default().to_owned();
                (answer, id)
            }
        })
    }
}

impl Server {
    fn body(&self) -> Value {
        let named = |names: &[String]| (!names.is_empty()).then(|| json!(names));
        let capabilities = object([
            ("tools", named(&self.tool)),
            ("resources", named(&self.resource)),
            ("prompts", named(&self.prompt)),
        ]);
        let tags: Map<String, Value> = self
            .tag
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        object([
            ("id", given(&self.id)),
            ("name", Some(json!(self.name))),
            ("transport", Some(json!(self.transport.word()))),
            ("url", given(&self.at)),
            ("version", given(&self.server_version)),
            ("capabilities", Some(capabilities)),
            ("tags", (!tags.is_empty()).then_some(Value::Object(tags))),
            ("heartbeatIntervalMs", self.heartbeat_ms.map(|ms| json!(ms))),
            ("instanceId", given(&self.instance)),
        ])
    }
}

impl Workflow {
    fn body(&self) -> Result<Exact, Failure> {
        let Some(file) = &self.file else {
            return Ok(object([
                ("id", given(&self.id)),
                ("name", given(&self.name)),
                ("description", given(&self.description)),
                (
                    "steps",
                    Some(self.step.iter().map(StepSpec::body).collect()),
                ),
                ("timeoutMs", self.timeout_ms.map(|ms| json!(ms))),
            ])
            .into());
        };
        let path = file.to_string_lossy();
        let body = json_argument(&path, &format!("@{path}"))?;
        match &self.id {
            Some(id) => body.with("id", id).map_err(|error| wrong(&path, &error)),
            None => Ok(body),
        }
    }
}

impl Step {
    fn body(&self) -> Result<Exact, Failure> {
        let body = Exact::from(object([
            ("status", Some(json!(self.status.word()))),
            ("serverId", given(&self.server)),
            ("instanceId", given(&self.instance)),
            ("attempt", self.attempt.map(|attempt| json!(attempt))),
            ("error", given(&self.error)),
        ]));
        match &self.result {
            Some(result) => {
                let result = json_argument("--result", result)?;
                let body = body.with("result", &result);
                body.map_err(|error| wrong("--result", &error))
            }
            None => Ok(body),
        }
    }
}

/// An object of those members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}

fn given(text: &Option<String>) -> Option<Value> {
    text.as_ref().map(|text| json!(text))
}

/// `key=value`, or `key:value` as the stream's filter has it.
fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once(['=', ':'])
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "a tag is key=value".to_owned())
}

/// JSON as it stands, or from `@FILE`, or from standard input with `@-`.
fn json_argument(name: &str, text: &str) -> Result<Exact, Failure> {
    let read = match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some("-") => {
            let mut read = String::new();
            io::stdin().read_to_string(&mut read).map(|_| read)
        }
        Some(path) => std::fs::read_to_string(path),
    };
    let read = read.map_err(|error| wrong(name, &error))?;
    Exact::parse(&read).map_err(|error| wrong(name, &format!("no JSON: {error}")))
}

fn wrong(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_pairs() {
        assert_eq!(pair("a=b:c"), Ok(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(pair("a:b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn an_argument_that_is_no_json_is_named() {
        let error = json_argument("--data", "{x").unwrap_err();
        assert!(error.to_string().starts_with("--data: no JSON"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
