//! The bytes, on their way: read, noted, written. Nothing in here waits for anybody but the two ends of a pipe.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};

use super::watch::Side;

/// What passes by, for those who look at it.
#[derive(Debug)]
pub(super) enum Passed {
    /// A piece of what this side wrote.
    Bytes(Side, Vec<u8>, Duration),
    /// Pieces of what this side wrote weren't kept, since too many waited.
    Lost(Side, Duration),
}

/// Where passing bytes are noted. Never waits: what is too much is let go, and said.
#[derive(Debug, Clone)]
pub(super) struct Tap {
    to: mpsc::Sender<Passed>,
    waiting: Arc<AtomicUsize>,
    lost: [Arc<AtomicU64>; 2],
    started: Instant,
}

/// The other end of a [`Tap`].
#[derive(Debug)]
pub(super) struct Tapped {
    from: mpsc::Receiver<Passed>,
    waiting: Arc<AtomicUsize>,
}

/// A tap, and what comes out of it.
pub(super) fn tap(started: Instant) -> (Tap, Tapped) {
    let (to, from) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let tap = Tap {
        to,
        waiting: waiting.clone(),
        lost: Default::default(),
        started,
    };
    (tap, Tapped { from, waiting })
}

impl Tap {
    fn note(&self, side: Side, bytes: &[u8]) {
        let now = self.started.elapsed();
        let lost = &self.lost[usize::from(side == Side::Server)];
        if self.waiting.load(Ordering::Relaxed) + bytes.len() > MOST_WAITING {
            if lost.fetch_add(1, Ordering::Relaxed) == 0 {
                // Nobody looks any more once the receiver is gone.
                let _ = self.to.send(Passed::Lost(side, now));
            }
            return;
        }
        lost.store(0, Ordering::Relaxed);
        self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        let _ = self.to.send(Passed::Bytes(side, bytes.to_vec(), now));
    }
}

impl Tapped {
    /// The next piece; `None` after `patience`, or if nothing will come any more.
    pub(super) fn next(&self, patience: Duration) -> Result<Option<Passed>, mpsc::RecvError> {
        match self.from.recv_timeout(patience) {
            Ok(passed) => {
                if let Passed::Bytes(_, bytes, _) = &passed {
                    self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                }
                Ok(Some(passed))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(mpsc::RecvError),
        }
    }
}

/// What a pump does at the moment, for whoever decides whether to wait for it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pieces: AtomicU64,
    writing: AtomicUsize,
}

impl Progress {
    /// How many pieces have passed, and whether one is being written.
    pub(super) fn look(&self) -> (u64, bool) {
        (
            self.pieces.load(Ordering::Relaxed),
            self.writing.load(Ordering::Relaxed) > 0,
        )
    }
}

/// Carries bytes until `from` ends, or `to` takes no more. A piece is noted before it is written, so that a request
/// is known before its answer can be seen; noting costs a copy of the piece, and never waits.
pub(super) fn pump(
    side: Side,
    from: &mut impl Read,
    to: &mut impl Write,
    tap: &Tap,
    progress: &Progress,
) {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        tap.note(side, read);
        progress.writing.store(1, Ordering::Relaxed);
        let written = to.write_all(read).and_then(|()| to.flush());
        progress.writing.store(0, Ordering::Relaxed);
        progress.pieces.fetch_add(1, Ordering::Relaxed);
        if written.is_err() {
            return;
        }
    }
}

/// Reads on, to nobody, until the end: the other side shall see no broken pipe that it wouldn't see otherwise.
pub(super) fn drain(from: &mut impl Read) {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

/// One of this process's own three streams, without a buffer, whether it blocks or not.
#[derive(Debug)]
pub(super) struct Own(pub(super) File);

impl Own {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.0, flags)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether nobody can read what is written to it any more.
    pub(super) fn is_deserted(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        let now = rustix::event::Timespec::default();
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
            && fds[0]
                .revents()
                .intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
    }
}

impl Read for Own {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                read => return read,
            }
        }
    }
}

