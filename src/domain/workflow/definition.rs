//! Reads a workflow's definition: the steps in their normal form, and everything that is wrong with it at once.

use super::graph;
use crate::domain::{
    command::StartWorkflow,
    event::StepDeclaration,
    ids::{InvalidId, StepId, WorkflowId},
    input::{FieldError, Fields, KEPT, Nested, Shape, kept},
    json::{JsonRef, Members},
};

/// Longest name, in bytes.
const MAX_NAME_LEN: usize = 256;
/// Longest description, in bytes.
const MAX_DESCRIPTION_LEN: usize = 4096;
/// Longest time-out: a year.
const MAX_TIMEOUT_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Most retries of a step.
const MAX_RETRIES: u64 = 1000;

/// What a step may hold beside what is its author's own.
const STEP: Shape = Shape {
    members: &[
        "id",
        "name",
        "server",
        "serverId",
        "tool",
        "params",
        "dependsOn",
        "timeout",
        "timeoutMs",
        "retries",
        "required",
    ],
    nested: &[],
    fate: KEPT,
};

impl StartWorkflow {
    /// What a definition may hold beside what is its author's own.
    pub const SHAPE: Shape = Shape {
        members: &[
            "id",
            "name",
            "description",
            "timeoutMs",
            "timeout",
            "errorHandling",
            "occurredAt",
            "steps",
            "workflow",
        ],
        nested: &[
            ("steps", Nested::Each(&STEP)),
            ("workflow", Nested::Each(&STEP)),
            (
                "errorHandling",
                Nested::One(&Shape {
                    members: &["strategy", "maxFailures"],
                    nested: &[],
                    fate: KEPT,
                }),
            ),
        ],
        fate: KEPT,
    };

    /// Reads a definition that stands at `base` in the body. `fresh` makes its id where it names none.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(
        body: JsonRef<'_>,
        base: &str,
        fresh: impl FnOnce() -> WorkflowId,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::among(body, base, &Self::SHAPE)?;
        let id = fields.parsed("id").unwrap_or_else(fresh);
        let name = fields.required_text("name", MAX_NAME_LEN);
        let description = fields.text("description", MAX_DESCRIPTION_LEN);
        let timeout_ms = alias(&mut fields, "timeoutMs", "timeout", |fields, name| {
            fields.number(name, 1..=MAX_TIMEOUT_MS)
        });
        let max_failures = max_failures(&mut fields);
        let occurred_at = fields.time("occurredAt");
        let steps = steps(&mut fields);
        let definition = fields.absorb(kept(body, base));
        let found = name
            .zip(steps)
            .zip(definition)
            .map(|((name, steps), definition)| Self {
                id,
                name,
                description,
                steps,
                timeout_ms,
                max_failures,
                definition,
                server: None,
                occurred_at,
            });
        fields.finish(found)
    }
}

/// `errorHandling {strategy: "continue-on-error", maxFailures}`. Other strategies and fields are kept unread.
fn max_failures(fields: &mut Fields<'_>) -> Option<u32> {
    let handling = fields.get("errorHandling")?;
    let nested = Fields::of(handling, &fields.pointer("errorHandling")).and_then(|mut handling| {
        let strategy = handling.text("strategy", MAX_NAME_LEN);
        let continues = strategy.as_deref() == Some("continue-on-error");
        let max = continues.then(|| {
            handling
                .number("maxFailures", 0..=u64::from(u32::MAX))
                .unwrap_or(u32::MAX.into())
        });
        handling.finish(Some(max.and_then(|max| u32::try_from(max).ok())))
    });
    fields.absorb(nested).flatten()
}

