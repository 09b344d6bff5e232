//! Results as a table, as JSON, in a file; and the median of many.

use crate::options::{Summarize, Target};
use serde_json::{Map, Value};
use std::io::Write;

/// Prints one result, and appends it to the file of `--out`.
pub(crate) fn report(t: &Target, m: Map<String, Value>) -> Result<(), String> {
    if let Some(f) = &t.out {
        let mut f = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(f)
            .map_err(|e| format!("{f}: {e}"))?;
        writeln!(f, "{}", Value::Object(m.clone())).map_err(|e| e.to_string())?;
    }
    if t.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&m).map_err(|e| e.to_string())?
        );
        return Ok(());
    }
    let w = m.keys().map(String::len).max().unwrap_or(0);
    for (k, v) in &m {
        match v {
            Value::String(s) => println!("{k:w$}  {s}"),
            _ => println!("{k:w$}  {v}"),
        }
    }
    println!();
    Ok(())
}

/// Median, least and most of every number in a file of `--out` lines, by label.
pub(crate) fn summarize(a: &Summarize) -> Result<(), String> {
    let text = std::fs::read_to_string(&a.file).map_err(|e| format!("{}: {e}", a.file))?;
    let mut groups: Vec<(String, Vec<Map<String, Value>>)> = vec![];
    for l in text.lines().filter(|l| !l.trim().is_empty()) {
        let m: Map<String, Value> = serde_json::from_str(l).map_err(|e| e.to_string())?;
        let label = m
            .get("label")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_string();
        match groups.iter_mut().find(|g| g.0 == label) {
            Some(g) => g.1.push(m),
            None => groups.push((label, vec![m])),
        }
    }
    for (label, runs) in groups {
        println!("{label}  ({} runs)", runs.len());
        for k in runs[0].keys() {
            if !a.fields.is_empty() && !a.fields.contains(k) {
                continue;
            }
            let mut v: Vec<f64> = runs
                .iter()
                .filter_map(|r| r.get(k).and_then(Value::as_f64))
                .collect();
            if v.is_empty() {
                continue;
            }
            v.sort_by(f64::total_cmp);
            let mid = if v.len() % 2 == 1 {
                v[v.len() / 2]
            } else {
                (v[v.len() / 2 - 1] + v[v.len() / 2]) / 2.0
            };
            println!("  {k:32} {mid}  ({} – {})", v[0], v[v.len() - 1]);
        }
    }
    Ok(())
}