impl Write for Own {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error on its way: what the child writes is taken at once, so that a client that doesn't read it never
/// blocks the child. The newest 4 KiB stay for a farewell.
#[derive(Debug, Default)]
pub(super) struct Errors {
    state: Mutex<ErrorState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ErrorState {
    waiting: VecDeque<u8>,
    dropped: u64,
    last: VecDeque<u8>,
    writing: bool,
    closed: bool,
}

impl Errors {
    /// Takes the child's bytes until they end.
    pub(super) fn fill(&self, from: &mut impl Read) {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => self.push(&buffer[..read], true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// A line of the wrapper's own.
    pub(super) fn note(&self, line: &str) {
        self.push(format!("timeback-events wrap: {line}\n").as_bytes(), false);
    }

    fn push(&self, bytes: &[u8], of_the_child: bool) {
        let mut state = self.state.lock();
        if of_the_child {
            let over = (state.last.len() + bytes.len()).saturating_sub(LAST_ERRORS);
            let gone = over.min(state.last.len());
            state.last.drain(..gone);
            state
                .last
                .extend(&bytes[bytes.len().saturating_sub(LAST_ERRORS)..]);
        }
        if state.waiting.len() + bytes.len() > MOST_ERRORS {
            state.dropped += bytes.len() as u64;
        } else {
            state.waiting.extend(bytes);
        }
        self.changed.notify_all();
    }

    /// Writes what waits until there is nothing more to come.
    pub(super) fn carry(&self, to: &mut impl Write) {
        loop {
            let bytes: Vec<u8> = {
                let mut state = self.state.lock();
                state.writing = false;
                self.changed.notify_all();
                while state.waiting.is_empty() && state.dropped == 0 && !state.closed {
                    self.changed.wait(&mut state);
                }
                if state.waiting.is_empty() && state.dropped == 0 {
                    return;
                }
                state.writing = true;
                if state.waiting.is_empty() {
                    let dropped = std::mem::take(&mut state.dropped);
                    format!("\ntimeback-events wrap: {dropped} bytes of standard error were dropped, since nobody read them\n")
                        .into_bytes()
                } else {
                    state.waiting.drain(..).collect()
                }
            };
            if to.write_all(&bytes).and_then(|()| to.flush()).is_err() {
                // Nobody is there to read it: the rest is taken all the same, and kept for the farewell.
                let mut state = self.state.lock();
                state.waiting.clear();
                state.dropped = 0;
            }
        }
    }

    /// Nothing more will come. Waits for what is still on its way, for as long as `patience`.
    pub(super) fn close(&self, patience: Duration) {
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        let deadline = Instant::now() + patience;
        while (state.writing || !state.waiting.is_empty())
            && !self.changed.wait_until(&mut state, deadline).timed_out()
        {}
    }

    /// The child's last line that isn't empty, if it wrote any.
    pub(super) fn last_line(&self) -> Option<String> {
        let last: Vec<u8> = self.state.lock().last.iter().copied().collect();
        let text = String::from_utf8_lossy(&last).into_owned();
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim().to_owned())
    }
}

/// Bytes that are carried at once.
const PIECE: usize = 64 * 1024;
/// Passing bytes that wait to be looked at. More than that pass unseen.
const MOST_WAITING: usize = 2 << 20;
/// Bytes of standard error that wait to be read. More than that are dropped, and it is said how many.
const MOST_ERRORS: usize = 1 << 20;
/// Bytes of standard error that are kept for a farewell.
const LAST_ERRORS: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_as_they_are_and_are_noted() {
        let (tap, tapped) = tap(Instant::now());
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let mut out = Vec::new();
        pump(
            Side::Client,
            &mut &bytes[..],
            &mut out,
            &tap,
            &Progress::default(),
        );
        assert_eq!(out, bytes);
        drop(tap);
        let mut noted = Vec::new();
        while let Ok(Some(Passed::Bytes(_, piece, _))) = tapped.next(Duration::ZERO) {
            noted.extend(piece);
        }
        assert_eq!(noted, bytes);
    }

    #[test]
    fn what_nobody_looks_at_passes_all_the_same_and_its_loss_is_said_once() {
        let (tap, tapped) = tap(Instant::now());
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..5 {
            tap.note(Side::Server, &piece);
        }
        let mut seen = Vec::new();
        while let Ok(Some(passed)) = tapped.next(Duration::ZERO) {
            seen.push(matches!(passed, Passed::Lost(..)));
        }
        assert_eq!(seen, [false, false, true]);
        tap.note(Side::Server, b"again");
        assert!(matches!(
            tapped.next(Duration::ZERO),
            Ok(Some(Passed::Bytes(..)))
        ));
    }

    #[test]
    fn errors_that_nobody_reads_are_dropped_and_counted_and_the_last_stay() {
        let errors = Errors::default();
        errors.push(&vec![b'e'; MOST_ERRORS], true);
        errors.push(b"\nError: API_KEY is not set\n\n", true);
        assert_eq!(
            errors.last_line().as_deref(),
            Some("Error: API_KEY is not set")
        );
        errors.close(Duration::ZERO);
        let mut out = Vec::new();
        errors.carry(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("eee") && text.contains("28 bytes of standard error were dropped"),
            "{}",
            &text[MOST_ERRORS..]
        );
    }
}
