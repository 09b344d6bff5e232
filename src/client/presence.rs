//! A server that stays registered: heartbeats by themselves, and a registration again whenever the hub has lost it.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{Client, ClientError, Exact, Query, segment};

/// A registered server, kept so by a task of its own until [`Presence::leave`]. Dropped without it, the heartbeats
/// end, and the hub notices by their absence.
#[derive(Debug)]
pub struct Presence {
    id: String,
    instance: String,
    health: watch::Sender<Value>,
    leave: Option<oneshot::Sender<Farewell>>,
    task: JoinHandle<Result<(), ClientError>>,
}

/// How it goes.
#[derive(Debug)]
struct Farewell {
    reason: Option<String>,
    expected: bool,
}

impl Presence {
    /// Registers (the body of `POST /servers`, without an id the hub makes one) and begins to send heartbeats as
    /// often as the hub's answer says. It is an instance of the server, of the `instanceId` in the body or else of one of
    /// its own, so that it never speaks for another process.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) async fn begin(client: Client, server: Exact) -> Result<Self, ClientError> {
        let unwritable = |error: serde_json::Error| ClientError::Body(error.to_string());
        let named = server["instanceId"].as_str().map(str::to_owned);
        let instance = named.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        let server = server.with("instanceId", &instance).map_err(unwritable)?;
        let registered = client.register(&server).await?;
        let id = registered["id"].as_str().unwrap_or_default().to_owned();
        let server = server.with("id", &id).map_err(unwritable)?;
        let (health, said) = watch::channel(json!({}));
        let (leave, leaving) = oneshot::channel();
        let keeper = Keeper {
            client,
            id: id.clone(),
            instance: instance.clone(),
            interval: interval(&registered),
            server,
        };
        let task = tokio::spawn(keeper.keep(said, leaving));
        Ok(Self {
            id,
            instance,
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

    /// Which instance of the server this is.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance
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

    /// Deregisters this instance, with a reason for people.
    ///
    /// # Errors
    /// [`ClientError`]: also the one that ended it before, such as `instance-replaced`.
    pub async fn leave(self, reason: Option<&str>) -> Result<(), ClientError> {
        self.go(reason, true).await
    }

    /// Deregisters this instance as one that crashed: if it is the last, the server counts as lost until it returns.
    ///
    /// # Errors
    /// As [`Presence::leave`].
    pub async fn crash(self, reason: &str) -> Result<(), ClientError> {
        self.go(Some(reason), false).await
    }

    async fn go(mut self, reason: Option<&str>, expected: bool) -> Result<(), ClientError> {
        if let Some(leave) = self.leave.take() {
            let reason = reason.map(str::to_owned);
            // Nobody listens any more where it has ended: its result tells why.
            let _ = leave.send(Farewell { reason, expected });
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
    instance: String,
    server: Exact,
    interval: Duration,
}

impl Keeper {
    async fn keep(
        mut self,
        mut said: watch::Receiver<Value>,
        mut leaving: oneshot::Receiver<Farewell>,
    ) -> Result<(), ClientError> {
        loop {
            tokio::select! {
                farewell = &mut leaving => {
                    // A sender that is gone means that the presence was dropped, which aborts this task.
                    return match farewell {
                        Ok(farewell) => self.leave(&farewell).await,
                        Err(_) => Ok(()),
                    };
                }
                () = tokio::time::sleep(self.interval) => {}
                Ok(()) = said.changed() => {}
            }
            let mut body = said.borrow_and_update().clone();
            body["instanceId"] = json!(self.instance);
            if let Err(error) = self.tell(&body).await {
                Self::bear(error)?;
            }
        }
    }

    /// A heartbeat; if the hub doesn't know it (any more), for it is new to this hub or was given up for lost, a
    /// registration, and what it says of itself again.
    async fn tell(&mut self, body: &Value) -> Result<(), ClientError> {
        let mut told = self.client.heartbeat(&self.id, body).await;
        if is_unknown(&told) {
            told = self.client.register(&self.server).await;
            if told.is_ok() && body.get("health").is_some() {
                told = self.client.heartbeat(&self.id, body).await;
            }
        }
        let told = told?;
        self.interval = interval(&told);
        Ok(())
    }

    /// What is gone already needs no farewell.
    async fn leave(&self, farewell: &Farewell) -> Result<(), ClientError> {
        let query = Query::default()
            .with_all("instanceId", [&self.instance])
            .with_all("reason", farewell.reason.as_deref())
            .with_all("expected", (!farewell.expected).then_some("false"));
        let path = query.on(&format!("/servers/{}", segment(&self.id)));
        let left = self.client.delete(&path).await;
        if is_unknown(&left) {
            return Ok(());
        }
        left.map(drop)
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

fn is_unknown(answer: &Result<Exact, ClientError>) -> bool {
    matches!(
        answer,
        Err(ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        })
    )
}

/// How often the hub expects to hear; a little sooner, so that the way there doesn't make it late.
fn interval(answer: &Value) -> Duration {
    let told = answer["heartbeatIntervalMs"].as_u64().unwrap_or(10_000);
    Duration::from_millis(told.saturating_mul(9) / 10)
}
