//! `probe`: asks an MCP server once, from a terminal.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    domain::probe::{Era, Verdict},
    probe::{Found, Kept, Learned, Patience, Permit, Prober, Target},
    words::Span,
};

/// Ask an MCP server over HTTP whether it is there, what it is and what it offers.
#[derive(Debug, Args)]
#[command(
    after_help = "Redirects aren't followed and proxies aren't used. Exit codes: 0 healthy, 1 not (also if it is slow or asks for credentials), 2 wrong arguments.\n\n  \
timeback-events probe http://127.0.0.1:8080/mcp\n  \
timeback-events probe https://mcp.example/mcp --header 'Authorization: Bearer …' --json"
)]
pub(super) struct Probe {
    /// Where the server is asked.
    url: String,
    /// A header to send, Name: value; repeated for more. It is never shown.
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<String>,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
    /// It is HTTP+SSE, the transport of 2024-11-05.
    #[arg(long)]
    sse: bool,
    /// How long each answer may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// An answer that takes longer is slow.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    slow: Duration,
}

pub(super) fn run(probe: &Probe) -> ExitCode {
    let target = match target(probe) {
        Ok(target) => target,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(super::USAGE);
        }
    };
    let patience = Patience {
        timeout: probe.timeout,
        slow: probe.slow,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return super::failed(&error),
    };
    let found = runtime.block_on(async {
        let (prober, mut kept) = (Prober::new(), Kept::default());
        let found = prober
            .probe(&target, &mut kept, &Permit::Anyone, patience)
            .await;
        prober
            .forget(&target, &mut kept, &Permit::Anyone, patience)
            .await;
        found
    });
    if probe.json {
        println!("{}", as_json(&target, &found));
    } else {
        print!("{}", as_text(&target, &found));
    }
    match found.verdict {
        Verdict::Healthy => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn target(probe: &Probe) -> Result<Target, String> {
    let mut headers = Vec::new();
    for header in &probe.header {
        // What is wrong with it is said without it: it may be a secret.
        let (name, value) = header
            .split_once(':')
            .ok_or("a header looks like Name: value")?;
        headers.push((name.trim(), value.trim()));
    }
    Target::parse(&probe.url)
        .map_err(|why| format!("the URL {why}"))?
        .over_sse(probe.sse)
        .with_headers(headers)
}

fn as_json(target: &Target, found: &Found) -> Value {
    let learned = found.learned.as_deref();
    let list = |pick: fn(&Learned) -> &Option<Vec<Value>>| learned.map(pick);
    json!({
        "url": target.to_string(),
        "verdict": found.verdict,
        "detail": found.detail,
        "latencyMs": found.latency.map(ms),
        "era": found.era,
        "name": learned.and_then(|learned| learned.name.as_deref()),
        "version": learned.and_then(|learned| learned.version.as_deref()),
        "transport": learned.map(|learned| learned.transport),
        "protocolVersion": learned.and_then(|learned| learned.protocol_version.as_deref()),
        "protocolVersions": learned.map(|learned| &learned.protocol_versions),
        "capabilities": learned.map(|_| json!({
            "tools": list(|learned| &learned.tools),
            "resources": list(|learned| &learned.resources),
            "prompts": list(|learned| &learned.prompts),
        })),
    })
}

fn as_text(target: &Target, found: &Found) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:<10} {}", plain(value));
    line("verdict", found.verdict.as_str());
    line("why", &found.detail);
    line("url", &target.to_string());
    if let Some(latency) = found.latency {
        line(
            "latency",
            &format!("{:.1} ms", latency.as_secs_f64() * 1000.0),
        );
    }
    if let Some(era) = found.era {
        line(
            "era",
            match era {
                Era::Modern => "modern (no handshake, since 2026-07-28)",
                Era::Legacy => "legacy (initialize, up to 2025-11-25)",
                Era::Sse => "sse (HTTP+SSE, 2024-11-05)",
            },
        );
    }
    if let Some(learned) = &found.learned {
        let name = learned.name.as_deref().unwrap_or("(no name)");
        line(
            "server",
            &format!("{name} {}", learned.version.as_deref().unwrap_or_default()),
        );
        line("versions", &learned.protocol_versions.join(", "));
        for (kind, list) in [
            ("tools", &learned.tools),
            ("resources", &learned.resources),
            ("prompts", &learned.prompts),
        ] {
            let Some(list) = list else {
                line(kind, "(it didn't say)");
                continue;
            };
            let names: Vec<_> = list
                .iter()
                .filter_map(|entry| entry["name"].as_str().or(entry["uri"].as_str()))
                .take(SHOWN)
                .collect();
            let more = list.len().saturating_sub(names.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            line(kind, &format!("{} {}{more}", list.len(), names.join(", ")));
        }
    }
    text
}

/// Without what could drive a terminal.
fn plain(text: &str) -> String {
    text.trim_end()
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

fn ms(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 10_000.0).round() / 10.0
}

fn duration(text: &str) -> Result<Duration, String> {
    match Span::parse(text) {
        Some(Span::Millis(ms)) if (1..=600_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("a duration looks like 2s or 500ms, and is 10 minutes at most".to_owned()),
    }
}

/// Names that are shown of each list.
const SHOWN: usize = 20;
