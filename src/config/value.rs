//! Reads and shows single values. Every refusal is a sentence that says what would be right.

use std::{
    fmt::Display, net::IpAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration,
};

use ipnet::IpNet;

use super::{JwksSource, Secret, SigningAlgorithm};
use crate::words::{Span, UNITS_OF_TIME, with_unit};

/// What a reader gives: the value, or what would be right.
pub(super) type Read<T> = Result<T, String>;

/// `true` or `false`, and what else people write for them.
pub(super) fn flag(text: &str) -> Read<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A whole number within bounds.
pub(super) fn number<T>(text: &str, bounds: RangeInclusive<T>) -> Read<T>
where
    T: FromStr + PartialOrd + Display,
{
    let read = text.parse().ok().filter(|number| bounds.contains(number));
    read.ok_or_else(|| {
        format!(
            "must be a whole number from {} to {}",
            bounds.start(),
            bounds.end()
        )
    })
}

/// A time in milliseconds within bounds.
pub(super) fn millis(text: &str, bounds: RangeInclusive<u64>) -> Read<Duration> {
    let read = text.parse().ok().filter(|ms| bounds.contains(ms));
    read.map(Duration::from_millis).ok_or_else(|| {
        format!(
            "must be a whole number of milliseconds from {} to {}",
            bounds.start(),
            bounds.end()
        )
    })
}

/// An age such as `7d`, `24h`, `15m`, `30s`, or a bare number of milliseconds, within bounds (milliseconds).
pub(super) fn age(text: &str, bounds: RangeInclusive<u64>) -> Read<Duration> {
    let ms = Span::parse(text).map(|span| match span {
        Span::Millis(ms) | Span::Bare(ms) => ms,
    });
    ms.filter(|ms| bounds.contains(ms)).map(Duration::from_millis).ok_or_else(|| {
        format!(
            "must be an age such as 7d, 24h, 15m, 30s or a number of milliseconds, from {} to {}",
            show_ms(*bounds.start()),
            show_ms(*bounds.end())
        )
    })
}

/// An age in its largest whole unit; a single day as `24h`, as people say it.
pub(super) fn show_age(age: Duration) -> String {
    show_ms(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

fn show_ms(ms: u64) -> String {
    match ms {
        86_400_000 => "24h".to_owned(),
        _ => show_unit(ms, &UNITS_OF_TIME),
    }
}

/// Units of sizes in bytes, the largest first. Both KiB and kB are understood, each as it is defined.
const SIZES: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A size such as `1GiB`, `512MiB`, or a bare number of bytes, within bounds (bytes).
pub(super) fn size(text: &str, bounds: RangeInclusive<u64>) -> Read<u64> {
    let bytes =
        with_unit(text, &SIZES).and_then(|(number, scale)| number.checked_mul(scale.unwrap_or(1)));
    bytes.filter(|bytes| bounds.contains(bytes)).ok_or_else(|| {
        format!(
            "must be a size such as 1GiB, 512MiB or a number of bytes, from {} to {}",
            show_size(*bounds.start()),
            show_size(*bounds.end())
        )
    })
}

/// A size in its largest whole binary unit; bytes without a unit.
pub(super) fn show_size(bytes: u64) -> String {
    const BINARY: [(&str, u64); 5] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("", 1),
    ];
    show_unit(bytes, &BINARY)
}

fn show_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |scale: u64| value >= scale && value.is_multiple_of(scale);
    match units.iter().find(|(_, scale)| fits(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", value / scale),
        None => value.to_string(),
    }
}

/// A name or address to listen on or to be asked under, without a port.
pub(super) fn host(text: &str) -> Read<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_ascii_lowercase());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if text.len() <= 253 && name.split('.').all(label) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(format!(
            "{text:?} must be a host name or an address, without scheme and port"
        ))
    }
}

