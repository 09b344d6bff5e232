//! What a client would rather have, as `Accept` says with its weights (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header::ACCEPT};

/// Whether `wanted` is asked for by name, and weighs no less than `other`, which is what there is without a word.
pub(super) fn prefers(headers: &HeaderMap, wanted: &str, other: &str) -> bool {
    let [wanted, other] = [wanted, other].map(|media| weight(headers, media));
    wanted.is_named && wanted.thousandths > 0 && wanted.thousandths >= other.thousandths
}

/// Whether a media type is taken at all; without a word, any is.
pub(super) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    !headers.contains_key(ACCEPT) || weight(headers, media).thousandths > 0
}

#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    /// How closely a range names it: not at all, `*/*`, `type/*`, by name.
    specificity: u8,
    is_named: bool,
    thousandths: u16,
}

/// What the range that names a media type most closely says of it.
fn weight(headers: &HeaderMap, media: &str) -> Weight {
    let mut found = Weight::default();
    let values = headers.get_all(ACCEPT).iter();
    let ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let specificity = match parts.next().unwrap_or_default() {
            name if name.eq_ignore_ascii_case(media) => 3,
            "*/*" => 1,
            name if is_kind_of(name, media) => 2,
            _ => continue,
        };
        if specificity > found.specificity {
            let weight = parts.find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
            });
            found = Weight {
                specificity,
                is_named: specificity == 3,
                thousandths: weight.map_or(1000, thousandths),
            };
        }
    }
    found
}

/// Whether `type/*` includes a media type.
fn is_kind_of(range: &str, media: &str) -> bool {
    let kind = range.strip_suffix("/*");
    let own = media.split('/').next().unwrap_or_default();
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(own))
}

/// `0.5` as 500. What isn't a weight is none: the range is taken as if it had said nothing.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn weights_decide_and_names_beat_wildcards() {
        for (accept, lines) in [
            (&[][..], false),
            (&["*/*"], false),
            (&["application/*"], false),
            (&["application/json"], false),
            (&["application/x-ndjson"], true),
            (&["Application/X-NDJSON;q=0.1"], true),
            (&["application/x-ndjson;q=0"], false),
            (&["application/x-ndjson; q=0.5, application/json"], false),
            (
                &["application/x-ndjson;q=0.5, application/json;q=0.4"],
                true,
            ),
            (&["application/x-ndjson, application/json"], true),
            (&["application/x-ndjson;q=0.9", "*/*;q=0.8"], true),
            (
                &[
                    "application/x-ndjson;q=0.7",
                    "application/*;q=0.8, */*;q=0.1",
                ],
                false,
            ),
            (
                &["application/x-ndjson;charset=utf-8;q=0.3, application/json;q=0.2"],
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            let found = prefers(&headers, "application/x-ndjson", "application/json");
            assert_eq!(found, lines, "{accept:?}");
        }
    }
}
