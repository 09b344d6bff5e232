//! Text on its way to a terminal: cleaned, measured, wrapped, coloured.
//!
//! Names, details and errors come from whoever may report to the hub. None of them may move the cursor, change
//! the title or write to the clipboard of the person who looks.

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd,
};

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::client::Exact;

/// What a text means, from which follows its colour. Words always say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Quiet,
    Good,
    Busy,
    Odd,
    Bad,
    Own,
}

impl Tone {
    /// Of a health.
    pub(super) fn of_health(health: &str) -> Self {
        match health {
            "healthy" => Self::Good,
            "degraded" => Self::Odd,
            "unhealthy" | "lost" => Self::Bad,
            _ => Self::Quiet,
        }
    }

    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Quiet => Style::new().dimmed(),
            Self::Good => colour(AnsiColor::Green),
            Self::Busy => colour(AnsiColor::Cyan),
            Self::Odd => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red).bold(),
            Self::Own => colour(AnsiColor::Magenta),
        }
    }
}

/// Where text goes: how wide it is, and whether it shows colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Columns and rows of a terminal; `None` where the output is none, and so has no end of line.
    pub(super) size: Option<(usize, usize)>,
    colour: bool,
}

impl Screen {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        Self::of(&io::stdout())
    }

    /// Standard error.
    pub(super) fn stderr() -> Self {
        Self::of(&io::stderr())
    }

    fn of(out: &(impl IsTerminal + AsFd)) -> Self {
        if !out.is_terminal() {
            return Self::PAPER;
        }
        let size = terminal_size::terminal_size_of(out)
            .map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        Self {
            size: Some(size.unwrap_or((80, 24))),
            colour: colours_wanted(),
        }
    }

    /// No terminal: lines of any length, in black and white.
    pub(super) const PAPER: Self = Self {
        size: None,
        colour: false,
    };

    /// The columns of a line.
    pub(super) fn width(&self) -> usize {
        self.size.map_or(usize::MAX, |(width, _)| width)
    }

    /// The text in the colour of its tone.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{}{text}{}", style.render(), style.render_reset())
    }
}

/// <https://no-color.org>
fn colours_wanted() -> bool {
    let term_is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !term_is_dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line without anything that a terminal would obey: escape sequences (ECMA-48) go, other control
/// characters become spaces, marks that turn the direction of writing go.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{1b}' => rest = after_escape(rest),
            '\u{9b}' => rest = after_csi(rest),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => rest = after_string(rest),
            _ if turns_direction(c) => {}
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn after_escape(rest: &str) -> &str {
    match rest.chars().next() {
        Some('[') => after_csi(&rest[1..]),
        Some(']' | 'P' | 'X' | '^' | '_') => after_string(&rest[1..]),
        Some(' '..='~') => {
            // Intermediate bytes, then one final byte.
            let end = rest.trim_start_matches(|c| (' '..='/').contains(&c));
            end.strip_prefix(|c| ('0'..='~').contains(&c))
                .unwrap_or(end)
        }
        _ => rest,
    }
}

fn after_csi(rest: &str) -> &str {
    let end = rest.trim_start_matches(|c| (' '..='?').contains(&c));
    end.strip_prefix(|c| ('@'..='~').contains(&c))
        .unwrap_or(end)
}

/// A control string ends at its terminator. One without any hides nothing: what follows stays.
fn after_string(rest: &str) -> &str {
    let ends = ["\u{7}", "\u{1b}\\", "\u{9c}"];
    ends.iter()
        .filter_map(|end| rest.find(end).map(|at| at + end.len()))
        .min()
        .map_or(rest, |at| &rest[at..])
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A value as one line of JSON. What a terminal would obey stands escaped in it; the value is the same.
pub(super) fn json_line(value: &Exact) -> String {
    let text = value.as_str();
    if !text.chars().any(must_be_escaped) {
        return text.to_owned();
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 16), |mut out, c| {
            if must_be_escaped(c) {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                out.push(c);
            }
            out
        })
}

/// JSON itself escapes what lies below a space, and nothing else.
fn must_be_escaped(c: char) -> bool {
    c.is_control() || turns_direction(c)
}

/// The columns that a clean text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text, filled with spaces up to a width.
pub(super) fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// The text, with `…` at its end where it is wider than this.
pub(super) fn cut(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += c.width().unwrap_or_default();
        if taken > to {
            break;
        }
        out.push(c);
    }
    if to > 0 {
        out.push('…');
    }
    out
}

/// The text in lines of at most this width, at most so many; broken between words where it can be.
pub(super) fn wrap(text: &str, to: usize, most: usize) -> Vec<String> {
    if width(text) <= to || most <= 1 {
        return vec![cut(text, to)];
    }
    let mut lines = Vec::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        if lines.len() + 1 == most || width(rest) <= to {
            lines.push(cut(rest, to));
            break;
        }
        let (mut taken, mut end, mut space) = (0, 0, None);
        for (at, c) in rest.char_indices() {
            if c == ' ' {
                space = Some(at);
            }
            taken += c.width().unwrap_or_default();
            if taken > to && end > 0 {
                break;
            }
            end = at + c.len_utf8();
        }
        let at = space.filter(|&at| at > 0).unwrap_or(end);
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        for (dirty, clean) in [
            ("a\u{1b}[31mred\u{1b}[0m", "ared"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]52;c;aGk=\u{1b}\\x", "x"),
            ("\u{9b}2Jx", "x"),
            ("\u{9d}8;;http://evil\u{9c}link", "link"),
            ("\u{1b}cx\u{1b}(Bx", "xx"),
            ("\u{1b}]no end", "no end"),
            ("two\r\nlines\ttab\u{8}", "two  lines tab "),
            ("\u{202e}txt.exe", "txt.exe"),
            ("plain ü 漢", "plain ü 漢"),
        ] {
            assert_eq!(plain(dirty), clean, "{dirty:?}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a": "\u{1b}\u{7f}\u{9b}\u{202e}ü"});
        let line = json_line(&value.clone().into());
        assert!(line.is_ascii() || line.contains('ü'));
        assert!(!line.chars().any(must_be_escaped), "{line:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            value
        );
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("one two three", 7, 1), ["one tw…"]);
        assert_eq!(wrap("one two three four", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("abcdefghij", 4, 9), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4, 9), [""]);
        assert_eq!(cut("漢漢漢", 4), "漢…");
    }

    proptest! {
        #[test]
        fn no_text_reaches_the_terminal_as_a_command(text in "[\u{0}-\u{2f}a-e\\[\\]\u{7f}-\u{9f}\u{2028}-\u{202e}]{0,40}") {
            prop_assert!(!plain(&text).chars().any(must_be_escaped));
        }

        #[test]
        fn no_line_is_wider_than_the_screen(text in "[a-c 漢]{0,60}", to in 2_usize..20, most in 1_usize..5) {
            let lines = wrap(&text, to, most);
            prop_assert!(lines.len() <= most);
            prop_assert!(lines.iter().all(|line| width(line) <= to), "{lines:?}");
        }
    }
}