/// The steps, called `steps` or `workflow`.
fn steps(fields: &mut Fields<'_>) -> Option<Vec<StepDeclaration>> {
    let name = if fields.get("steps").is_some() {
        "steps"
    } else {
        "workflow"
    };
    if name == "steps" && fields.get("workflow").is_some() {
        fields.wrong("workflow", "means the same as steps: name one of them");
    }
    let Some(found) = fields.get(name) else {
        return Some(Vec::new());
    };
    let Some(items) = found.items() else {
        fields.wrong(
            name,
            "must be an array of steps, each an object or just its id",
        );
        return None;
    };
    let base = fields.pointer(name);
    let pointer = |number: usize| format!("{base}/{number}");
    let mut steps = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        if let Some(step) = fields.absorb(step(*item, &pointer(number))) {
            steps.push((number, step));
        }
    }
    // A step that can't be read would make its dependents' mistakes out of one mistake.
    if steps.len() < items.len() {
        return None;
    }
    let errors = graph::check(&steps, pointer);
    if errors.is_empty() {
        return Some(steps.into_iter().map(|(_, step)| step).collect());
    }
    fields.absorb::<()>(Err(errors));
    None
}

/// One step in its normal form: an object, or just its id.
fn step(item: JsonRef<'_>, base: &str) -> Result<StepDeclaration, Vec<FieldError>> {
    if let Some(id) = item.text() {
        let id = id.parse().map_err(|error| bad_id(base, error))?;
        return Ok(StepDeclaration::bare(id));
    }
    let mut fields = Fields::among(item, base, &STEP)?;
    let id: Option<StepId> = fields.parsed("id");
    if fields.get("id").is_none() {
        fields.wrong("id", "is required: the step's name within the workflow");
    }
    let name = fields.text("name", MAX_NAME_LEN);
    let server = alias(&mut fields, "server", "serverId", |fields, name| {
        fields.parsed(name)
    });
    let tool = fields.text("tool", MAX_NAME_LEN);
    let params = fields.value("params");
    let timeout = alias(&mut fields, "timeout", "timeoutMs", |fields, name| {
        fields.number(name, 1..=MAX_TIMEOUT_MS)
    });
    let retries = fields
        .number("retries", 0..=MAX_RETRIES)
        .and_then(|n| u32::try_from(n).ok());
    let required = fields.flag("required");
    let depends_on = depends_on(&mut fields);
    let extra = unread(&fields);
    let found = id.map(|id| StepDeclaration {
        id,
        name,
        server,
        tool,
        params,
        depends_on,
        timeout,
        retries,
        required,
        extra,
    });
    fields.finish(found)
}

/// The ids that a step waits for, each once.
fn depends_on(fields: &mut Fields<'_>) -> Vec<StepId> {
    let mut found: Vec<StepId> = Vec::new();
    let Some(list) = fields.get("dependsOn") else {
        return found;
    };
    let base = fields.pointer("dependsOn");
    let Some(items) = list.items() else {
        fields.wrong("dependsOn", "must be an array of step ids");
        return found;
    };
    let mut seen = std::collections::HashSet::new();
    for (number, item) in items.iter().enumerate() {
        let pointer = format!("{base}/{number}");
        let parsed = match item.text() {
            Some(id) => id
                .parse::<StepId>()
                .map_err(|error| bad_id(&pointer, error)),
            None => Err(wrong(&pointer, &"must be a step's id")),
        };
        found.extend(fields.absorb(parsed).filter(|id| seen.insert(id.clone())));
    }
    found
}

/// The fields of a step that mean nothing to the hub.
fn unread(fields: &Fields<'_>) -> Members {
    let unread = fields.members();
    Members::of(
        unread
            .filter(|(name, _)| !STEP.members.contains(&name.as_ref()))
            .cloned(),
    )
}

/// A field under either of two names; both only where they agree.
fn alias<T: PartialEq>(
    fields: &mut Fields<'_>,
    name: &str,
    other: &str,
    read: impl Fn(&mut Fields<'_>, &str) -> Option<T>,
) -> Option<T> {
    let (one, two) = (read(fields, name), read(fields, other));
    if one.is_some() && two.is_some() && one != two {
        fields.wrong(other, format!("contradicts {name}, which means the same"));
    }
    one.or(two)
}

fn bad_id(pointer: &str, error: InvalidId) -> Vec<FieldError> {
    vec![FieldError::new(pointer, error.to_string()).passing(error.limit())]
}

fn wrong(pointer: &str, detail: &impl ToString) -> Vec<FieldError> {
    vec![FieldError::new(pointer, detail.to_string())]
}