/// A name under which it may be asked, with a port where only that one is meant.
pub(super) fn host_and_port(text: &str) -> Read<String> {
    let wrong = |_| {
        format!("{text:?} must be a host name or address, such as hub.example or hub.example:8443")
    };
    match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            let port: u16 = port.parse().map_err(|_| wrong(String::new()))?;
            Ok(format!("{}:{port}", bracketed(&host(name).map_err(wrong)?)))
        }
        _ => host(text).map(|name| bracketed(&name)).map_err(wrong),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Text that is needed as it is.
pub(super) fn text(text: &str) -> Read<Option<String>> {
    Ok(Some(text.to_owned()))
}

/// A cookie's name: a token, as RFC 6265 has it.
pub(super) fn cookie_name(text: &str) -> Read<Option<String>> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_token) {
        Ok(Some(text.to_owned()))
    } else {
        Err("must be a cookie's name: 1 to 64 letters, digits, - or _".to_owned())
    }
}

/// A path.
pub(super) fn path(text: &str) -> Read<PathBuf> {
    Ok(PathBuf::from(text))
}

/// Shortest secret in bytes: as long as what HS256 makes of it (RFC 7518, section 3.2).
const SECRET_LEN: usize = 32;

/// A secret that is long enough not to be guessed.
pub(super) fn secret(text: &str) -> Read<Option<Secret>> {
    if text.len() >= SECRET_LEN {
        Ok(Some(Secret::new(text)))
    } else {
        Err(format!(
            "must be at least {SECRET_LEN} bytes long, best made with: openssl rand -base64 48"
        ))
    }
}

/// A file or an address of signing keys. Off this machine only `https` keeps them from being replaced.
pub(super) fn jwks(text: &str) -> Read<Option<JwksSource>> {
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(Some(JwksSource::File(PathBuf::from(text))));
    };
    let uri: http::Uri = text
        .parse()
        .map_err(|_| "must be a file or an https:// address".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !host.is_empty() && (scheme == "https" || (scheme == "http" && local)) {
        Ok(Some(JwksSource::Url(text.to_owned())))
    } else {
        Err("must be a file or an https:// address (http:// on loopback only)".to_owned())
    }
}

/// An address, or a net of them.
pub(super) fn net(text: &str) -> Read<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or(address)
        .map_err(|_| format!("{text:?} must be an address or a net such as 10.0.0.0/8 or fd00::/8"))
}

/// A list of signing algorithms.
pub(super) fn algorithms(text: &str) -> Read<Vec<SigningAlgorithm>> {
    let read = list(text, |name| {
        let known = ALGORITHMS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        // RFC 9864's name for the only curve of EdDSA that is taken.
        let newer = name.eq_ignore_ascii_case("Ed25519");
        known
            .map(|(_, algorithm)| *algorithm)
            .or(newer.then_some(SigningAlgorithm::EdDsa))
            .ok_or_else(|| format!("{name:?} must be one of HS256, RS256, ES256, EdDSA"))
    })?;
    if read.is_empty() {
        Err("must be at least one of HS256, RS256, ES256, EdDSA".to_owned())
    } else {
        Ok(read)
    }
}

/// Algorithms as they are written.
pub(super) fn show_algorithms(algorithms: &[SigningAlgorithm]) -> String {
    let names = ALGORITHMS
        .iter()
        .filter(|(_, algorithm)| algorithms.contains(algorithm));
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

const ALGORITHMS: [(&str, SigningAlgorithm); 4] = [
    ("HS256", SigningAlgorithm::Hs256),
    ("RS256", SigningAlgorithm::Rs256),
    ("ES256", SigningAlgorithm::Es256),
    ("EdDSA", SigningAlgorithm::EdDsa),
];

/// An exact web origin as browsers send it, or `*`.
pub(super) fn origin(text: &str) -> Read<String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let wrong = || {
        format!(
            "{text:?} must be an origin such as https://board.example or http://localhost:5173, \
             without a path, or *"
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            (name, Some(port.parse::<u16>().map_err(|_| wrong())?))
        }
        _ => (rest, None),
    };
    let bracketed = name.starts_with('[');
    let name = host(name).map_err(|_| wrong())?;
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err(wrong()),
    };
    let name = if bracketed { format!("[{name}]") } else { name };
    // Browsers leave the usual port out, so it could never match.
    Ok(match port {
        Some(port) if port != usual => format!("{scheme}://{name}:{port}"),
        _ => format!("{scheme}://{name}"),
    })
}

