//! Browsers' sessions: a token swapped for a cookie, since an `EventSource` can send no header.
//!
//! The cookie holds who it stands for, sealed by the hub (HMAC-SHA256), never the token itself. So a session
//! outlives a restart and is good at every node of a cluster. One that stands for an API key asks for the
//! key's rights anew with each request; one that stands for a JWT ends with it. Those that were ended by hand
//! are remembered until they would have ended anyhow.

use std::{collections::HashMap, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rights::Restrictions;

/// What every cookie of a hub begins with, where the operator doesn't say.
const COOKIE: &str = "timeback_session";

/// Longest cookie that browsers are sure to keep, with room for its attributes.
const MOST_BYTES: usize = 3800;

/// Sessions ended by hand that are remembered. More than that, the ones that end first are forgotten early.
const MOST_ENDED: usize = 100_000;

/// Seals and opens sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    seal: hmac::Key,
    /// Ended by hand, by id: when they would have ended anyhow, epoch ms.
    ended: Mutex<HashMap<String, i64>>,
}

/// What a session says, once its seal was found whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    /// Which one.
    pub(super) id: String,
    /// When it ends, epoch ms.
    pub(super) expires_at: i64,
    /// For whom it stands.
    pub(super) holder: Holder,
}

/// For whom a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Holder {
    /// The API key of that id, with the rights that it has by now.
    Key(String),
    /// A JWT's holder, with the rights that it said.
    Token {
        /// Who.
        caller: String,
        /// What people call them.
        name: String,
        /// What may be done.
        scopes: Vec<String>,
        /// What it is held to.
        restrictions: Restrictions,
    },
}

impl Sessions {
    /// Sealed by this secret.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self {
            seal: hmac::Key::new(hmac::HMAC_SHA256, secret),
            ended: Mutex::default(),
        }
    }

    /// A new session as a cookie's value.
    ///
    /// # Errors
    /// What is wrong: rights too long for a cookie, or no random bytes.
    pub(super) fn begin(&self, holder: Holder, expires_at: i64) -> Result<String, String> {
        let id = random::<16>().map_err(|error| error.to_string())?;
        let session = Session {
            id: URL_SAFE_NO_PAD.encode(id),
            expires_at,
            holder,
        };
        let payload = serde_json::to_vec(&session).map_err(|error| error.to_string())?;
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let seal = URL_SAFE_NO_PAD.encode(hmac::sign(&self.seal, payload.as_bytes()));
        let cookie = format!("{payload}.{seal}");
        if cookie.len() > MOST_BYTES {
            return Err(
                "the token names too many servers, workflows, types or tags for a cookie"
                    .to_owned(),
            );
        }
        Ok(cookie)
    }

    /// The session that a cookie's value holds; `None` where the seal is broken, or it has ended.
    pub(super) fn read(&self, cookie: &str, now: i64) -> Option<Session> {
        let (payload, seal) = cookie.split_once('.')?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        hmac::verify(&self.seal, payload.as_bytes(), &seal).ok()?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let session: Session = serde_json::from_slice(&payload).ok()?;
        self.is_open(&session.id, session.expires_at, now)
            .then_some(session)
    }

    /// Whether a session still stands.
    pub(super) fn is_open(&self, id: &str, expires_at: i64, now: i64) -> bool {
        now < expires_at && !self.ended.lock().contains_key(id)
    }

    /// Ends a session by hand.
    pub(super) fn end(&self, session: Session, now: i64) {
        let mut ended = self.ended.lock();
        if ended.len() >= MOST_ENDED {
            ended.retain(|_, expires_at| now < *expires_at);
        }
        if ended.len() >= MOST_ENDED {
            let soonest = ended
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(id, _)| id.clone());
            soonest.map(|id| ended.remove(&id));
        }
        ended.insert(session.id, session.expires_at);
    }
}

/// A secret that is kept in the data directory, made where it isn't there yet; without a directory one that is gone
/// with the process.
pub(super) fn secret(data_dir: Option<&Path>) -> io::Result<Vec<u8>> {
    match data_dir {
        Some(folder) => kept_secret(folder),
        None => Ok(random::<32>()?.to_vec()),
    }
}

/// What the session's cookie is called. Browsers keep cookies by host, whatever the port and, with `Path=/`, the path;
/// so two hubs on one host need two names, or each would sign the other out.
#[derive(Debug)]
pub(super) enum CookieName {
    /// As the operator says.
    Set(String),
    /// By the port that the hub listens on, and by the path that a proxy serves it under and tells.
    Port(u16),
}

impl CookieName {
    /// The name for a request.
    fn of(&self, headers: &http::HeaderMap) -> String {
        let port = match self {
            Self::Set(name) => return name.clone(),
            Self::Port(port) => port,
        };
        let path = headers.get("x-forwarded-prefix");
        let path = path.map_or(&[][..], |path| path.as_bytes());
        if path.iter().all(|byte| *byte == b'/') {
            return format!("{COOKIE}_{port}");
        }
        // Anybody may write the header, so nothing of it is handed on but what tells two paths apart.
        let digest = Sha256::digest(path.trim_ascii());
        let of_path = u32::from_be_bytes(std::array::from_fn(|at| digest[at]));
        format!("{COOKIE}_{port}_{of_path:08x}")
    }

