//! The prompt `what_is_wrong`: the present state in words, and what to do with it.

use serde::Serialize;

use super::{
    Asked,
    message::{Call, Fault},
    tools::{event_words, fleet_status, read_selected},
};
use crate::{
    domain::{Json, ServerId},
    door::Scope,
    event_log::Order,
    filter::{Selection, TypePattern},
};

const NAME: &str = "what_is_wrong";
const DESCRIPTION: &str =
    "What is wrong with the fleet, or with one server, and what to do about it";

/// Types of events that tell of trouble.
const TROUBLE: [&str; 5] = [
    "server_disconnected",
    "server_health_changed",
    "workflow_failed",
    "workflow_step_failed",
    "integration_status_changed",
];
/// Of them, how many are told.
const RECENT: usize = 20;

/// `prompts/list`.
pub(super) fn list(asked: &Asked) -> Json {
    #[derive(Serialize)]
    struct List {
        prompts: Vec<Prompt>,
    }
    #[derive(Serialize)]
    struct Prompt {
        name: &'static str,
        title: &'static str,
        description: &'static str,
        arguments: [Argument; 1],
    }
    #[derive(Serialize)]
    struct Argument {
        name: &'static str,
        description: &'static str,
        required: bool,
    }
    let prompt = Prompt {
        name: NAME,
        title: "What is wrong?",
        description: DESCRIPTION,
        arguments: [Argument {
            name: "serverId",
            description: "Only this server",
            required: false,
        }],
    };
    let reads = asked.guest.need(Scope::Read).is_ok();
    Json::of(&List {
        prompts: if reads { vec![prompt] } else { Vec::new() },
    })
}

/// `prompts/get`.
pub(super) async fn get(asked: &Asked, call: &Call<'_>) -> Result<Json, Fault> {
    #[derive(Serialize)]
    struct Got {
        description: &'static str,
        messages: [Message; 1],
    }
    #[derive(Serialize)]
    struct Message {
        role: &'static str,
        content: Content,
    }
    #[derive(Serialize)]
    struct Content {
        r#type: &'static str,
        text: String,
    }
    let name = call.text("name")?;
    if name != NAME || asked.guest.need(Scope::Read).is_err() {
        let name = crate::words::clip(&name);
        return Err(Fault::invalid_params(format!("there is no prompt {name}")));
    }
    let server = call.param("arguments").and_then(|it| it.get("serverId"));
    let server = match server.and_then(|id| id.text()).filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => Some(
            ServerId::parse(&id)
                .map_err(|wrong| Fault::invalid_params(format!("arguments.serverId {wrong}")))?,
        ),
    };
    Ok(Json::of(&Got {
        description: DESCRIPTION,
        messages: [Message {
            role: "user",
            content: Content {
                r#type: "text",
                text: text(asked, server).await?,
            },
        }],
    }))
}

async fn text(asked: &Asked, server: Option<ServerId>) -> Result<String, Fault> {
    let mut text = match &server {
        Some(id) => format!("What is wrong with the MCP server {id}, and what should I do about it?"),
        None => "What is wrong with my fleet of MCP servers and its workflows, and what should I do about it?".to_owned(),
    };
    let status = fleet_status(&asked.app, &asked.guest).await?;
    text.push_str(&format!("\n\nThe hub says now:\n{}", status.text));
    let trouble = Selection {
        types: TROUBLE
            .iter()
            .map(|kind| TypePattern::Exact((*kind).to_owned()))
            .collect(),
        servers: server.into_iter().collect(),
        ..Selection::default()
    };
    let (app, guest) = (&asked.app, &asked.guest);
    let recent = read_selected(app, guest, trouble, Order::Descending, RECENT).await?;
    if !recent.events.is_empty() {
        text.push_str("\n\nThe latest events of trouble, the newest first:");
        for event in &recent.events {
            text.push_str(&format!("\n- {}", event_words(event)));
        }
    }
    text.push_str(
        "\n\nLook closer with get_server, list_workflows, get_workflow and search_events before you conclude. Then say what is \
         wrong, since when, what the evidence is, and what to do first. What is well needs no mention.",
    );
    Ok(text)
}
