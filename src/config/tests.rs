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
        "hub.local, b",
        "hub.local,b",
        "hub:80",
    ),
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
    ("INTEGRATION_DATA_DIR", ":memory:", ":memory:", ""),
    ("INTEGRATION_RETENTION_AGE", "36h", "36h", "week"),
    ("INTEGRATION_RETENTION_EVENTS", "1", "1", "0"),
    ("INTEGRATION_RETENTION_BYTES", "512MiB", "512MiB", "1KiB"),
    ("INTEGRATION_STATE_RETENTION_AGE", "90", "90ms", "0"),
    ("INTEGRATION_STATE_RETENTION_COUNT", "0", "0", "1e3"),
    ("INTEGRATION_IDEMPOTENCY_KEYS", "1", "1", "0"),
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
    for (name, good, shown, _) in CASES {
        let (config, warnings) = read(&[(name, good)]).unwrap();
        assert!(warnings.is_empty());
        for setting in SETTINGS {
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
        assert_eq!(
            (mistake.name.as_str(), mistake.value.as_deref()),
            (*name, Some(*bad))
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
