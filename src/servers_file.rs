//! A file of MCP servers as MCP clients have it: `{"mcpServers": {name: {…}}}`, or `{"servers": …}` as VS Code has it,
//! with comments and trailing commas as editors leave them there.
//!
//! Reading changes nothing and takes nothing from the environment: an [`Entry`] is what is written. Only
//! [`Endpoint::filled`] puts in what `${VAR}` and `${env:VAR}` stand for, so that whoever writes the file again keeps
//! the names, and never the secrets. Errors name members and variables, never values.

mod edit;
mod plain;

use std::fmt;

use serde_json::{Map, Value};

pub use edit::{Wrapped, wrap};

/// One server of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What the file calls it.
    pub name: String,
    /// How clients reach it.
    pub kind: Kind,
    /// The entry as it is written.
    pub written: Map<String, Value>,
}

/// How clients reach a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// They start it: it speaks over standard input and output.
    Command {
        /// The program, as it is written.
        command: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// They ask it over HTTP.
    Http(Endpoint),
    /// The entry can't be understood; why, in words.
    Wrong(String),
}

/// Where a server is asked, and with which headers, as it is written.
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    /// Its URL.
    pub url: String,
    /// `type` is `sse`: the older transport.
    pub sse: bool,
    /// Headers that go with every request.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("sse", &self.sse)
            .field("headers", &names)
            .finish()
    }
}

/// Why a file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It isn't JSON.
    #[error("it isn't JSON: {0}")]
    NotJson(String),
    /// It holds no servers.
    #[error(
        "it holds no servers: they stand in an object \"mcpServers\" (or \"servers\"), each by its name"
    )]
    NoServers,
}

/// The entries of a file, in its order. An entry that can't be understood is there with the reason why; the others are
/// none the worse for it.
///
/// # Errors
/// [`FileError`].
pub fn read(text: &str) -> Result<Vec<Entry>, FileError> {
    let plain = plain::json(text);
    let file: Value =
        serde_json::from_str(&plain).map_err(|error| FileError::NotJson(error.to_string()))?;
    let servers = ["mcpServers", "servers"]
        .into_iter()
        .find_map(|name| file.get(name)?.as_object())
        .ok_or(FileError::NoServers)?;
    Ok(servers
        .iter()
        .map(|(name, entry)| Entry {
            name: name.clone(),
            kind: kind(entry),
            written: entry.as_object().cloned().unwrap_or_default(),
        })
        .collect())
}

fn kind(entry: &Value) -> Kind {
    let wrong = |why: &str| Kind::Wrong(why.to_owned());
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    if !entry.is_object() {
        return wrong("the entry must be an object with a \"url\" or a \"command\"");
    }
    match (text("command"), text("url"), text("type")) {
        (_, None, Some("http" | "streamable-http" | "streamableHttp" | "sse")) => {
            wrong("\"url\" is missing: where the server is asked")
        }
        (Some(command), None, _) => Kind::Command {
            command: command.to_owned(),
            args: entry["args"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        },
        (None, Some(url), form) => {
            let sse = match form {
                None | Some("http" | "streamable-http" | "streamableHttp") => false,
                Some("sse") => true,
                Some(_) => return wrong("\"type\" must be \"http\" or \"sse\" beside a \"url\""),
            };
            match headers(&entry["headers"]) {
                Ok(headers) => Kind::Http(Endpoint {
                    url: url.to_owned(),
                    sse,
                    headers,
                }),
                Err(why) => Kind::Wrong(why),
            }
        }
        (Some(_), Some(_), _) => wrong("it has both a \"command\" and a \"url\""),
        (None, None, _) => wrong("it has neither a \"url\" nor a \"command\""),
    }
}

fn headers(value: &Value) -> Result<Vec<(String, String)>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(headers) => headers
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(text) => Ok((name.clone(), text.to_owned())),
                None => Err(format!("the header {name:?} must be a string")),
            })
            .collect(),
        _ => Err("\"headers\" must be an object of strings".to_owned()),
    }
}