/// A comma separated list, each entry read by `read`, doubles dropped.
pub(super) fn list<T: PartialEq>(text: &str, read: impl Fn(&str) -> Read<T>) -> Read<Vec<T>> {
    let mut values = Vec::new();
    let mut wrong = Vec::new();
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        match read(entry) {
            Ok(value) if !values.contains(&value) => values.push(value),
            Ok(_) => {}
            Err(problem) => wrong.push(problem),
        }
    }
    if wrong.is_empty() {
        Ok(values)
    } else {
        Err(wrong.join("; "))
    }
}

/// What logs are to hold: a level, or `target=level` directives, comma separated.
pub(super) fn log_level(text: &str) -> Read<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // The filter takes a bare word that is no level for a target's name, which would silence all others.
    let known = text.split(',').map(str::trim).all(|directive| {
        directive.contains('=') || LEVELS.contains(&directive.to_ascii_lowercase().as_str())
    });
    if known && tracing_subscriber::EnvFilter::try_new(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(
            "must be off, error, warn, info, debug or trace, or directives such as \
             info,timeback_events::hub=debug"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read_and_shown_in_their_largest_whole_unit() {
        for (text, ms, shown) in [
            ("7d", 604_800_000, "7d"),
            ("24h", 86_400_000, "24h"),
            ("15m", 900_000, "15m"),
            ("30s", 30_000, "30s"),
            ("1500", 1_500, "1500ms"),
            ("1500ms", 1_500, "1500ms"),
            ("0", 0, "0"),
        ] {
            let read = age(text, 0..=u64::MAX).unwrap();
            assert_eq!(
                (read.as_millis(), show_age(read).as_str()),
                (ms, shown),
                "{text}"
            );
        }
        for (text, bytes, shown) in [
            ("1GiB", 1 << 30, "1GiB"),
            ("512MiB", 512 << 20, "512MiB"),
            ("1 GB", 1_000_000_000, "1000000000"),
            ("4096", 4096, "4KiB"),
        ] {
            let read = size(text, 0..=u64::MAX).unwrap();
            assert_eq!((read, show_size(read).as_str()), (bytes, shown), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_or_overflows_is_refused() {
        for text in ["", "d", "7 weeks", "-1d", "1.5h", "18446744073709551615d"] {
            assert!(age(text, 0..=u64::MAX).is_err(), "{text}");
        }
        for text in ["1gib", "GiB", "99999999999TiB", "-1"] {
            assert!(size(text, 0..=u64::MAX).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        for (text, kept) in [
            ("https://Board.Example", "https://board.example"),
            ("https://a:443", "https://a"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("*", "*"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(kept));
        }
        for text in [
            "board.example",
            "https://a/",
            "https://a/b",
            "ftp://a",
            "null",
            "https://a:x",
            "https://",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_names_every_wrong_entry() {
        assert_eq!(
            list("a, b,,a", host),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        let problem = list("a, b:1, c/d", host).unwrap_err();
        assert!(
            problem.contains("b:1") && problem.contains("c/d"),
            "{problem}"
        );
    }

    #[test]
    fn a_word_that_is_no_level_is_no_level() {
        for text in ["info", "WARN", "info,timeback_events::hub=debug", "off"] {
            assert!(log_level(text).is_ok(), "{text}");
        }
        for text in ["inf", "loud", "a=loud", "5x"] {
            assert!(log_level(text).is_err(), "{text}");
        }
    }
}