    /// The values that a request carries under our name, in its order. Cookies of others don't matter, in whatever bytes.
    pub(super) fn values<'r>(&self, headers: &'r http::HeaderMap) -> impl Iterator<Item = &'r str> {
        let name = self.of(headers);
        headers
            .get_all(http::header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .filter_map(move |pair| {
                let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                std::str::from_utf8(value.strip_prefix(b"=")?).ok()
            })
    }

    /// What makes a browser keep the session, or forget it where `value` is empty.
    pub(super) fn set(
        &self,
        headers: &http::HeaderMap,
        value: &str,
        seconds: i64,
        secure: bool,
    ) -> String {
        let (name, secure) = (self.of(headers), if secure { "; Secure" } else { "" });
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }
}

/// Whether the secret that is kept in the data directory, if any is, can be read.
///
/// # Errors
/// Why not.
pub(super) fn may_read(folder: &Path) -> io::Result<()> {
    let path = folder.join(KEPT);
    match fs::read(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// The file that keeps the secret.
const KEPT: &str = "session.key";

fn kept_secret(folder: &Path) -> io::Result<Vec<u8>> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

    let path = folder.join(KEPT);
    match fs::read(&path) {
        Ok(secret) if secret.len() >= 32 => return Ok(secret),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = random::<32>()?;
    fs::create_dir_all(folder)?;
    let beside = folder.join("session.key.new");
    let mut options = fs::File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    Ok(secret.to_vec())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder::Key("0123".to_owned())
    }

    #[test]
    fn a_session_is_read_until_it_ends() {
        let sessions = Sessions::new(b"secret");
        let cookie = sessions.begin(holder(), 1000).unwrap();
        assert_eq!(sessions.read(&cookie, 999).unwrap().holder, holder());
        assert!(sessions.read(&cookie, 1000).is_none());
        let session = sessions.read(&cookie, 0).unwrap();
        sessions.end(session, 0);
        assert!(sessions.read(&cookie, 0).is_none());
    }

    #[test]
    fn a_broken_seal_is_no_session() {
        let sessions = Sessions::new(b"secret");
        let cookie = sessions.begin(holder(), 1000).unwrap();
        assert!(Sessions::new(b"another").read(&cookie, 0).is_none());
        for at in 0..cookie.len() {
            let mut broken = cookie.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            let broken = String::from_utf8(broken).unwrap();
            assert!(sessions.read(&broken, 0).is_none(), "{at}");
        }
        assert!(sessions.read("", 0).is_none());
    }

    #[test]
    fn a_session_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = |folder| Sessions::new(&secret(folder).unwrap());
        let before = open(Some(folder.path()));
        let cookie = before.begin(holder(), 1000).unwrap();
        assert!(open(Some(folder.path())).read(&cookie, 0).is_some());
        assert!(open(None).read(&cookie, 0).is_none());
    }

    #[test]
    fn rights_that_no_cookie_holds_are_refused() {
        let tags = (0..400).map(|n| format!("site:north-{n}")).collect();
        let restrictions = Restrictions {
            tags: Some(tags),
            ..Restrictions::default()
        };
        let holder = Holder::Token {
            caller: "c".to_owned(),
            name: "c".to_owned(),
            scopes: Vec::new(),
            restrictions,
        };
        assert!(
            Sessions::new(b"secret")
                .begin(holder, 1)
                .unwrap_err()
                .contains("cookie")
        );
    }

    fn carrying(lines: &[&[u8]]) -> http::HeaderMap {
        let lines = lines.iter().map(|line| {
            let line = http::HeaderValue::from_bytes(line).unwrap();
            (http::header::COOKIE, line)
        });
        lines.collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let name = CookieName::Port(3001);
        let found = |lines: &[&[u8]]| {
            let headers = carrying(lines);
            let values: Vec<String> = name.values(&headers).map(str::to_owned).collect();
            values
        };
        let others: &[u8] =
            b"a=b; timeback_session=x; timeback_session_30010=y; timeback_session_3001";
        assert_eq!(found(&[others]), Vec::<String>::new());
        assert_eq!(
            found(&[others, b"c=d;timeback_session_3001=abc.def; e=f"]),
            ["abc.def"]
        );
        assert_eq!(
            found(&[
                b"who=J\xfcrgen; timeback_session_3001=one",
                "\u{fc}=\u{1f36a}; =;;; timeback_session_3001=\u{fc}; timeback_session_3001=two"
                    .as_bytes(),
            ]),
            ["one", "\u{fc}", "two"]
        );
    }

    #[test]
    fn two_hubs_of_one_host_have_two_cookies() {
        let behind = |path: &str| {
            let name = http::HeaderName::from_static("x-forwarded-prefix");
            http::HeaderMap::from_iter([(name, path.parse().unwrap())])
        };
        let (one, other) = (CookieName::Port(3001), CookieName::Port(3002));
        let plain = http::HeaderMap::new();
        assert_ne!(one.of(&plain), other.of(&plain));
        assert_eq!(one.of(&plain), one.of(&behind("/")));
        let (a, b) = (one.of(&behind("/a")), one.of(&behind("/b; Domain=evil")));
        assert!(a != b && a != one.of(&plain));
        assert!(
            b.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        );
        let set = CookieName::Set("mine".to_owned());
        assert_eq!(set.of(&behind("/a")), "mine");
        assert!(
            one.set(&plain, "v", 60, true)
                .ends_with("; HttpOnly; SameSite=Strict; Secure")
        );
        assert!(!one.set(&plain, "v", 60, false).contains("; Secure"));
    }
}
