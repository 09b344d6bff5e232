//! What is said to clients whose request never reaches the router.

use std::time::Duration;

use axum::http::StatusCode;

use crate::{domain::Limit, http::problem::Problem};

/// `431`: a head of more than `most` bytes.
pub(super) fn head_too_large(most: usize) -> Problem {
    Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head-too-large",
        "The request's head is too large",
        format!(
            "the request line and the headers may have {most} bytes together, which {} sets",
            Limit::HeaderBytes.setting()
        ),
    )
    .reaching(Limit::HeaderBytes, Some(most))
}

/// `408`: a head that wasn't whole in time.
pub(super) fn head_too_late(patience: Duration) -> Problem {
    let ms = patience.as_millis();
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "request-timeout",
        "The request took too long",
        format!(
            "the request's head didn't arrive within {ms} ms, which {} sets",
            Limit::HeaderTimeout.setting()
        ),
    )
    .reaching(Limit::HeaderTimeout, usize::try_from(ms).ok())
}

/// `400`: what came isn't HTTP.
pub(super) fn no_http() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed-request",
        "The request can't be read",
        "the request line or a header isn't HTTP/1.1",
    )
}

/// `431`: a head of more than `most` lines.
pub(super) fn too_many_headers(most: usize) -> Problem {
    Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "too-many-headers",
        "The request has too many headers",
        format!(
            "a request may have {most} header lines, which {} sets",
            Limit::HeaderLines.setting()
        ),
    )
    .reaching(Limit::HeaderLines, Some(most))
}

/// `503`: there is no room for another connection, and none of the others can go.
pub(super) fn crowded(most: usize) -> Problem {
    Problem::unavailable(
        "too-many-connections",
        "There are too many connections",
        format!(
            "the hub has {most} connections, which {} and the limit of open files set, and all of them are busy",
            Limit::Connections.setting()
        ),
        SOON,
    )
    .reaching(Limit::Connections, Some(most))
}

/// Seconds after which another try may find room.
const SOON: u32 = 1;