impl Endpoint {
    /// The same with the environment's values put in; `var` looks a variable up.
    ///
    /// # Errors
    /// Which variable is missing, or what stands in `${…}` that isn't one.
    pub fn filled(&self, var: &impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| {
                let value =
                    filled(value, var).map_err(|why| format!("the header {name}: {why}"))?;
                Ok((name.clone(), value))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            url: filled(&self.url, var).map_err(|why| format!("\"url\": {why}"))?,
            sse: self.sse,
            headers,
        })
    }
}

/// A text with `${VAR}`, `${env:VAR}` and `${VAR:-default}` replaced by the environment's values.
///
/// # Errors
/// Which variable isn't set, or what isn't a variable.
pub fn filled(text: &str, var: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((inside, behind)) = after.split_once('}') else {
            return Err("a ${ is never closed".to_owned());
        };
        let named = inside.strip_prefix("env:").unwrap_or(inside);
        let (name, default) = match named.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (named, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!(
                "${{{inside}}} is no variable of the environment; ${{NAME}} and ${{env:NAME}} are"
            ));
        }
        match var(name).or_else(|| default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => return Err(format!("the variable {name} isn't set")),
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Kind {
        read(text).unwrap().pop().unwrap().kind
    }

    #[test]
    fn files_of_several_clients_are_read() {
        let text = r#"{
            // of an editor
            "mcpServers": {
                "git": {"command": "uvx", "args": ["mcp-server-git", "--repo=//x"]}, /* local */
                "remote": {"type": "http", "url": "https://mcp.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
                "old": {"type": "sse", "url": "http://127.0.0.1:8902/sse",},
                "odd": {"type": "pigeon", "url": "http://a/"},
            },
        }"#;
        let entries = read(text).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["git", "remote", "old", "odd"]);
        assert_eq!(
            entries[0].kind,
            Kind::Command {
                command: "uvx".to_owned(),
                args: vec!["mcp-server-git".to_owned(), "--repo=//x".to_owned()]
            }
        );
        assert!(matches!(&entries[1].kind, Kind::Http(endpoint) if !endpoint.sse));
        assert!(matches!(&entries[2].kind, Kind::Http(endpoint) if endpoint.sse));
        assert!(matches!(&entries[3].kind, Kind::Wrong(_)));
        let vs_code = r#"{"inputs": [], "servers": {"a": {"type": "stdio", "command": "x"}}}"#;
        assert!(matches!(only(vs_code), Kind::Command { .. }));
        assert_eq!(read("{}"), Err(FileError::NoServers));
        assert!(matches!(read("{"), Err(FileError::NotJson(_))));
    }

    #[test]
    fn variables_are_put_in_and_missing_ones_are_named() {
        let var = |name: &str| (name == "TOKEN").then(|| "secret".to_owned());
        assert_eq!(filled("Bearer ${TOKEN}.", &var).unwrap(), "Bearer secret.");
        assert_eq!(
            filled("${env:TOKEN}${TOKEN}", &var).unwrap(),
            "secretsecret"
        );
        assert_eq!(filled("${NO:-http://x}/$", &var).unwrap(), "http://x/$");
        assert_eq!(
            filled("${NO}", &var).unwrap_err(),
            "the variable NO isn't set"
        );
        assert!(
            filled("${input:key}", &var)
                .unwrap_err()
                .contains("input:key")
        );
        assert!(filled("${TOKEN", &var).is_err());
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let Kind::Http(endpoint) =
            only(r#"{"servers": {"a": {"url": "http://a/", "headers": {"x-key": "${K}"}}}}"#)
        else {
            panic!("HTTP")
        };
        let filled = endpoint.filled(&|_| Some("secret".to_owned())).unwrap();
        assert_eq!(filled.headers[0].1, "secret");
        assert!(!format!("{filled:?}").contains("secret"));
    }
}
