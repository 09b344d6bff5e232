//! What a probe learnt, as the registration that says so.

use serde_json::Value;

use crate::{
    domain::{
        Json,
        command::Register,
        event::Capabilities,
        probe::Probing,
        server::{Process, Server},
    },
    probe::Learned,
};

/// The server as it describes itself, if that is news or it is `back`.
pub(super) fn register(server: &Server, learned: Option<&Learned>, back: bool) -> Option<Register> {
    let known = &server.connection;
    let probing = server.probe.as_deref()?;
    let mut register = Register {
        id: known.id.clone(),
        name: known.name.clone(),
        transport: known.transport,
        url: known.url.clone(),
        version: known.version.clone(),
        protocol_version: server.protocol_version.clone(),
        capabilities: known.capabilities.clone(),
        tags: known.tags.clone(),
        metadata: known.metadata.clone(),
        heartbeat_interval_ms: Some(server.heartbeat_interval_ms),
        instance_id: known.instance_id.clone(),
        instances: server.mode,
        process: Process::default(),
        probe: Some(Probing {
            given: Some(probing.given.clone().unwrap_or_else(|| known.name.clone())),
            ..probing.clone()
        }),
        learnt_of: Some(server.connected_sequence),
        last_seen_at: None,
        occurred_at: None,
    };
    let Some(learned) = learned else {
        return back.then_some(register);
    };
    if let Some(name) = &learned.name {
        register.name.clone_from(name);
    }
    register.transport = learned.transport;
    register.version = learned.version.clone().or(register.version);
    register.protocol_version = learned
        .protocol_version
        .clone()
        .or(register.protocol_version);
    let list = |learned: &Option<Vec<Value>>, known: &[Json]| match learned {
        Some(learned) => learned.iter().map(Json::of).collect(),
        None => known.to_vec(),
    };
    register.capabilities = Capabilities {
        tools: list(&learned.tools, &known.capabilities.tools),
        resources: list(&learned.resources, &known.capabilities.resources),
        prompts: list(&learned.prompts, &known.capabilities.prompts),
    };
    let is_news = register.name != known.name
        || register.transport != known.transport
        || register.version != known.version
        || register.protocol_version != server.protocol_version
        || register.capabilities != known.capabilities;
    (is_news || back).then_some(register)
}
