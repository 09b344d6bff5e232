//! `healthcheck`: asks the hub on this machine whether it is ready.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    process::ExitCode,
    time::Duration,
};

use super::pinned;
use crate::config::{Config, Tls};

/// How long connecting, and then each read and write, may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Most of an answer that is read: a status line and the reason why it isn't ready.
const MOST: u64 = 64 * 1024;

/// Asks, and tells what is wrong on standard error.
pub(super) fn ask(config: &Config) -> ExitCode {
    match ready(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("not ready: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn ready(config: &Config) -> Result<(), String> {
    let host = reachable(&config.listen.host);
    let answer = get(&host, config.listen.port, config.tls.as_ref())
        .map_err(|error| format!("no answer from {host} port {}: {error}", config.listen.port))?;
    let status = answer.split_whitespace().nth(1).unwrap_or("no status");
    if status == "200" {
        return Ok(());
    }
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .trim();
    Err(format!("/readyz answers {status} {}", body.escape_debug()))
}

/// An address to connect to where the hub listens on every one.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}

fn get(host: &str, port: u16, tls: Option<&Tls>) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return match tls {
                    Some(tls) => exchange(pinned::connect(tls, stream)?, address),
                    None => exchange(stream, address),
                };
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl io::Read + io::Write, address: SocketAddr) -> io::Result<String> {
    // In one piece, so that it leaves as one packet.
    let request = format!(
        "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\naccept: application/json\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MOST).read_to_end(&mut answer) {
        // One that doesn't say good-bye in TLS's own way has answered all the same.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        read => _ = read?,
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use super::*;

    fn answered(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.listen.host = "0.0.0.0".to_owned();
        config.listen.port = listener.local_addr().unwrap().port();
        let hub = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let result = ready(&config);
        assert!(
            hub.join()
                .unwrap()
                .starts_with("GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:")
        );
        result
    }

    #[test]
    fn ready_is_what_answers_200() {
        assert_eq!(answered("HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        let problem = answered("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"a\":1}\n").unwrap_err();
        assert!(
            problem.contains("503") && problem.contains("a"),
            "{problem}"
        );
        assert!(answered("").is_err());
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let mut config = Config::default();
        config.listen.port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert!(ready(&config).unwrap_err().contains("no answer"));
    }
}
