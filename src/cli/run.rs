//! `serve`: logs, limits, the port, the signals; then the hub until it is told to stop.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    process::ExitCode,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::failed;
use crate::config::{Config, LogFormat, Logging};

/// Connections that the system holds until they are accepted: a whole fleet may come back at once.
const BACKLOG: i32 = 4096;

/// Files that are left to the log, to producers and to operators when streams take all they may.
const SPARE_FILES: u64 = 256;

/// Files that are left to the log and the hub itself when connections take all they may.
const SPARE_OF_CONNECTIONS: u64 = 128;

/// How long a thread that has nothing to do waits for more. The memory that it made long answers in is given back when it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Serves until a signal; the first one drains, a second one ends the process at once.
pub(super) fn serve(mut config: Config) -> ExitCode {
    start_logs(&config.log);
    cap_clients(&mut config);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let result = runtime.block_on(serve_here(config));
    // What still blocks on the disk must not hold up the end beyond the drain.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

async fn serve_here(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let shutdown = CancellationToken::new();
    let signals = Signals::new()?;
    let listener = bind(&config.listen.host, config.listen.port)?;
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let address = listener.local_addr()?;
    tokio::spawn(signals.stop(shutdown.clone()));
    let ready = || println!("listening on {scheme}://{address}");
    crate::serve_and_tell(config, listener, shutdown, ready).await?;
    Ok(())
}

/// Listens on the first address of the name that can be had.
///
/// # Errors
/// Why there is none, in words that name the settings.
pub(super) fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    first_of(host, port).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "can't listen on {host} port {port} (INTEGRATION_SSE_HOST, INTEGRATION_SSE_PORT): {error}"
            ),
        )
    })
}

fn first_of(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match bind_address(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_address(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the last process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises the limit of open files as far as it goes, and keeps streams and connections below it.
fn cap_clients(config: &mut Config) {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            warn!("can't learn the limit of open files, so streams are not held below it: {error}");
            return;
        }
    };
    let connections = &mut config.limits.connections;
    *connections = capped(*connections, files, SPARE_OF_CONNECTIONS);
    let wanted = config.stream.max_clients;
    let most = capped(wanted, files, SPARE_FILES);
    config.stream.max_clients = most;
    if most < wanted && wanted == Config::default().stream.max_clients {
        info!(
            "at most {most} streams; {files} open files are allowed, raise the hard limit (ulimit -Hn) for more"
        );
    } else if most < wanted {
        warn!(
            "INTEGRATION_SSE_MAX_CLIENTS is {wanted}, but {files} open files are allowed: \
             at most {most} streams. Raise the hard limit (ulimit -Hn) for more."
        );
    } else {
        info!("at most {wanted} streams; {files} open files are allowed");
    }
}

/// Sockets that fit under a limit of open files, beside so many of other kinds; at least one.
fn capped(wanted: usize, files: u64, spare: u64) -> usize {
    let room = usize::try_from(files.saturating_sub(spare)).unwrap_or(usize::MAX);
    wanted.min(room.max(1))
}

/// Log lines go to standard error: standard output is for `listening on …`.
fn start_logs(log: &Logging) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&log.level))
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Text => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancels `shutdown` at the first signal and ends the process at the second.
    async fn stop(mut self, shutdown: CancellationToken) {
        let name = self.next().await;
        info!("{name}: draining; a second signal ends the process at once");
        shutdown.cancel();
        let name = self.next().await;
        warn!("{name} again: ending at once");
        std::process::exit(1);
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stay_below_the_limit_of_open_files() {
        for (wanted, files, capped_to) in [
            (100_000, 1_048_576, 100_000),
            (100_000, 1024, 768),
            (10, 266, 10),
            (10, 100, 1),
        ] {
            assert_eq!(
                capped(wanted, files, SPARE_FILES),
                capped_to,
                "{wanted} of {files}"
            );
        }
    }

    #[test]
    fn port_0_takes_a_free_one_and_a_taken_one_is_an_error() {
        let listener = bind("127.0.0.1", 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_ne!(port, 0);
        assert_eq!(
            bind("127.0.0.1", port).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
