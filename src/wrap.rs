//! A wrapper that stands in front of a stdio MCP server's command: client and server notice nothing, and the hub is
//! told what passes between them.
//!
//! ```text
//! client ──stdin──▶ pump ──▶ server          the pumps carry bytes, and never wait for anything else
//! client ◀─stdout── pump ◀── server
//! client ◀─stderr── carry ◀─ server          taken at once, whether or not the client reads it
//!                    │ noted
//!                    ▼
//!                  watch ──▶ report ──▶ hub   what is slow, down or wrong here is nobody's concern there
//! ```
//!
//! Nothing is ever written into the conversation, and no line has to be understood to pass. The server is started
//! so that it dies with the wrapper (`wrap/child.rs`), and the wrapper refuses to wrap itself (`wrap/command.rs`).

mod child;
mod command;
mod envelope;
mod lines;
mod pump;
mod report;
mod turn;
mod watch;

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::fd::AsFd,
    process::{Child, ExitCode, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

pub(crate) use self::child::{BECOME, become_command, stay_small};
use self::{
    child::Handle,
    command::{CHAIN, CommandLine},
    lines::Lines,
    pump::{Errors, Own, Passed, Progress, Tapped},
    report::{About, Farewell, Reporter, Said},
    turn::Turn,
    watch::{Fact, Side, Watch},
};
use crate::client::Client;

/// Makes the hub's client, or says why it can't. Called beside the running server, for a hub's certificates take
/// longer to read than a server may be kept from starting.
pub type Connect = Box<dyn FnOnce() -> Result<Client, String> + Send>;

/// What is wrapped, and how it is reported.
#[derive(Debug)]
pub struct Options {
    /// The server's id; `None` makes one of the command.
    pub id: Option<String>,
    /// What people call it; `None` takes what it calls itself.
    pub name: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Whether each call of a tool is an event.
    pub calls: bool,
    /// An answer that takes longer degrades it.
    pub slow: Option<Duration>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// There is no command.
    #[error("there is no command to wrap: name the server's own behind --")]
    NoCommand,
    /// It would wrap itself.
    #[error("{0}")]
    Loop(String),
    /// The system refuses it.
    #[error("the server can't be started: {0}")]
    Start(#[from] io::Error),
}

/// Runs the command in the place of this process: its streams are this process's, and so is its exit code. `connect`
/// names the hub that is told; it need not be there.
///
/// # Errors
/// [`WrapError`]; nothing was started then.
pub fn run(options: Options, connect: Connect) -> Result<ExitCode, WrapError> {
    let started = Instant::now();
    let command = CommandLine::new(options.command).ok_or(WrapError::NoCommand)?;
    let chain = std::env::var(CHAIN).unwrap_or_default();
    if let Some(why) = command.loops(&chain, std::env::current_exe().ok().as_deref()) {
        return Err(WrapError::Loop(why));
    }
    let [stdin, stdout, stderr] = [own(&io::stdin())?, own(&io::stdout())?, own(&io::stderr())?];
    let mut server = child::start(&command, &chain)?;

    let turn = match &options.id {
        Some(_) => None,
        None => Some(Turn::take(&command.id(), &command.fingerprint())),
    };
    let id = match (&options.id, &turn) {
        (Some(id), _) => id.clone(),
        (None, Some(turn)) => turn.id().to_owned(),
        (None, None) => command.id(),
    };
    let errors = Arc::new(Errors::default());
    let about = About {
        id,
        name: options.name,
        tags: options
            .tags
            .into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect(),
        instance: uuid::Uuid::now_v7().to_string(),
        host: host(),
        pid: server.id(),
        command,
        calls: options.calls,
    };
    let wrapped = Wrapped::start(
        &mut server,
        [stdin, stdout, stderr],
        started,
        options.slow,
        errors,
        Reporting { connect, about },
    );
    let status = wrapped.run(&mut server)?;
    drop(turn);
    Ok(child::exit_code(status))
}

/// What a reporter is made of.
struct Reporting {
    connect: Connect,
    about: About,
}

/// The threads around a running server.
struct Wrapped {
    errors: Arc<Errors>,
    shared: Arc<Shared>,
    answering: thread::JoinHandle<()>,
    reading_errors: thread::JoinHandle<()>,
    reporting: thread::JoinHandle<()>,
}

/// What the threads know of each other.
struct Shared {
    server: Handle,
    /// The client has closed the server's input, or asked this process to end.
    closed: AtomicBool,
    /// The client waits for an answer.
    asked: AtomicBool,
    answers: Progress,
    farewell: Mutex<Option<oneshot::Sender<Farewell>>>,
    alive: Mutex<bool>,
    ended: Condvar,
}

impl Shared {
    /// Says the farewell, if none was said yet.
    fn leave(&self, farewell: Farewell) {
        if let Some(say) = self.farewell.lock().take() {
            // A reporter that has ended can say nothing more.
            let _ = say.send(farewell);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits for the server's end, at most so long. Whether it has ended.
    fn ends_within(&self, patience: Duration) -> bool {
        let mut alive = self.alive.lock();
        let deadline = Instant::now() + patience;
        while *alive && !self.ended.wait_until(&mut alive, deadline).timed_out() {}
        !*alive
    }
}

impl Wrapped {
    fn start(
        server: &mut Child,
        [mut stdin, mut stdout, mut stderr]: [Own; 3],
        started: Instant,
        slow: Option<Duration>,
        errors: Arc<Errors>,
        reporting: Reporting,
    ) -> Self {
        let (Some(mut to_server), Some(mut from_server), Some(mut its_errors)) = (
            server.stdin.take(),
            server.stdout.take(),
            server.stderr.take(),
        ) else {
            unreachable!("it was started with three pipes");
        };
        let (tap, tapped) = pump::tap(started);
        let (farewell, leaving) = oneshot::channel();
        let (tell, said) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            server: Handle::of(server),
            closed: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            answers: Progress::default(),
            farewell: Mutex::new(Some(farewell)),
            alive: Mutex::new(true),
            ended: Condvar::new(),
        });

        let questions = {
            let (tap, shared) = (tap.clone(), shared.clone());
            let client = stdout.0.try_clone().ok().map(Own);
            move || {
                let unseen = Progress::default();
                pump::pump(Side::Client, &mut stdin, &mut to_server, &tap, &unseen);
                drop(to_server);
                // The server may take no more, and yet live on: then the client's end is still to come.
                pump::drain(&mut stdin);
                close(&shared, client.as_ref());
            }
        };
        let answering = {
            let shared = shared.clone();
            move || {
                pump::pump(
                    Side::Server,
                    &mut from_server,
                    &mut stdout,
                    &tap,
                    &shared.answers,
                )
            }
        };
        let reading_errors = {
            let errors = errors.clone();
            move || errors.fill(&mut its_errors)
        };
        let carrying_errors = {
            let errors = errors.clone();
            move || errors.carry(&mut stderr)
        };
        let watching = {
            let shared = shared.clone();
            move || watch(&tapped, Watch::new(slow), started, &shared.asked, &tell)
        };
        let report = {
            let (shared, errors) = (shared.clone(), errors.clone());
            move || report(reporting, &errors, &shared, said, leaving)
        };
        // The first two wait in reads of the client's and writes to it, the third for what they pass: they end with
        // the process, and so are not joined.
        thread::spawn(questions);
        thread::spawn(carrying_errors);
        thread::spawn(watching);
        Self {
            errors,
            shared,
            answering: thread::spawn(answering),
            reading_errors: thread::spawn(reading_errors),
            reporting: thread::spawn(report),
        }
    }

    /// Waits until the server has ended and what it wrote has passed.
    fn run(self, server: &mut Child) -> io::Result<ExitStatus> {
        let status = server.wait()?;
        *self.shared.alive.lock() = false;
        self.shared.ended.notify_all();
        self.let_pass();
        self.shared.leave(if self.shared.is_closed() {
            Farewell::Closed
        } else {
            Farewell::Ended {
                reason: self.reason(status),
                expected: status.success(),
            }
        });
        // Bounded by the time that a farewell may take.
        let _ = self.reporting.join();
        self.errors.close(ERRORS_PASS);
        Ok(status)
    }

    /// How it ended, and the last that it said about that.
    fn reason(&self, status: ExitStatus) -> String {
        let how = child::in_words(status);
        match self.errors.last_line().filter(|_| !status.success()) {
            Some(line) => {
                let line = watch::clipped(&line, LONGEST_LAST_LINE).replace(char::is_control, " ");
                format!("{how}: {}", command::without_secrets(&line))
            }
            None => how,
        }
    }

    /// Waits for what is still in the pipes. Something that the server started may hold them open; once nothing
    /// passes any more, that is the end.
    fn let_pass(&self) {
        let mut before = 0;
        let mut still = Duration::ZERO;
        while !(self.answering.is_finished() && self.reading_errors.is_finished()) {
            thread::sleep(LOOK);
            let (pieces, writing) = self.shared.answers.look();
            let moved = std::mem::replace(&mut before, pieces) != pieces;
            still = if moved { Duration::ZERO } else { still + LOOK };
            let patience = if writing { WRITES_PASS } else { READS_PASS };
            if still >= patience {
                return;
            }
        }
    }
}

/// The client has closed the server's input, which ends a server that behaves. One that doesn't is asked to, and then
/// killed. One that still owes an answer to a client that reads on is given longer.
fn close(shared: &Shared, client: Option<&Own>) {
    shared.closed.store(true, Ordering::Relaxed);
    let deadline = Instant::now() + LONGEST_ANSWER;
    let mut passed = shared.answers.look().0;
    let mut owes = shared.asked.load(Ordering::Relaxed);
    while owes && client.is_some_and(|client| !client.is_deserted()) && Instant::now() < deadline {
        if shared.ends_within(ASK_AFTER) {
            return;
        }
        let now = shared.answers.look().0;
        let moved = std::mem::replace(&mut passed, now) != now;
        owes = moved || shared.asked.load(Ordering::Relaxed);
    }
    // Beside the server's own end, so that the client waits for one of the two only.
    shared.leave(Farewell::Closed);
    if shared.ends_within(ASK_AFTER) {
        return;
    }
    shared.server.signal(Signal::TERM);
    if !shared.ends_within(KILL_AFTER) {
        shared.server.kill_all();
    }
}

/// Looks at what passes, and says what it means.
fn watch(
    tapped: &Tapped,
    mut watch: Watch,
    started: Instant,
    asked: &AtomicBool,
    tell: &mpsc::UnboundedSender<Said>,
) {
    let mut sides = [Lines::default(), Lines::default()];
    let mut looked = Duration::ZERO;
    loop {
        let mut facts = Vec::new();
        match tapped.next(LOOK_EVERY) {
            Err(_) => return,
            Ok(None) => {}
            Ok(Some(Passed::Bytes(side, bytes, at))) => {
                let lines = &mut sides[usize::from(side == Side::Server)];
                lines.feed(&bytes, |line| facts.extend(watch.line(side, &line, at)));
            }
            Ok(Some(Passed::Lost(side, at))) => {
                sides[usize::from(side == Side::Server)].lose();
                watch.lost(at);
            }
        }
        asked.store(watch.is_asked(), Ordering::Relaxed);
        for fact in facts {
            let said = match fact {
                Fact::Described(description) => Said::Described(description),
                Fact::Called(call) => Said::Called(call),
            };
            // The reporter ends before this thread does.
            let _ = tell.send(said);
        }
        let now = started.elapsed();
        if now.saturating_sub(looked) >= LOOK_EVERY {
            looked = now;
            let _ = tell.send(Said::Health(watch.health(now), watch.metrics()));
        }
    }
}

/// Reports, and passes signals on to the server, until the farewell is said.
fn report(
    reporting: Reporting,
    errors: &Arc<Errors>,
    shared: &Arc<Shared>,
    said: mpsc::UnboundedReceiver<Said>,
    farewell: oneshot::Receiver<Farewell>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return errors.note(&format!("the server runs on, and isn't reported: {error}"));
        }
    };
    runtime.block_on(async {
        for (kind, sent) in [
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::hangup(), Signal::HUP),
        ] {
            let Ok(mut signals) = signal(kind) else {
                continue;
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    shared.closed.store(true, Ordering::Relaxed);
                    shared.server.signal(sent);
                }
            });
        }
        match (reporting.connect)() {
            Ok(client) => {
                Reporter::new(client, reporting.about, errors.clone())
                    .run(said, farewell)
                    .await;
            }
            Err(why) => {
                errors.note(&format!("{why}; the server runs on, and isn't reported"));
                // Signals are passed on all the same.
                let _ = farewell.await;
            }
        }
    });
}

/// A stream of this process's own, without the standard library's buffers.
fn own(stream: &impl AsFd) -> io::Result<Own> {
    let stream = stream.as_fd().try_clone_to_owned()?;
    Ok(Own(File::from(stream)))
}

fn host() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

/// How often health and counts are looked at while nothing passes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the pipes are empty.
const LOOK: Duration = Duration::from_millis(5);
/// How long an ended server's pipes may stand still, while something of its holds them open.
const READS_PASS: Duration = Duration::from_millis(200);
/// The same while the client has yet to read.
const WRITES_PASS: Duration = Duration::from_secs(5);
/// How long standard error may take to pass.
const ERRORS_PASS: Duration = Duration::from_millis(500);
/// After the client has closed: how long until the server is asked to end.
const ASK_AFTER: Duration = Duration::from_millis(1500);
/// After it was asked: how long until it is killed.
const KILL_AFTER: Duration = Duration::from_millis(1500);
/// How long a server may still answer a client that has closed its side and reads on.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// Longest part of standard error in a farewell, in characters.
const LONGEST_LAST_LINE: usize = 200;
