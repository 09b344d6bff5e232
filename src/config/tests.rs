//! What each variable takes and refuses.

use super::*;

fn read(vars: &[(&str, &str)]) -> Result<(Config, Vec<Warning>), Mistakes> {
    Config::from_vars(
        vars.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// Variable, a value that it takes, the value as shown then, and one that it refuses.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("INTEGRATION_ENABLED", "off", "false", "maybe"),
    ("INTEGRATION_MCP", "no", "false", "nope"),
    ("INTEGRATION_EVENT_DRIVEN", "0", "false", "2"),
    ("INTEGRATION_SSE", "FALSE", "false", "f"),
    ("INTEGRATION_SERVER_CHAINING", "yes", "true", "y"),
    ("INTEGRATION_TOOL_COMPOSITION", "true", "true", "truth"),
    ("INTEGRATION_SHARED_RESOURCES", "on", "true", "of"),
    ("INTEGRATION_SSE_HOST", "[::1]", "::1", "http://localhost"),
    ("INTEGRATION_SSE_PORT", "0", "0", "65536"),
    (
        "INTEGRATION_SSE_CORS_ORIGINS",
        "https://a, *",
        "https://a,*",
        "a.example",
    ),
    (
        "INTEGRATION_ALLOWED_HOSTS",
        "hub.local, b:80",
        "hub.local,b:80",
        "http://hub",
    ),
    ("INTEGRATION_AUTH", "none", "none", "off"),
    ("INTEGRATION_API_KEYS_FILE", "/etc/keys", "/etc/keys", ""),
    (
        "INTEGRATION_JWT_SECRET",
        "0123456789abcdef0123456789abcdef",
        "(set)",
        "short",
    ),
    (
        "INTEGRATION_JWKS",
        "https://id.example/jwks",
        "https://id.example/jwks",
        "http://id.example/jwks",
    ),
    (
        "INTEGRATION_JWT_ISSUER",
        "https://id.example",
        "https://id.example",
        "",
    ),
    ("INTEGRATION_JWT_AUDIENCE", "hub", "hub", ""),
    (
        "INTEGRATION_JWT_ALGORITHMS",
        "eddsa,ES256",
        "ES256,EdDSA",
        "none",
    ),
    ("INTEGRATION_SESSION_AGE", "1m", "1m", "59s"),
    (
        "INTEGRATION_SESSION_SECRET",
        "0123456789abcdef0123456789abcdef",
        "(set)",
        "short",
    ),
    (
        "INTEGRATION_SESSION_COOKIE",
        "__Host-hub",
        "__Host-hub",
        "a b",
    ),
    (
        "INTEGRATION_TRUSTED_PROXIES",
        "10.0.0.0/8, ::1",
        "10.0.0.0/8,::1/128",
        "proxy.example",
    ),
    ("INTEGRATION_TLS_CERT", "cert.pem", "cert.pem", ""),
    ("INTEGRATION_TLS_KEY", "key.pem", "key.pem", ""),
    ("INTEGRATION_HEADER_TIMEOUT_MS", "100", "100", "99"),
    ("INTEGRATION_BODY_TIMEOUT_MS", "100", "100", "99"),
    ("INTEGRATION_MAX_HEADER_BYTES", "64KiB", "64KiB", "1KiB"),
    ("INTEGRATION_MAX_HEADER_LINES", "16", "16", "15"),
    ("INTEGRATION_MAX_CONNECTIONS", "1", "1", "0"),
    ("INTEGRATION_MAX_BODIES_BYTES", "1MiB", "1MiB", "1KiB"),
    ("INTEGRATION_MAX_STREAMS_PER_ADDRESS", "1", "1", "x"),
    ("INTEGRATION_MAX_STREAMS_PER_TOKEN", "1", "1", "-1"),
    ("INTEGRATION_MAX_REQUESTS_PER_ADDRESS", "1", "1", "1.5"),
    ("INTEGRATION_MAX_REQUESTS_PER_TOKEN", "1", "1", "1/s"),
    ("INTEGRATION_MAX_SERVERS", "1", "1", "0"),
    ("INTEGRATION_MAX_WORKFLOWS", "1", "1", "0"),
    ("INTEGRATION_MAX_STEPS", "1", "1", "0"),
    ("INTEGRATION_MAX_BODY_BYTES", "1 MiB", "1MiB", "17MiB"),
    ("INTEGRATION_MAX_JSON_DEPTH", "4", "4", "65"),
    ("INTEGRATION_MAX_ID_LENGTH", "40", "40", "129"),
    ("INTEGRATION_MAX_TAGS", "0", "0", "1001"),
    ("INTEGRATION_MAX_PATTERNS", "5", "5", "4"),
    ("INTEGRATION_MAX_CUSTOM_TYPES", "1", "1", "0"),
    ("INTEGRATION_SSE_KEEPALIVE_MS", "50", "50", "49"),
    ("INTEGRATION_SSE_RETRY_MS", "1", "1", "0"),
    ("INTEGRATION_SSE_STALL_TIMEOUT_MS", "100", "100", "99"),
    ("INTEGRATION_SSE_MAX_CLIENTS", "1", "1", "0"),
    ("INTEGRATION_DRAIN_TIMEOUT_MS", "0", "0", "5s"),
    (
        "INTEGRATION_HEARTBEAT_INTERVAL_MS",
        "300000",
        "300000",
        "300001",
    ),
    ("INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER", "2", "2", "1"),
    ("INTEGRATION_HEARTBEAT_DISCONNECT_AFTER", "4", "4", "-1"),
    ("INTEGRATION_HEARTBEAT_RECOVER_AFTER", "1", "1", "0"),
    (
        "INTEGRATION_SERVERS_FILE",
        "/etc/mcp.json",
        "/etc/mcp.json",
        "",
    ),
    (
        "INTEGRATION_PROBE_ALLOW",
        "mcp.example, 10.0.0.0/8",
        "mcp.example,10.0.0.0/8",
        "http://a",
    ),
    ("INTEGRATION_PROBE_CONCURRENCY", "8", "8", "0"),
    ("INTEGRATION_DATA_DIR", ":memory:", ":memory:", ""),
    ("INTEGRATION_RETENTION_AGE", "36h", "36h", "week"),
    ("INTEGRATION_RETENTION_EVENTS", "1", "1", "0"),
    ("INTEGRATION_RETENTION_BYTES", "512MiB", "512MiB", "1KiB"),
    ("INTEGRATION_STATE_RETENTION_AGE", "90", "90ms", "0"),
    ("INTEGRATION_STATE_RETENTION_COUNT", "0", "0", "1e3"),
    ("INTEGRATION_IDEMPOTENCY_KEYS", "1", "1", "0"),
    ("INTEGRATION_IDEMPOTENCY_BYTES", "1 MiB", "1MiB", "1KiB"),
    ("LOG_LEVEL", "debug", "debug", "loud"),
    ("LOG_FORMAT", "JSON", "json", "xml"),
];

#[test]
fn every_setting_has_a_case() {
    let names: Vec<_> = CASES.iter().map(|case| case.0).collect();
    assert_eq!(
        names,
        SETTINGS
            .iter()
            .map(|setting| setting.name)
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_good_value_is_taken_and_changes_that_setting_alone() {
    let tls = |name: &str| name.starts_with("INTEGRATION_TLS_");
    for (name, good, shown, _) in CASES {
        // The files of TLS make sense together only.
        let other = CASES
            .iter()
            .find(|case| tls(name) && tls(case.0) && case.0 != *name);
        let mut vars = vec![(*name, *good)];
        vars.extend(other.map(|case| (case.0, case.1)));
        let (config, _) = read(&vars).unwrap();
        for setting in SETTINGS
            .iter()
            .filter(|setting| Some(setting.name) != other.map(|case| case.0))
        {
            let wanted = if setting.name == *name {
                (*shown).to_owned()
            } else {
                setting.default_text()
            };
            assert_eq!(
                (setting.show)(&config),
                wanted,
                "{} after {name}={good}",
                setting.name
            );
        }
    }
}

#[test]
fn a_bad_value_is_named_with_what_would_be_right() {
    for (name, _, _, bad) in CASES.iter().filter(|case| !case.3.is_empty()) {
        let mistakes = read(&[(name, bad)]).unwrap_err();
        let [mistake] = mistakes.0.as_slice() else {
            panic!("{mistakes}")
        };
        let secret = SETTINGS
            .iter()
            .any(|setting| setting.name == *name && setting.secret);
        let shown = (!secret).then_some(*bad);
        assert_eq!(
            (mistake.name.as_str(), mistake.value.as_deref()),
            (*name, shown)
        );
        assert!(mistake.problem.contains("must be"), "{mistake}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let bad: Vec<_> = CASES
        .iter()
        .filter(|case| !case.3.is_empty())
        .map(|case| (case.0, case.3))
        .collect();
    assert_eq!(read(&bad).unwrap_err().0.len(), bad.len());
}

#[test]
fn an_empty_value_is_none() {
    let blank: Vec<_> = CASES.iter().map(|case| (case.0, " ")).collect();
    let (config, warnings) = read(&blank).unwrap();
    assert_eq!((config, warnings.len()), (Config::default(), 0));
}

#[test]
fn the_defaults_are_the_documented_ones_and_set_no_flag() {
    let (config, warnings) = read(&[("PATH", "/bin"), ("HOME", "/")]).unwrap();
    assert_eq!((&config, warnings.len()), (&Config::default(), 0));
    assert_eq!(config.patterns, PatternFlags::default());
}

#[test]
fn an_unknown_name_is_a_warning_with_the_nearest_known_one() {
    let (_, warnings) = read(&[
        ("INTEGRATION_SSE_PROT", "1"),
        ("INTEGRATION_XYZZY_FROBNICATE_ALL", "1"),
    ])
    .unwrap();
    let nearest: Vec<_> = warnings.iter().map(|warning| warning.nearest).collect();
    assert_eq!(nearest, [Some("INTEGRATION_SSE_PORT"), None]);
    assert!(
        warnings[0]
            .to_string()
            .contains("did you mean INTEGRATION_SSE_PORT?")
    );
}

#[test]
fn a_server_is_unhealthy_before_it_is_gone() {
    const UNHEALTHY: &str = "INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER";
    const DISCONNECT: &str = "INTEGRATION_HEARTBEAT_DISCONNECT_AFTER";
    for (unhealthy, disconnect, fits) in [
        ("3", "4", true),
        ("3", "3", false),
        ("10", "", false),
        ("9", "", true),
        ("", "3", false),
    ] {
        let read = read(&[(UNHEALTHY, unhealthy), (DISCONNECT, disconnect)]);
        assert_eq!(read.is_ok(), fits, "{unhealthy} {disconnect}");
        if let Err(mistakes) = read {
            assert_eq!(mistakes.0.len(), 1);
            assert!(mistakes.to_string().contains(UNHEALTHY), "{mistakes}");
        }
    }
}

#[test]
fn off_loopback_nothing_is_open_by_accident() {
    const SECRET: (&str, &str) = ("INTEGRATION_JWT_SECRET", "0123456789abcdef0123456789abcdef");
    for host in ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"] {
        assert!(read(&[("INTEGRATION_SSE_HOST", host)]).is_ok(), "{host}");
    }
    for host in [
        "0.0.0.0",
        "::",
        "192.168.1.5",
        "hub.example",
        "localhost.example",
    ] {
        let host = ("INTEGRATION_SSE_HOST", host);
        let refused = read(&[host]).unwrap_err().to_string();
        for way in [
            "INTEGRATION_API_KEYS_FILE",
            "INTEGRATION_JWT_SECRET",
            "INTEGRATION_JWKS",
            "INTEGRATION_AUTH=none",
        ] {
            assert!(refused.contains(way), "{refused}");
        }
        assert!(read(&[host, ("INTEGRATION_AUTH", "none")]).is_ok());
        assert!(read(&[host, ("INTEGRATION_API_KEYS_FILE", "keys.json")]).is_ok());
        assert!(read(&[host, SECRET]).is_ok());
    }
    let contradiction = read(&[("INTEGRATION_AUTH", "none"), SECRET]).unwrap_err();
    assert_eq!(contradiction.0[0].name, "INTEGRATION_AUTH");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "correct-horse-battery-staple-correct-horse";
    let (config, _) = read(&[
        ("INTEGRATION_JWT_SECRET", secret),
        ("INTEGRATION_SESSION_SECRET", secret),
    ])
    .unwrap();
    let shown = format!("{config:?}{}", effective(&config));
    assert!(
        !shown.contains("horse") && shown.contains("INTEGRATION_JWT_SECRET='(set)'"),
        "{shown}"
    );
    let short = read(&[("INTEGRATION_JWT_SECRET", "tooshort")]).unwrap_err();
    assert!(!short.to_string().contains("tooshort"));
}

#[test]
fn tls_needs_both_files_and_algorithms_fit_the_keys() {
    for (vars, name) in [
        (
            vec![("INTEGRATION_TLS_CERT", "c.pem")],
            "INTEGRATION_TLS_KEY",
        ),
        (
            vec![("INTEGRATION_TLS_KEY", "k.pem")],
            "INTEGRATION_TLS_CERT",
        ),
        (
            vec![
                ("INTEGRATION_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
                ("INTEGRATION_JWT_ALGORITHMS", "RS256"),
            ],
            "INTEGRATION_JWT_ALGORITHMS",
        ),
        (
            vec![
                ("INTEGRATION_JWKS", "keys.json"),
                ("INTEGRATION_JWT_ALGORITHMS", "HS256"),
            ],
            "INTEGRATION_JWT_ALGORITHMS",
        ),
    ] {
        assert_eq!(read(&vars).unwrap_err().0[0].name, name);
    }
}
