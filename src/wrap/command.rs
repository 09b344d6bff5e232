//! The wrapped command: what it is called, what of it may be shown, and whether it is this wrapper again.

use std::{
    collections::hash_map::DefaultHasher,
    ffi::OsString,
    hash::{Hash, Hasher},
    path::Path,
};

/// The command line of the wrapped server.
#[derive(Debug, Clone)]
pub(super) struct CommandLine(Vec<OsString>);

impl CommandLine {
    /// The program and its arguments; `None` if there is no program.
    pub(super) fn new(words: Vec<OsString>) -> Option<Self> {
        (!words.is_empty()).then_some(Self(words))
    }

    pub(super) fn words(&self) -> &[OsString] {
        &self.0
    }

    fn texts(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    /// Tells commands apart.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// An id that stays the same from start to start: the package or the program that runs, whatever runs it.
    pub(super) fn id(&self) -> String {
        let texts = self.texts();
        let mut words = texts.iter().map(String::as_str).peekable();
        let mut name = "server";
        while let Some(word) = words.next() {
            let base = base_name(word);
            if word == "-m" || word == "--module" {
                name = words.peek().copied().unwrap_or(base);
                break;
            }
            if word.starts_with('-') || RUNNERS.contains(&base) || is_assignment(word) {
                continue;
            }
            name = base;
            break;
        }
        let id: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(LONGEST_ID)
            .collect();
        let id = id.trim_matches(['.', '-']);
        if id.is_empty() {
            "server".to_owned()
        } else {
            id.to_owned()
        }
    }

    /// The command without what may be secret: values of options that are named like secrets, what looks like a
    /// token, and passwords in addresses.
    pub(super) fn shown(&self) -> Vec<String> {
        let mut hide_next = false;
        self.texts()
            .into_iter()
            .map(|word| {
                if std::mem::take(&mut hide_next) && !word.starts_with('-') {
                    return HIDDEN.to_owned();
                }
                if word.starts_with('-') && !word.contains('=') && is_secret_name(&word) {
                    hide_next = true;
                }
                without_secrets(&word)
            })
            .collect()
    }

    /// Why it must not be started: it is a wrapper of the same command, directly or through others. `chain` is what
    /// the wrappers around this one are of ([`CHAIN`]).
    pub(super) fn loops(&self, chain: &str, own: Option<&Path>) -> Option<String> {
        let program = Path::new(&self.0[0]);
        let itself = own.is_some_and(|own| same_file(program, own));
        if itself && self.0.get(1).is_some_and(|word| word == "wrap") {
            return Some(
                "the command is `timeback-events wrap` itself: wrap the server's own command"
                    .to_owned(),
            );
        }
        let links: Vec<_> = chain.split(',').filter(|link| !link.is_empty()).collect();
        if links.contains(&self.fingerprint().as_str()) {
            return Some("the command starts this wrapper again, which would never end: name the server's own program".to_owned());
        }
        (links.len() >= DEEPEST)
            .then(|| format!("{DEEPEST} wrappers are around each other already"))
    }

    /// The chain for the wrapped command's environment.
    pub(super) fn link(&self, chain: &str) -> String {
        if chain.is_empty() {
            self.fingerprint()
        } else {
            format!("{chain},{}", self.fingerprint())
        }
    }
}

/// A text in which whatever looks like a secret is hidden, word by word.
pub(super) fn without_secrets(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|part| {
            let word = part.trim_end();
            let space = &part[word.len()..];
            format!("{}{space}", hide(word))
        })
        .collect()
}

fn hide(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://") {
        // Options may stand before an address: --db=postgres://…
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let slash = if rest.contains('/') { "/" } else { "" };
        return format!("{scheme}://{host}{slash}{path}");
    }
    if let Some((name, value)) = word.split_once('=')
        && !value.is_empty()
        && (is_secret_name(name) || is_assignment(word))
    {
        return format!("{name}={HIDDEN}");
    }
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if looks_like_token(bare) {
        word.replace(bare, HIDDEN)
    } else {
        word.to_owned()
    }
}

/// `NAME=value`, as `env` and `docker -e` take it: the environment is where secrets are.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "key",
        "token",
        "secret",
        "passw",
        "pwd",
        "auth",
        "credential",
        "cookie",
        "header",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// A known prefix, or a long word of letters and digits mixed.
fn looks_like_token(word: &str) -> bool {
    let prefixed = [
        "sk-",
        "ghp_",
        "gho_",
        "github_pat_",
        "xox",
        "glpat-",
        "eyJ",
        "AKIA",
        "AIza",
        "tbe_",
    ]
    .iter()
    .any(|prefix| word.starts_with(prefix) && word.len() >= prefix.len() + 12);
    let mixed = word.len() >= 24
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().any(|b| b.is_ascii_alphabetic());
    prefixed || mixed
}

