//! What a heartbeat says: all of it optional.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::domain::{
    event::Health,
    ids::InstanceId,
    input::{FieldError, Fields, IGNORED, Shape},
    json::{JsonRef, Number, Object},
    server::view::Metrics,
};

/// Longest detail, in bytes.
const MAX_DETAIL_LEN: usize = 1024;
/// Most metrics of one server.
const MAX_METRICS: usize = 64;
/// Longest name of a metric, in bytes.
const MAX_METRIC_LEN: usize = 128;

/// A heartbeat: `{health?, detail?, instanceId?, metrics?, occurredAt?}`.
#[derive(Debug, Clone, Default, PartialEq, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Heartbeat {
    /// What the server says of itself; `None` says nothing, and an earlier report stands.
    pub health: Option<Health>,
    /// Its reasons, in words.
    pub detail: Option<String>,
    /// Which run of it this is; `None` matches any.
    #[schema(value_type = Option<String>)]
    pub instance_id: Option<InstanceId>,
    /// What it measured of itself; `None` leaves what it said before.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub metrics: Option<Metrics>,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

impl Heartbeat {
    /// What a body may hold; `id` in a batch alone.
    pub const SHAPE: Shape = Shape {
        members: &["health", "detail", "instanceId", "metrics", "occurredAt"],
        nested: &[],
        fate: IGNORED,
    };

    /// The same of one among several.
    pub const ITEM: Shape = Shape {
        members: &[
            "id",
            "health",
            "detail",
            "instanceId",
            "metrics",
            "occurredAt",
        ],
        nested: &[],
        fate: IGNORED,
    };

    /// Reads a body's bytes the quick way. `None` where anything about it is wrong: [`Heartbeat::parse`]
    /// says what.
    #[must_use]
    pub fn from_slice(body: &[u8]) -> Option<Self> {
        let Object(quick): Object<Quick> = serde_json::from_slice(body).ok()?;
        let heartbeat = Self {
            health: quick.health,
            detail: quick.detail,
            instance_id: quick.instance_id,
            metrics: quick.metrics,
            occurred_at: quick.occurred_at,
        };
        heartbeat.is_within_bounds().then_some(heartbeat)
    }

    /// Reads a heartbeat that stands at `base` in the body. Other fields are left alone.
    ///
    /// # Errors
    /// Every mistake, by pointer.
    pub fn parse(value: JsonRef<'_>, base: &str) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::among(value, base, &Self::SHAPE)?;
        let health =
            crate::domain::server::word(&mut fields, "health", "healthy, degraded or unhealthy");
        let detail = fields.text("detail", MAX_DETAIL_LEN);
        let instance_id = fields.parsed("instanceId");
        let metrics = fields.get("metrics").and_then(|metrics| {
            let read = read_metrics(metrics, &fields.pointer("metrics"));
            fields.absorb(read)
        });
        let occurred_at = fields.time("occurredAt");
        fields.finish(Some(Self {
            health,
            detail,
            instance_id,
            metrics,
            occurred_at,
        }))
    }

    /// Its report, as [`super::Lease::heartbeat`] takes it.
    #[must_use]
    pub fn report(&self) -> Option<(Health, Option<&str>)> {
        self.health.map(|health| (health, self.detail.as_deref()))
    }

    fn is_within_bounds(&self) -> bool {
        self.detail
            .as_ref()
            .is_none_or(|detail| detail.len() <= MAX_DETAIL_LEN)
            && self.metrics.as_ref().is_none_or(|metrics| {
                metrics.len() <= MAX_METRICS
                    && metrics.keys().all(|name| name.len() <= MAX_METRIC_LEN)
            })
    }
}

/// A heartbeat of which nothing is wrong or unknown.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Quick {
    health: Option<Health>,
    detail: Option<String>,
    instance_id: Option<InstanceId>,
    #[serde(deserialize_with = "distinct")]
    metrics: Option<Metrics>,
    occurred_at: Option<i64>,
}

/// Metrics of which no name comes twice.
fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Metrics>, D::Error> {
    struct Each;

    impl<'de> Visitor<'de> for Each {
        type Value = Metrics;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("metrics by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
            let mut metrics = BTreeMap::new();
            while let Some((name, number)) = map.next_entry()? {
                if metrics.insert(name, number).is_some() {
                    return Err(A::Error::custom("a name comes twice"));
                }
            }
            Ok(Arc::new(metrics))
        }
    }

    deserializer.deserialize_map(Each).map(Some)
}

fn read_metrics(value: JsonRef<'_>, base: &str) -> Result<Metrics, Vec<FieldError>> {
    let mut fields = Fields::of(value, base)?;
    let mut metrics = BTreeMap::new();
    for (name, value) in value.members().into_iter().flatten() {
        let name = name.as_ref();
        if name.len() > MAX_METRIC_LEN {
            fields.wrong(
                name,
                format!("its name is over {MAX_METRIC_LEN} bytes long"),
            );
        }
        match Number::of(value) {
            Some(number) => {
                metrics.insert(name.to_owned(), number);
            }
            None => fields.wrong(name, "must be a number"),
        }
    }
    if metrics.len() > MAX_METRICS {
        let detail = format!(
            "holds {} metrics; at most {MAX_METRICS} are taken",
            metrics.len()
        );
        return Err(vec![FieldError::new(base, detail)]);
    }
    fields.finish(Some(Arc::new(metrics)))
}
