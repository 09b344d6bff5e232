//! Manual pages, one for each command.

use std::{
    io::{self, Write as _},
    path::Path,
};

use clap_mangen::Man;

/// Prints the page of a command (of the whole, where none is named), or writes all pages into a directory.
///
/// # Errors
/// An unknown command; writing.
pub(super) fn print(
    mut whole: clap::Command,
    command: &[String],
    dir: Option<&Path>,
) -> io::Result<()> {
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir)?;
        return clap_mangen::generate_to(whole, dir);
    }
    // Names the pages as they are installed: timeback-events-report-step.
    whole.build();
    let mut found = &whole;
    for name in command {
        found = found.find_subcommand(name).ok_or_else(|| {
            let text = format!("there is no command {}", command.join(" ").escape_debug());
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
    }
    let mut text = Vec::new();
    Man::new(found.clone()).render(&mut text)?;
    io::stdout().write_all(&text)
}
