//! What people read about the settings, made from the one table.

use std::fmt::Write as _;

use super::{Config, SETTINGS, Setting};

/// Widest line of help and of comments in `.env` files.
const WIDTH: usize = 96;

/// The part of `--help` about the environment.
#[must_use]
pub fn help() -> String {
    let mut text = "Environment (also read from .env in the working directory; the process environment wins):\n"
        .to_owned();
    by_concern(|concern, settings| {
        _ = writeln!(text, "\n{concern}:");
        for setting in settings {
            let default = match setting.default_text() {
                default if default.is_empty() => String::new(),
                default => format!(" [default: {default}]"),
            };
            _ = writeln!(text, "  {}{default}", setting.name);
            for line in wrap(setting.about, WIDTH - 6) {
                _ = writeln!(text, "      {line}");
            }
        }
    });
    text
}

/// `configurations/.env.integration`: every setting with its default and what it does, by concern. Each stands as a
/// comment: a flag that is set overwrites at start what was switched by `PUT /patterns`, even if it is set to its
/// default, so a copy of the file must set nothing.
#[must_use]
pub fn env_file() -> String {
    let mut text = String::from(
        "# Every setting of timeback-events with its default. Copy this file to .env in the directory that\n\
         # the server starts in, or load it into the process environment, which wins over .env. Nothing is\n\
         # set as it stands: remove the # before a setting to change it. An empty value means the default.\n\
         # `timeback-events check` shows what is in force.\n",
    );
    by_concern(|concern, settings| {
        _ = writeln!(text, "\n# --- {concern} ---");
        for setting in settings {
            text.push('\n');
            for line in wrap(setting.about, WIDTH - 2) {
                _ = writeln!(text, "# {line}");
            }
            _ = writeln!(text, "#{}={}", setting.name, quote(&setting.default_text()));
        }
    });
    text
}

/// `configurations/.env.minimal`: what is worth a thought on the first day, with its default.
#[must_use]
pub fn env_file_minimal() -> String {
    const WORTH_A_THOUGHT: [&str; 4] = [
        "INTEGRATION_SSE_HOST",
        "INTEGRATION_SSE_PORT",
        "INTEGRATION_DATA_DIR",
        "INTEGRATION_RETENTION_AGE",
    ];
    let mut text = String::from(
        "# The least that is worth setting. Everything else has a default: see .env.integration.\n",
    );
    for setting in SETTINGS
        .iter()
        .filter(|setting| WORTH_A_THOUGHT.contains(&setting.name))
    {
        text.push('\n');
        for line in wrap(setting.about, WIDTH - 2) {
            _ = writeln!(text, "# {line}");
        }
        _ = writeln!(text, "{}={}", setting.name, quote(&setting.default_text()));
    }
    text
}

/// `docs/settings.md`: a table of settings for each concern, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         <!-- made from src/config/table.rs by UPDATE_DOCS=1 cargo test --lib config -->\n\n\
         They are read from the process environment, then from `.env` in the working directory. An empty value means\n\
         the default. A mistake stops the start, and every mistake is named at once; an unknown `INTEGRATION_*` name is\n\
         a warning with the nearest known one. `timeback-events check` shows what is in force.\n\
         [`configurations/.env.integration`](../configurations/.env.integration) is a file to start from.\n",
    );
    by_concern(|concern, settings| {
        _ = writeln!(
            text,
            "\n## {concern}\n\n| name | default | gates or sets |\n| --- | --- | --- |"
        );
        for setting in settings {
            let default = match setting.default_text() {
                default if default.is_empty() => "none".to_owned(),
                default => format!("`{default}`"),
            };
            _ = writeln!(
                text,
                "| `{}` | {default} | {} |",
                setting.name,
                setting.about.replace('*', "\\*").replace('|', "\\|")
            );
        }
    });
    text
}

/// The settings in force as `NAME=value` lines, by concern; secrets only as `(set)`.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    by_concern(|concern, settings| {
        _ = writeln!(
            text,
            "{}# {concern}",
            if text.is_empty() { "" } else { "\n" }
        );
        for setting in settings {
            let value = quote(&(setting.show)(config));
            _ = writeln!(text, "{}={value}", setting.name);
        }
    });
    text
}

fn by_concern(mut each: impl FnMut(&str, &[Setting])) {
    for settings in SETTINGS.chunk_by(|a, b| a.concern == b.concern) {
        if let Some(first) = settings.first() {
            each(first.concern, settings);
        }
    }
}

/// A value as a `.env` file takes it.
fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/-,=*[]@".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Holds a file against what the code says; `UPDATE_DOCS=1` writes the file anew.
    fn hold(path: &str, wanted: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, wanted).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap();
        assert_eq!(
            found,
            wanted,
            "{} differs: run the tests with UPDATE_DOCS=1",
            path.display()
        );
    }

    #[test]
    fn env_files_say_what_the_code_does() {
        hold("configurations/.env.integration", &env_file());
        hold("configurations/.env.minimal", &env_file_minimal());
    }

    #[test]
    fn the_document_of_settings_says_what_the_code_does() {
        hold("docs/settings.md", &markdown());
    }

    #[test]
    fn the_readme_names_defaults_as_they_are() {
        let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let rows: Vec<_> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| `INTEGRATION_"))
            .collect();
        assert_eq!(rows.len(), 5);
        for row in rows {
            let (name, rest) = row.split_once("` | `").unwrap();
            let (default, _) = rest.split_once("` | ").unwrap();
            let setting = super::super::table::find(&format!("INTEGRATION_{name}")).unwrap();
            assert_eq!(default, setting.default_text(), "{name}");
        }
    }

    #[test]
    fn the_env_file_sets_nothing_and_its_values_are_the_defaults() {
        let text = env_file();
        assert_eq!(dotenvy::from_read_iter(text.as_bytes()).count(), 0);
        let text = text
            .replace("\n#INTEGRATION_", "\nINTEGRATION_")
            .replace("\n#LOG_", "\nLOG_");
        let vars = dotenvy::from_read_iter(text.as_bytes()).map(Result::unwrap);
        let (config, warnings) = Config::from_vars(vars).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(effective(&config), effective(&Config::default()));
    }

    #[test]
    fn every_setting_is_named_once_and_under_one_heading() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
        let mut headings = Vec::new();
        by_concern(|concern, _| headings.push(concern.to_owned()));
        let count = headings.len();
        headings.sort_unstable();
        headings.dedup();
        assert_eq!(headings.len(), count);
    }
}
