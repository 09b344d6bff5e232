//! The README's commands, typed in order as they stand there, do what it shows.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::support::{HubProcess, PATIENCE};

const README: &str = include_str!("../../README.md");
/// The hub that the README speaks of.
const ADDRESS: &str = "http://127.0.0.1:3001";

#[tokio::test]
async fn the_curl_commands_do_what_the_readme_shows() {
    if !is_installed("curl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    let blocks = blocks(&hub, "Try it");
    let [follow, commands, shown, resume] = &blocks[..] else {
        panic!("four blocks: {blocks:#?}");
    };
    let quiet = |script: &str| format!("exec {}", script.replace("curl ", "curl -sS "));
    let mut stream = Terminal::open(&hub, &quiet(follow));
    stream.until("event: stream_opened").await;
    let typed = Terminal::open(&hub, &commands.replace("curl ", "curl -fsS "))
        .end()
        .await;
    assert!(typed.contains("lms-server-001"), "{typed}");
    for line in shown.lines() {
        stream.until(line).await;
    }
    let id = stream.until("id: …").await.split_off("id: ".len());
    let mut again = Terminal::open(&hub, &quiet(&resume.replace("<id>", &id)));
    again.until("event: stream_opened").await;
    again.until("data: {\"verdict\":\"resumed\"…").await;
    hub.kill().await;
}

#[tokio::test]
async fn the_terminals_transcript_is_what_a_terminal_shows() {
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    let blocks = blocks(&hub, "In the terminal");
    let [follow, typed, told] = &blocks[..] else {
        panic!("three blocks: {blocks:#?}");
    };
    let (follow, live) = transcript(follow).remove(0);
    let mut tail = Terminal::open(&hub, &format!("exec {follow} 2>&1"));
    tail.until(&live[0]).await;
    // One shell for all of it, so that a variable lives on; a line of its own ends what each command says.
    let steps = transcript(typed);
    assert!(steps.len() > 8, "{steps:#?}");
    let script: Vec<String> = steps
        .iter()
        .map(|(command, _)| format!("{command} || echo \"exit $?\"\necho {END}"))
        .collect();
    let said = Terminal::open(&hub, &script.join("\n")).end().await;
    let end = format!("{END}\n");
    let mut said = said.split(&end);
    for (command, wanted) in &steps {
        let output = said.next().unwrap_or_default();
        let output: Vec<String> = output.lines().map(steady).collect();
        let wanted: Vec<String> = wanted.iter().map(|line| steady(line)).collect();
        assert_eq!(output, wanted, "$ {command}");
    }
    for line in told.lines() {
        let heard = tail.next().await;
        assert_eq!(steady(&heard), steady(line));
    }
    hub.kill().await;
}

#[tokio::test]
async fn the_walk_with_curl_goes_to_its_end() {
    if !is_installed("curl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    for run in 1..=2 {
        let walk = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/curl.sh");
        let command = format!(
            "HUB=http://{} sh {walk} 2>&1 || echo \"exit $?\"",
            hub.address
        );
        let told = Terminal::open(&hub, &command).end().await;
        assert!(!told.contains("exit "), "run {run}: {told}");
        for line in [
            "\"papers\":31",
            "event: workflow_completed",
            "/transport",
            "server_disconnected",
        ] {
            assert!(told.contains(line), "run {run}: {line}\n{told}");
        }
    }
    hub.kill().await;
}

const END: &str = "-- that was all";

fn is_installed(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("--version")
        .output()
        .is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// The indented blocks of a section, without their indentation, for this hub.
fn blocks(hub: &HubProcess, section: &str) -> Vec<String> {
    let text = README.replace(ADDRESS, &format!("http://{}", hub.address));
    let from = text
        .find(&format!("\n## {section}\n"))
        .expect("the section");
    let section = &text[from + 1..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for line in section.lines() {
        match line.strip_prefix("    ") {
            Some(line) if open => {
                let block = blocks.last_mut().expect("one that is open");
                block.push('\n');
                block.push_str(line);
            }
            Some(line) => {
                blocks.push(line.to_owned());
                open = true;
            }
            // An empty line may stand in the midst of a block.
            None if line.is_empty() && open => {
                blocks.last_mut().expect("one that is open").push('\n')
            }
            None => open = false,
        }
    }
    blocks
        .iter()
        .map(|block| block.trim_end().to_owned())
        .collect()
}

/// A transcript's commands, and what each one is answered.
fn transcript(block: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((command, _))) if command.ends_with('\\') => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, answer))) => answer.push(line.to_owned()),
            (None, None) => panic!("a transcript begins with a command: {line}"),
        }
    }
    steps
}

/// A line without what differs from run to run: times, lengths of time, an event's id, and the spaces that go with them.
fn steady(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let is_digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
        match (word, words.last()) {
            ("ms" | "s" | "min", Some(before)) if is_number(before) => {
                *words.last_mut().expect("one") = "TIME"
            }
            ("ago", Some(&"TIME")) => {}
            ("now", Some(&"just")) => *words.last_mut().expect("one") = "TIME",
            (clock, _)
                if clock.len() == 8 && is_digits(clock) && clock.matches(':').count() == 2 =>
            {
                words.push("CLOCK")
            }
            (id, None)
                if id
                    .rsplit_once('-')
                    .is_some_and(|(epoch, at)| epoch.len() == 12 && is_number(at)) =>
            {
                words.push("ID");
            }
            (word, _) => words.push(word),
        }
    }
    let line = words.join(" ");
    // `up TIME,` and `up 5 min,`: a comma may follow.
    ["ms,", "s,", "min,"].iter().fold(line, |line, unit| {
        match line.split_once(&format!(" {unit}")) {
            Some((before, after)) => {
                let kept = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
                format!("{kept}TIME,{after}")
            }
            None => line,
        }
    })
}

/// A shell that runs a script, with the binary on its path.
struct Terminal {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Terminal {
    fn open(hub: &HubProcess, script: &str) -> Self {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_timeback-events"));
        let path = std::env::var("PATH").unwrap_or_default();
        let directory = binary.parent().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env("PATH", format!("{}:{path}", directory.display()))
            .env("TIMEBACK_EVENTS_URL", format!("http://{}", hub.address))
            .env_remove("TIMEBACK_EVENTS_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { lines, child }
    }

    async fn next(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("it says so in time");
        line.expect("text").expect("it goes on")
    }

    /// The next line that is so; `…` stands for anything.
    async fn until(&mut self, wanted: &str) -> String {
        loop {
            let line = self.next().await;
            if is_like(&line, wanted) {
                return line;
            }
        }
    }

    /// All that it says.
    async fn end(mut self) -> String {
        let mut said = String::new();
        while let Some(line) = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("it ends")
            .expect("text")
        {
            said.push_str(&line);
            said.push('\n');
        }
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("it ran");
        said
    }
}

fn is_like(line: &str, wanted: &str) -> bool {
    let Some((first, others)) = wanted.split_once('…') else {
        return line == wanted;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let (others, last) = others.rsplit_once('…').unwrap_or(("", others));
    for part in others.split('…') {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}
