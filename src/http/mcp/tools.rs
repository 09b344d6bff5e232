//! The tools: what agents may ask of a hub and do with it. Each takes the scopes that its HTTP twin takes, is shown to
//! those alone who hold one of them, and answers with what HTTP would show the same token.
//!
//! An answer is structured content that fits its schema, and a short text that a model can go on with. Lists are
//! bounded and say what was left out.

mod arguments;
mod changes;
mod fleet;
mod log;
mod schema;
mod wait;
mod workflows;

use serde::Serialize;
use serde_json::Value;

use super::{
    Asked, Reply,
    message::{Call, Fault, with_members},
};
use crate::{
    domain::{Json, json::JsonRef},
    door::{Access, Scope},
    http::problem::Problem,
};

pub(super) use self::fleet::{fleet_status, one_server};
pub(super) use self::log::{read_selected, words as event_words};
pub(super) use self::workflows::one_workflow;

/// What a structured answer may take, roughly: a model has to read it.
const ANSWER_BYTES: usize = 128 * 1024;

/// A tool.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// It takes one of these.
    scopes: &'static [Scope],
    /// It changes nothing.
    reads_only: bool,
    input: fn() -> Value,
    output: fn() -> Value,
}

const READ: &[Scope] = &[Scope::Read];
const EITHER: &[Scope] = &[Scope::Report, Scope::Coordinate];

const TOOLS: [Tool; 12] = [
    Tool {
        name: "fleet_status",
        title: "Fleet status",
        description: "How the whole fleet of MCP servers does: the overall status, counts, and the worst servers first, each \
                      with why. Begin here.",
        scopes: READ,
        reads_only: true,
        input: schema::nothing,
        output: schema::fleet_status,
    },
    Tool {
        name: "list_servers",
        title: "List servers",
        description: "MCP servers in order of their ids, narrowed by health, connection status, transport, tag (key:value) or a \
                      text that occurs in them. A page holds 50 unless limit says otherwise; cursor gives the next one.",
        scopes: READ,
        reads_only: true,
        input: schema::list_servers_input,
        output: schema::list_servers,
    },
    Tool {
        name: "get_server",
        title: "One server",
        description: "All about one MCP server: its health and the evidence for it, its instances, what it offers, what last \
                      changed of that (drift), and its latest events.",
        scopes: READ,
        reads_only: true,
        input: schema::get_server_input,
        output: schema::get_server,
    },
    Tool {
        name: "find_tool",
        title: "Find a tool",
        description: "Which MCP servers offer a tool of that name (or with that word in its name or description), and whether \
                      they are healthy; healthy ones first.",
        scopes: READ,
        reads_only: true,
        input: schema::find_tool_input,
        output: schema::find_tool,
    },
    Tool {
        name: "list_workflows",
        title: "List workflows",
        description: "Workflows in order of their ids with their progress: which steps are ready, running or failed. Narrowed by \
                      status. A page holds 50 unless limit says otherwise; cursor gives the next one.",
        scopes: READ,
        reads_only: true,
        input: schema::list_workflows_input,
        output: schema::list_workflows,
    },
    Tool {
        name: "get_workflow",
        title: "One workflow",
        description: "All about one workflow: its steps, their results and errors, and which of them wait, run or failed.",
        scopes: READ,
        reads_only: true,
        input: schema::get_workflow_input,
        output: schema::get_workflow,
    },
    Tool {
        name: "search_events",
        title: "Search events",
        description: "Past events, newest first, narrowed by type (workflow_* is a prefix), serverId, workflowId, tag and time \
                      (since, until: an age such as 15m, RFC 3339 or epoch milliseconds). cursor gives the next page.",
        scopes: READ,
        reads_only: true,
        input: schema::search_events_input,
        output: schema::search_events,
    },
    Tool {
        name: "wait_for_events",
        title: "Wait for events",
        description: "Waits until an event happens that matches, or the time is over (25 s by default). Give the cursor of the \
                      last answer to go on exactly there: nothing is lost between two calls. Without one it waits for what \
                      happens from now on. gap says that events before those it answers with are missing.",
        scopes: READ,
        reads_only: true,
        input: schema::wait_for_events_input,
        output: schema::wait_for_events,
    },
    Tool {
        name: "claim_step",
        title: "Claim a step",
        description: "Claims a step of a workflow for a server, so that nobody else does it; its params say what to do. Without \
                      stepId the first step that this server may claim is claimed, if there is one. Report its end with \
                      report_step and the same attempt.",
        scopes: EITHER,
        reads_only: false,
        input: schema::claim_step_input,
        output: schema::claim_step,
    },
    Tool {
        name: "report_step",
        title: "Report a step",
        description: "Reports that a step of a workflow is completed (with its result) or failed (with an error), for the attempt \
                      that was claimed. The same report again changes nothing.",
        scopes: EITHER,
        reads_only: false,
        input: schema::report_step_input,
        output: schema::step,
    },
    Tool {
        name: "start_workflow",
        title: "Start a workflow",
        description: "Starts a workflow of steps that may depend on each other; servers claim them. The same id and definition \
                      again change nothing.",
        scopes: &[Scope::Coordinate],
        reads_only: false,
        input: schema::start_workflow_input,
        output: schema::start_workflow,
    },
    Tool {
        name: "publish_event",
        title: "Publish an event",
        description: "Appends an event to the log, for everybody who listens: a type of your own (a dotted name such as \
                      grades.synced, or custom_...) with any data. Give an idempotencyKey if you might repeat the call.",
        scopes: &[Scope::Report, Scope::Coordinate],
        reads_only: false,
        input: schema::publish_event_input,
        output: schema::publish_event,
    },
];

