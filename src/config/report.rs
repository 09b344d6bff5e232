//! What is wrong with the settings, in words that say how to mend it. Secrets' values are never in them.

use std::fmt;

use super::table::SETTINGS;
use crate::words;

/// One setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable, or `.env`.
    pub name: String,
    /// What was given; `None` for secrets and where there is nothing to show.
    pub value: Option<String>,
    /// What would be right.
    pub problem: String,
}

impl Mistake {
    /// Puts a mistake together, without the passwords of addresses.
    pub(crate) fn new(
        name: impl Into<String>,
        value: Option<String>,
        problem: impl Into<String>,
    ) -> Self {
        let shown = |text: String| words::without_passwords(&text).into_owned();
        Self {
            name: name.into(),
            value: value.map(shown),
            problem: shown(problem.into()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.name, self.problem),
            None => write!(f, "{}: {}", self.name, self.problem),
        }
    }
}

/// All mistakes of one reading, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(
            f,
            "{count} mistake{} in the settings:",
            if count == 1 { "" } else { "s" }
        )?;
        for (index, mistake) in self.0.iter().enumerate() {
            let end = if index + 1 == count { "" } else { "\n" };
            write!(f, "  {mistake}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Something that is probably not meant, but stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable.
    pub name: String,
    /// What is odd about it.
    pub text: String,
    /// The known name that is nearest to an unknown one, where one is near.
    pub nearest: Option<&'static str>,
}

impl Warning {
    /// Puts a warning together.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            nearest: None,
        }
    }

    /// A name that begins as ours do and isn't one.
    pub(super) fn unknown(name: &str) -> Self {
        let nearest = words::nearest(name, SETTINGS.iter().map(|setting| setting.name));
        let text = match nearest {
            Some(nearest) => format!("is no setting and has no effect; did you mean {nearest}?"),
            None => "is no setting and has no effect".to_owned(),
        };
        Self {
            name: name.to_owned(),
            text,
            nearest,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.text)
    }
}
