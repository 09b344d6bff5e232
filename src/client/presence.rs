//! A server that stays registered: heartbeats by themselves, and a registration again whenever the hub has lost it.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{Client, ClientError, Exact};

/// A registered server, kept so by a task of its own until [`Presence::leave`]. Dropped without it, the heartbeats
/// end, and the hub notices by their absence.
#[derive(Debug)]
pub struct Presence {
    id: String,
    health: watch::Sender<Value>,
    leave: Option<oneshot::Sender<Option<String>>>,
    task: JoinHandle<Result<(), ClientError>>,
}

impl Presence {
    /// Registers (the body of `POST /servers`, without an id the hub makes one) and begins to send heartbeats as
    /// often as the hub's answer says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn begin(client: Client, server: Exact) -> Result<Self, ClientError> {
        let registered = client.register(&server).await?;
        let id = registered["id"].as_str().unwrap_or_default().to_owned();
        let server = server
            .with("id", &id)
            .map_err(|error| ClientError::Body(error.to_string()))?;
        let (health, said) = watch::channel(json!({}));
        let (leave, leaving) = oneshot::channel();
        let keeper = Keeper {
            client,
            id: id.clone(),
            interval: interval(&registered),
            server,
        };
        let task = tokio::spawn(keeper.keep(said, leaving));
        Ok(Self {
            id,
            health,
            leave: Some(leave),
            task,
        })
    }

    /// The server's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Says how the server does (`healthy`, `degraded`, `unhealthy`) and why: at once, and with every heartbeat from
    /// now on.
    pub fn report(&self, health: &str, detail: Option<&str>) {
        let mut body = json!({"health": health});
        if let Some(detail) = detail {
            body["detail"] = json!(detail);
        }
        self.health.send_replace(body);
    }

    /// Whether it is still kept: no longer where another instance took its place.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.task.is_finished()
    }

    /// Deregisters, with a reason for people.
    ///
    /// # Errors
    /// [`ClientError`]: also the one that ended it before, such as `instance-replaced`.
    pub async fn leave(mut self, reason: Option<&str>) -> Result<(), ClientError> {
        if let Some(leave) = self.leave.take() {
            // Nobody listens any more where it has ended: its result tells why.
            let _ = leave.send(reason.map(str::to_owned));
        }
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(broken) => Err(ClientError::Answer(broken.to_string())),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    client: Client,
    id: String,
    server: Exact,
    interval: Duration,
}

impl Keeper {
    async fn keep(
        mut self,
        mut said: watch::Receiver<Value>,
        mut leaving: oneshot::Receiver<Option<String>>,
    ) -> Result<(), ClientError> {
        loop {
            tokio::select! {
                reason = &mut leaving => {
                    // A sender that is gone means that the presence was dropped, which aborts this task.
                    let reason = reason.unwrap_or_default();
                    return self.client.deregister(&self.id, reason.as_deref()).await;
                }
                () = tokio::time::sleep(self.interval) => {}
                Ok(()) = said.changed() => {}
            }
            let mut body = said.borrow_and_update().clone();
            if let Some(instance) = self.server.get("instanceId") {
                body["instanceId"] = instance.clone();
            }
            match self.client.heartbeat(&self.id, &body).await {
                Ok(beat) => self.interval = interval(&beat),
                // The hub doesn't know it (any more): it is new to this hub, or was given up for lost.
                Err(ClientError::Refused {
                    status: StatusCode::NOT_FOUND,
                    ..
                }) => match self.client.register(&self.server).await {
                    Ok(registered) => self.interval = interval(&registered),
                    Err(error) => Self::bear(error)?,
                },
                Err(error) => Self::bear(error)?,
            }
        }
    }

    /// What may pass is tried again with the next heartbeat; what won't (another instance took its place, no right)
    /// ends it.
    fn bear(error: ClientError) -> Result<(), ClientError> {
        match error {
            ClientError::Unreachable { .. } => Ok(()),
            ClientError::Refused { status, .. }
                if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Ok(())
            }
            final_word => Err(final_word),
        }
    }
}

/// How often the hub expects to hear; a little sooner, so that the way there doesn't make it late.
fn interval(answer: &Value) -> Duration {
    let told = answer["heartbeatIntervalMs"].as_u64().unwrap_or(10_000);
    Duration::from_millis(told.saturating_mul(9) / 10)
}
