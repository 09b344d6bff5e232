//! The page that people look at, embedded in the binary. Its sources are in `dashboard/`; what is served here is what
//! their build wrote to `src/dashboard/dist`. Never touches the hub: the page asks for everything over the public API.

use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// `/` and `/assets/…`. They need no state, so they fit any router.
pub(crate) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    FILES.iter().fold(Router::new(), |router, file| {
        let asset = Asset::from(file);
        router.route(
            file.path,
            get(move |headers: HeaderMap| {
                let answer = asset.answer(&headers);
                async { answer }
            }),
        )
    })
}

struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

#[derive(Clone)]
struct Asset {
    content_type: HeaderValue,
    etag: HeaderValue,
    body: Bytes,
}

impl From<&File> for Asset {
    fn from(file: &File) -> Self {
        Self {
            content_type: HeaderValue::from_static(file.content_type),
            etag: etag(file.bytes),
            body: Bytes::from_static(file.bytes),
        }
    }
}

impl Asset {
    fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let known = is_known(request, &self.etag);
        let mut response = Response::new(if known {
            Body::empty()
        } else {
            Body::from(self.body.clone())
        });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::ETAG, self.etag.clone());
        // The names carry no hash, so a browser must ask each time whether its copy is still good.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
            headers.insert(name, HeaderValue::from_static("same-origin"));
        }
        response
    }
}

/// A strong tag: equal tags mean equal bytes.
fn etag(bytes: &[u8]) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in &Sha256::digest(bytes)[..16] {
        write!(tag, "{byte:02x}").expect("a String takes every write");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes make a header value")
}

/// Whether the client holds this very version. `If-None-Match` compares weakly, as RFC 9110 asks.
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

/// Everything from this hub and nothing from elsewhere; no inline script or style can run.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

const FILES: [File; 6] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../dashboard/dist/index.html"),
    },
    File {
        path: "/assets/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../dashboard/dist/assets/app.js"),
    },
    File {
        path: "/assets/app.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../dashboard/dist/assets/app.css"),
    },
    File {
        path: "/assets/direct.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../dashboard/dist/assets/direct.js"),
    },
    File {
        path: "/assets/worker.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../dashboard/dist/assets/worker.js"),
    },
    File {
        path: "/assets/favicon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../dashboard/dist/assets/favicon.svg"),
    },
];

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str, if_none_match: Option<&str>) -> Response<Body> {
        let mut request = Request::get(path);
        if let Some(tags) = if_none_match {
            request = request.header(header::IF_NONE_MATCH, tags);
        }
        let request = request.body(Body::empty()).unwrap();
        routes::<()>().oneshot(request).await.unwrap()
    }

    async fn bytes(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn every_file_comes_with_its_type_and_its_guards() {
        for file in &FILES {
            let response = ask(file.path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{}", file.path);
            let headers = response.headers();
            assert_eq!(headers[header::CONTENT_TYPE], file.content_type);
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
            assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
            assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(bytes(response).await, file.bytes);
        }
    }

    #[tokio::test]
    async fn a_known_version_is_not_sent_again() {
        let etag = ask("/", None).await.headers()[header::ETAG].clone();
        let etag = etag.to_str().unwrap();
        for tags in [
            etag.to_owned(),
            format!("\"other\", {etag}"),
            format!("W/{etag}"),
            "*".to_owned(),
        ] {
            let response = ask("/", Some(&tags)).await;
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert_eq!(response.headers()[header::ETAG], etag);
            assert!(bytes(response).await.is_empty());
        }
        let response = ask("/", Some("\"other\"")).await;
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn the_page_names_only_files_that_are_embedded() {
        let page = std::str::from_utf8(FILES[0].bytes).unwrap();
        let named = page.split("./assets/").skip(1);
        for name in named.map(|rest| rest.split('"').next().unwrap()) {
            let path = format!("/assets/{name}");
            assert!(FILES.iter().any(|file| file.path == path), "{path}");
        }
    }
}
