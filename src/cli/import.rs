//! `import`: an MCP client's configuration with each stdio server behind `wrap`, and its HTTP servers as a file for
//! `INTEGRATION_SERVERS_FILE`; or what a registry's `server.json` describes, as such a configuration.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{USAGE, failed};
use crate::servers_file::{self, Entry, Wrapped};

/// Put every stdio server of an MCP client's configuration behind the wrapper, and list its HTTP servers for
/// INTEGRATION_SERVERS_FILE.
#[derive(Debug, Args)]
#[command(
    after_help = "Prints the configuration to standard output and the HTTP servers, as a file for \
INTEGRATION_SERVERS_FILE, to standard error. With --write the configuration is written back (everything else in it stays as it \
is, and the old one is kept as FILE.bak), and the HTTP servers are printed to standard output.\n\n\
A registry's server.json is taken, too, and printed as a configuration."
)]
pub(super) struct Import {
    /// The client's file: {"mcpServers": {…}}, or {"servers": {…}} as VS Code has it, with comments; or a server.json.
    #[arg(value_name = "CLIENT_CONFIG.json")]
    file: PathBuf,
    /// Write it back.
    #[arg(long)]
    write: bool,
    /// The hub that the wrappers tell; if it isn't given, TIMEBACK_EVENTS_URL in their environment or the default.
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(import: &Import) -> ExitCode {
    let text = match fs::read_to_string(&import.file) {
        Ok(text) => text,
        Err(error) => return wrong(&import.file, &error),
    };
    let options: Vec<String> = import
        .url
        .iter()
        .flat_map(|url| ["--url".to_owned(), url.clone()])
        .collect();
    let described = serde_json::from_str::<Value>(&text).ok();
    if let Some(server) = described.filter(is_server_json) {
        if import.write {
            return wrong(
                &import.file,
                &"a server.json describes a server and is not a client's configuration: leave --write out",
            );
        }
        return described_server(&server, &options);
    }
    let done = match servers_file::wrap(&text, &options) {
        Ok(done) => done,
        Err(error) => return wrong(&import.file, &error),
    };
    match import.write {
        true => write_back(&import.file, &text, &done),
        false => print(&done),
    }
}

fn wrong(file: &Path, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {}: {why}", file.display());
    ExitCode::from(USAGE)
}

fn print(done: &Wrapped) -> ExitCode {
    if let Err(error) = io::stdout().write_all(done.text.as_bytes()) {
        return failed(&error);
    }
    tell(done);
    if !done.http.is_empty() {
        eprintln!(
            "HTTP servers, as a file for INTEGRATION_SERVERS_FILE:\n{}",
            http_file(&done.http)
        );
    }
    ExitCode::SUCCESS
}

fn tell(done: &Wrapped) {
    for (name, why) in &done.left {
        eprintln!("{name}: left alone, for {why}");
    }
}

/// HTTP servers as the hub's own file has them, as they are written: with the names of variables, not their values.
fn http_file(entries: &[Entry]) -> String {
    let servers: Map<String, Value> = entries
        .iter()
        .map(|entry| (entry.name.clone(), Value::Object(entry.written.clone())))
        .collect();
    pretty(&json!({"mcpServers": servers}))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The old file is kept beside; the new one takes its place at once, or not at all.
fn write_back(file: &Path, old: &str, done: &Wrapped) -> ExitCode {
    tell(done);
    if done.text == old {
        eprintln!("{}: nothing to change", file.display());
    } else {
        match replace(file, old, &done.text) {
            Ok(backup) => eprintln!(
                "{}: wrapped {}; the old file is {}",
                file.display(),
                done.wrapped.join(", "),
                backup.display()
            ),
            Err(error) => return failed(&error),
        }
    }
    if !done.http.is_empty() {
        println!("{}", http_file(&done.http));
    }
    ExitCode::SUCCESS
}

fn replace(file: &Path, old: &str, new: &str) -> io::Result<PathBuf> {
    // A link to the file stays one.
    let file = fs::canonicalize(file)?;
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let beside = |end: &str| file.with_file_name(format!("{name}{end}"));
    let permissions = fs::metadata(&file)?.permissions();
    let create = |path: &Path, text: &str| {
        let mut fresh = fs::File::create_new(path)?;
        fresh.set_permissions(permissions.clone())?;
        fresh.write_all(text.as_bytes())?;
        fresh.sync_all()
    };
    let mut backup = beside(".bak");
    let mut number = 1;
    while let Err(error) = create(&backup, old) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        number += 1;
        backup = beside(&format!(".bak{number}"));
    }
    let fresh = beside(&format!(".{}.new", std::process::id()));
    let written = create(&fresh, new).and_then(|()| fs::rename(&fresh, &file));
    if written.is_err() {
        // What can't be put in place is nobody's; that it can't be removed either changes nothing.
        let _left_behind = fs::remove_file(&fresh);
    }
    written.map(|()| backup)
}

/// A registry's description: a name with a slash, and where to get the server or reach it.
fn is_server_json(value: &Value) -> bool {
    let has = |name: &str| value.get(name).is_some_and(Value::is_array);
    let name = value["name"]
        .as_str()
        .is_some_and(|name| name.contains('/'));
    name && (has("packages") || has("remotes")) && value.get("mcpServers").is_none()
}

fn described_server(server: &Value, options: &[String]) -> ExitCode {
    let full = server["name"].as_str().unwrap_or_default();
    let name = full.rsplit('/').next().unwrap_or(full);
    let packages = server["packages"].as_array().into_iter().flatten();
    let mut package = None;
    for found in packages {
        match command(found, server["version"].as_str()) {
            Ok(command) if package.is_none() => package = Some((command, environment(found))),
            Ok(_) => {}
            Err(why) => eprintln!("{name}: {why}"),
        }
    }
    if let Some((command, env)) = &package {
        let words = [
            &["wrap".to_owned()][..],
            options,
            &["--".to_owned()],
            command,
        ]
        .concat();
        let mut entry = json!({"command": "timeback-events", "args": words});
        if !env.is_empty() {
            entry["env"] = json!(env);
        }
        println!("{}", pretty(&json!({"mcpServers": {name: entry}})));
    }
    let mut remotes = Map::new();
    for remote in server["remotes"].as_array().into_iter().flatten() {
        match endpoint(remote) {
            Ok(entry) if remotes.is_empty() => {
                remotes.insert(name.to_owned(), entry);
            }
            Ok(_) => {}
            Err(why) => eprintln!("{name}: {why}"),
        }
    }
    if !remotes.is_empty() {
        let file = pretty(&json!({"mcpServers": remotes}));
        if package.is_none() {
            println!("{file}");
        } else {
            eprintln!("As a file for INTEGRATION_SERVERS_FILE:\n{file}");
        }
    } else if package.is_none() {
        eprintln!("error: {full}: there is nothing in it that can be started or asked");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How a package is started.
fn command(package: &Value, version: Option<&str>) -> Result<Vec<String>, String> {
    let text = |name: &str| package[name].as_str();
    let identifier = text("identifier").ok_or("a package has no identifier")?;
    let kind = text("registryType").unwrap_or_default();
    let transport = package["transport"]["type"].as_str();
    if transport.is_some_and(|transport| transport != "stdio") {
        return Err(format!("the package {identifier} doesn't speak stdio"));
    }
    let version = text("version").or(version);
    let at = |sign: &str| match version {
        Some(version) => format!("{identifier}{sign}{version}"),
        None => identifier.to_owned(),
    };
    let mut words: Vec<String> = match kind {
        "npm" => vec!["npx".to_owned(), "-y".to_owned(), at("@")],
        "pypi" => vec!["uvx".to_owned(), at("==")],
        "oci" => ["docker", "run", "-i", "--rm", identifier]
            .map(str::to_owned)
            .to_vec(),
        other => return Err(format!("a package of {other} has to be started by hand")),
    };
    for argument in package["packageArguments"].as_array().into_iter().flatten() {
        let value = argument["value"].as_str().or(argument["default"].as_str());
        let name = argument["name"].as_str();
        match (argument["type"].as_str(), name, value) {
            (Some("named"), Some(name), value) => {
                words.push(name.to_owned());
                words.extend(value.map(str::to_owned));
            }
            (_, _, Some(value)) => words.push(value.to_owned()),
            (_, name, None) if argument["isRequired"] == true => {
                let name = name.or(argument["valueHint"].as_str()).unwrap_or("value");
                words.push(format!("<{name}>"));
                eprintln!("{identifier}: put in what <{name}> stands for");
            }
            _ => {}
        }
    }
    Ok(words)
}

/// The variables that a package needs, each taken from the client's own environment.
fn environment(package: &Value) -> Map<String, Value> {
    let variables = package["environmentVariables"].as_array();
    let needed = variables.into_iter().flatten().filter_map(|variable| {
        let name = variable["name"].as_str()?;
        let value = variable["value"].as_str().or(variable["default"].as_str());
        let value = value.map_or_else(|| format!("${{{name}}}"), str::to_owned);
        let is_there = variable["isRequired"] == true || variable.get("value").is_some();
        is_there.then(|| (name.to_owned(), Value::from(value)))
    });
    needed.collect()
}

/// Where a remote server is asked. A header that its user has to know becomes a variable of the environment.
fn endpoint(remote: &Value) -> Result<Value, String> {
    let url = remote["url"].as_str().ok_or("a remote has no url")?;
    if url.contains('{') {
        return Err(format!(
            "{url} holds a variable: put the address in by hand"
        ));
    }
    let form = match remote["type"].as_str() {
        Some("sse") => "sse",
        _ => "http",
    };
    let mut entry = json!({"type": form, "url": url});
    let headers = remote["headers"].as_array().into_iter().flatten();
    let headers: Map<String, Value> = headers
        .filter_map(|header| {
            let name = header["name"].as_str()?;
            let variable = name.to_ascii_uppercase().replace('-', "_");
            let value = header["value"]
                .as_str()
                .filter(|value| !value.contains('{'));
            let value = value.map_or_else(|| format!("${{{variable}}}"), str::to_owned);
            let is_there = header["isRequired"] == true || header.get("value").is_some();
            is_there.then(|| (name.to_owned(), Value::from(value)))
        })
        .collect();
    if !headers.is_empty() {
        entry["headers"] = Value::Object(headers);
    }
    Ok(entry)
}