/// The last part of a path or a package's name, without a version and the ending of a script.
fn base_name(word: &str) -> &str {
    let word = word.rsplit(['/', '\\']).next().unwrap_or(word);
    let word = match word.split_once('@') {
        Some((name, _)) if !name.is_empty() => name,
        _ => word.split("==").next().unwrap_or(word),
    };
    let ending = [
        ".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".sh", ".exe", ".jar", ".cmd",
    ]
    .iter()
    .find_map(|ending| word.strip_suffix(ending));
    ending.filter(|name| !name.is_empty()).unwrap_or(word)
}

fn same_file(program: &Path, own: &Path) -> bool {
    let found = if program.components().count() > 1 {
        program.canonicalize().ok()
    } else {
        std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|directory| directory.join(program))
                .find(|candidate| candidate.is_file())
                .and_then(|candidate| candidate.canonicalize().ok())
        })
    };
    found.is_some() && found == own.canonicalize().ok()
}

/// The variable in which wrappers tell the wrappers inside of them what they wrap.
pub(super) const CHAIN: &str = "TIMEBACK_EVENTS_WRAPPED";
/// Wrappers around each other, at most: an agent that is a server may start servers of its own.
const DEEPEST: usize = 8;
/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Longest id that is made, in characters; the hub takes 128.
const LONGEST_ID: usize = 100;
/// Programs that run what is named behind them.
const RUNNERS: [&str; 26] = [
    "npx", "npm", "pnpm", "pnpx", "yarn", "bun", "bunx", "deno", "node", "uv", "uvx", "pipx",
    "python", "python3", "ruby", "java", "dotnet", "sh", "bash", "zsh", "env", "exec", "run", "x",
    "dlx", "tool",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> CommandLine {
        CommandLine::new(line.split(' ').map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn the_id_is_what_runs_and_not_what_runs_it() {
        for (line, id) in [
            (
                "npx -y @modelcontextprotocol/server-filesystem /srv",
                "server-filesystem",
            ),
            (
                "npx -y @modelcontextprotocol/server-everything@2026.8.31 stdio",
                "server-everything",
            ),
            ("uvx mcp-server-time==2026.10.19", "mcp-server-time"),
            ("python3 -m mcp_server_git", "mcp_server_git"),
            ("uv run --quiet server.py", "server"),
            ("node /opt/roster/dist/index.js", "index"),
            ("/usr/local/bin/grades-mcp --port 5", "grades-mcp"),
            ("env A=1 npx", "server"),
            ("./höhe", "h-he"),
        ] {
            assert_eq!(command(line).id(), id, "{line}");
        }
    }

    #[test]
    fn secrets_are_hidden_and_the_rest_is_shown() {
        for (line, shown) in [
            (
                "srv --api-key abc --dir /srv",
                "srv --api-key *** --dir /srv",
            ),
            ("srv --token=abc -H auth:x", "srv --token=*** -H auth:x"),
            (
                "docker run -e API_KEY=abc -e MODE=fast img",
                "docker run -e API_KEY=*** -e MODE=*** img",
            ),
            (
                "srv postgres://user:pw@db:5432/x?sslkey=1",
                "srv postgres://db:5432/x",
            ),
            ("srv ghp_0123456789abcdefABCDEF", "srv ***"),
            ("srv 0123456789abcdef0123456789abcdef", "srv ***"),
            (
                "npx -y @modelcontextprotocol/server-filesystem /srv",
                "npx -y @modelcontextprotocol/server-filesystem /srv",
            ),
        ] {
            assert_eq!(command(line).shown().join(" "), shown);
        }
        assert_eq!(
            without_secrets("Error: API_KEY is not set"),
            "Error: API_KEY is not set"
        );
    }

    #[test]
    fn a_wrapper_of_itself_is_refused() {
        let own = std::env::current_exe().unwrap();
        let direct = CommandLine::new(vec![
            own.clone().into(),
            "wrap".into(),
            "--".into(),
            "x".into(),
        ])
        .unwrap();
        assert!(direct.loops("", Some(&own)).is_some());
        let other = CommandLine::new(vec![own.clone().into(), "mcp".into()]).unwrap();
        assert_eq!(other.loops("", Some(&own)), None);

        let shim = command("npx shim");
        assert_eq!(shim.loops("", Some(&own)), None);
        let chain = command("agent").link(&shim.link(""));
        assert!(shim.loops(&chain, Some(&own)).is_some());
        assert_eq!(command("another").loops(&chain, Some(&own)), None);
        let deep = (0..DEEPEST).fold(String::new(), |chain, at| {
            command(&format!("c{at}")).link(&chain)
        });
        assert!(command("c99").loops(&deep, Some(&own)).is_some());
    }
}