impl Tool {
    fn is_for(&self, access: &Access) -> bool {
        access.scopes.any_of(self.scopes)
    }

    fn description(&self) -> Json {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Description {
            name: &'static str,
            title: &'static str,
            description: &'static str,
            input_schema: Value,
            output_schema: Value,
            annotations: Annotations,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Annotations {
            title: &'static str,
            read_only_hint: bool,
            destructive_hint: bool,
            idempotent_hint: bool,
            open_world_hint: bool,
        }
        Json::of(&Description {
            name: self.name,
            title: self.title,
            description: self.description,
            input_schema: (self.input)(),
            output_schema: (self.output)(),
            annotations: Annotations {
                title: self.title,
                read_only_hint: self.reads_only,
                destructive_hint: false,
                idempotent_hint: self.reads_only || self.name != "publish_event",
                open_world_hint: false,
            },
        })
    }
}

/// `tools/list`.
pub(super) fn list(access: &Access) -> Json {
    #[derive(Serialize)]
    struct List {
        tools: Vec<Json>,
    }
    let own = TOOLS.iter().filter(|tool| tool.is_for(access));
    Json::of(&List {
        tools: own.map(Tool::description).collect(),
    })
}

/// What a tool answers: a text for a model, and the same for a program.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) text: String,
    pub(super) content: Json,
}

impl Done {
    pub(super) fn new<T: Serialize>(text: impl Into<String>, content: &T) -> Self {
        Self {
            text: text.into(),
            content: Json::of(content),
        }
    }

    /// The result of `tools/call`.
    pub(super) fn result(&self) -> Json {
        let result = contents(&self.text);
        let more = [
            ("structuredContent", self.content.clone()),
            ("isError", Json::of(&false)),
        ];
        with_members(&result, &more)
    }
}

/// `tools/call`.
pub(super) async fn call(asked: &Asked, call: &Call<'_>) -> Result<Reply, Fault> {
    let name = call.text("name")?;
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else {
        let names = TOOLS.iter().map(|tool| tool.name);
        let near = crate::words::nearest(&name, names);
        let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let name = crate::words::clip(&name);
        return Err(Fault::invalid_params(format!(
            "there is no tool {name}{near}"
        )));
    };
    if !tool.is_for(&asked.guest) {
        let scopes: Vec<&str> = tool.scopes.iter().map(|scope| scope.as_str()).collect();
        return Err(Fault::invalid_params(format!(
            "the tool {name} takes the scope {}, which this token doesn't have",
            scopes.join(" or ")
        )));
    }
    let arguments = call.param("arguments");
    if arguments.is_some_and(|arguments| !arguments.is_object()) {
        return Err(Fault::invalid_params("params.arguments must be an object"));
    }
    if tool.name == "wait_for_events" {
        return match wait::begin(asked, call, arguments).await {
            Ok(reply) => Ok(reply),
            Err(problem) => Ok(Reply::Result(refusal(&problem))),
        };
    }
    let done = carry_out(asked, tool.name, call, arguments).await;
    Ok(Reply::Result(match done {
        Ok(done) => done.result(),
        Err(problem) => refusal(&problem),
    }))
}

async fn carry_out(
    asked: &Asked,
    name: &str,
    call: &Call<'_>,
    arguments: Option<JsonRef<'_>>,
) -> Result<Done, Problem> {
    match name {
        "fleet_status" => fleet::status(asked, arguments).await,
        "list_servers" => fleet::list(asked, arguments).await,
        "get_server" => fleet::get(asked, arguments).await,
        "find_tool" => fleet::find(asked, arguments).await,
        "list_workflows" => workflows::list(asked, arguments).await,
        "get_workflow" => workflows::get(asked, arguments),
        "search_events" => log::search(asked, arguments).await,
        "claim_step" => changes::claim(asked, call, arguments).await,
        "report_step" => changes::report(asked, call, arguments).await,
        "start_workflow" => changes::start(asked, call, arguments).await,
        _ => changes::publish(asked, call, arguments).await,
    }
}

/// A refusal that the model may mend.
pub(super) fn refusal(problem: &Problem) -> Json {
    let mut text = format!("{}: {}", problem.slug, problem.detail);
    if problem.errors.len() > 1 {
        for error in &problem.errors {
            text.push_str(&format!("\n{}: {}", error.pointer, error.detail));
        }
    }
    for (name, value) in &problem.extra {
        if value.as_str().len() < 2000 {
            text.push_str(&format!("\n{name}: {}", value.as_str()));
        }
    }
    if let Some(seconds) = problem.retry_after {
        text.push_str(&format!("\ntry again in {seconds} s"));
    }
    with_members(&contents(&text), &[("isError", Json::of(&true))])
}

fn contents(text: &str) -> Json {
    #[derive(Serialize)]
    struct Contents<'a> {
        content: [Text<'a>; 1],
    }
    #[derive(Serialize)]
    struct Text<'a> {
        r#type: &'static str,
        text: &'a str,
    }
    Json::of(&Contents {
        content: [Text {
            r#type: "text",
            text,
        }],
    })
}

/// At most so many characters of a text, the end marked.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
