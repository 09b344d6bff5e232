//! The fan-out against the minimal hub in a child process.

use crate::fanout::fanout;
use crate::options::Ceiling;
use crate::report::report;
use crate::{hub, sys};
use serde_json::json;
use std::process::{Child, Command, Stdio};

/// A child process that ends with this value.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts the minimal hub, measures a fan-out against it, and ends it.
pub(crate) fn ceiling(mut a: Ceiling) -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let port = 7999u16;
    let mode = match a.mode {
        hub::Mode::Send => "send",
        hub::Mode::Writev => "writev",
        hub::Mode::Concat => "concat",
    };
    let child = Command::new(exe)
        .args([
            "ceiling-server",
            "--port",
            &port.to_string(),
            "--mode",
            mode,
            "--linger-us",
            &a.linger_us.to_string(),
        ])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let child = Reaped(child);
    sys::sleep_ms(200);
    a.t.server_pid = vec![child.0.id() as i32];
    a.t.sub_url = Some(format!("http://127.0.0.1:{port}/s"));
    a.t.pub_url = Some(format!("http://127.0.0.1:{port}/p"));
    if a.l.window == 0 && a.l.rate == 0.0 {
        a.l.window = 32;
    }
    let mut m = fanout(&a.t, &a.l)?;
    m.insert("cmd".into(), json!(format!("ceiling-{mode}")));
    drop(child);
    report(&a.t, m)
}
