//! The door: who comes in, what they may do, and how much of it.
//!
//! A request shows an API key or a JWT in `Authorization`, or a session in a cookie; what it gets is an
//! [`Access`]. Where credentials are configured, a request without any is nobody's, and one whose credential
//! is no good is refused: never taken for another's, nor for nobody's. Where none are configured everybody may
//! do everything, which the settings allow on loopback or where that was said plainly.
//!
//! The door knows nothing of routes: `http::gate` asks it for each request. Tokens and keys are never
//! logged.

pub mod access;
mod cursor;
mod fetch;
mod jwt;
pub mod keys;
mod limits;
mod peer;
mod rights;
mod ring_provider;
mod session;
pub mod sight;
pub mod tls;
mod watch;

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, header::AUTHORIZATION};

pub use access::{Access, Denied, Scope, Scopes};
pub use limits::StreamPlace;
pub use peer::site;
pub use rights::{Restrictions, Rights};
pub use sight::Sight;

use self::{
    cursor::Cursors,
    jwt::Verifier,
    keys::{Key, KeyFileError, Keys},
    limits::{Rate, StreamCounts},
    session::{CookieName, Holder, Session, Sessions},
    watch::Stamp,
};
use crate::{
    clock::Clock,
    config::{Auth, Config},
    domain::Limit,
    metrics::Metrics,
};

/// The door of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    auth: Auth,
    keys: Option<KeyStore>,
    tokens: Option<Verifier>,
    sessions: Sessions,
    cookie: CookieName,
    cursors: Cursors,
    by_address: Rate<IpAddr>,
    by_caller: Rate<Arc<str>>,
    streams: Arc<StreamCounts>,
    /// The files as they were just before they were read first.
    stamps: Vec<Stamp>,
    /// Makes owners of credentials; not to be foreseen from outside.
    hasher: RandomState,
    clock: Clock,
    metrics: Metrics,
}

#[derive(Debug)]
struct KeyStore {
    path: PathBuf,
    keys: ArcSwap<Keys>,
}

/// Why the door can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The file of API keys.
    #[error("INTEGRATION_API_KEYS_FILE: {0}")]
    Keys(#[from] KeyFileError),
    /// The keys of tokens.
    #[error("INTEGRATION_JWKS: {0}")]
    Jwks(String),
    /// The secret that seals sessions.
    #[error("the secret that seals sessions can't be kept in the data directory: {0}")]
    Sessions(#[source] io::Error),
}

/// Who a request comes from, and by what they showed it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What they may do.
    pub access: Access,
    /// By a cookie, which a browser sends along with what other pages ask for as well.
    pub by_cookie: bool,
    /// `None` where nobody is asked.
    credential: Option<Credential>,
    /// What a session would stand for; `None` for what is one itself, and where nobody is asked.
    holder: Option<Holder>,
}

/// What an open stream lives by.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// An API key with the rights that it had.
    Key(Arc<Key>),
    /// A JWT.
    Token {
        /// When it ends, epoch ms.
        expires_at: i64,
    },
    /// A session.
    Session {
        /// Which one.
        id: String,
        /// When it ends, epoch ms.
        expires_at: i64,
        /// The API key that it stands for.
        key: Option<Arc<Key>>,
    },
}

/// Why a request isn't anybody's, in words that may be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// It shows nothing.
    #[error("show a token: Authorization: Bearer <token>")]
    Nothing,
    /// What it shows is no good.
    #[error("{0}")]
    Invalid(String),
}

/// A limit of one client's is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Which one.
    pub limit: Limit,
    /// After how many seconds another try may pass.
    pub retry_after: u64,
}

/// What is wrong with the files that the settings name: each with the variable, all at once. A start reads them again
/// when it opens the door.
#[must_use]
pub fn mistakes(config: &Config) -> Vec<(&'static str, String)> {
    let (auth, mut found) = (&config.auth, Vec::new());
    if let Some(path) = &auth.api_keys
        && let Err(error) = Keys::load(path)
    {
        found.push(("INTEGRATION_API_KEYS_FILE", error.to_string()));
    }
    if let Err(problem) = Verifier::new(auth) {
        found.push(("INTEGRATION_JWKS", problem));
    }
    if let Some(files) = &config.tls {
        found.extend(tls::mistakes(files));
    }
    let sealed_by_file = auth.session_secret.is_none() && auth.has_credentials() && config.enabled;
    if let Some(folder) = config.data_dir.as_deref().filter(|_| sealed_by_file)
        && let Err(error) = session::may_read(folder)
    {
        found.push(("INTEGRATION_DATA_DIR", error.to_string()));
    }
    found
}

impl Shown {
    /// Everybody, on a hub that asks nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            access: Access::open(),
            by_cookie: false,
            credential: None,
            holder: None,
        }
    }
}

impl Door {
    /// Reads what the settings name: keys, certificates' secrets, the seal of sessions.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(config: &Config, clock: &Clock, metrics: &Metrics) -> Result<Self, DoorError> {
        let auth = config.auth.clone();
        let stamps = watch::stamps(&auth);
        let keys = match &auth.api_keys {
            Some(path) => {
                let keys = ArcSwap::from_pointee(Keys::load(path)?);
                Some(KeyStore {
                    path: path.clone(),
                    keys,
                })
            }
            None => None,
        };
        // A hub that asks nobody has no sessions to seal and nothing to hide, nor one that is switched off.
        let kept = auth.has_credentials() && config.enabled;
        let secret = match &auth.session_secret {
            Some(secret) => secret.reveal().as_bytes().to_vec(),
            None => {
                let folder = config.data_dir.as_deref().filter(|_| kept);
                session::secret(folder).map_err(DoorError::Sessions)?
            }
        };
        let cookie = match &auth.session_cookie {
            Some(name) => CookieName::Set(name.clone()),
            None => CookieName::Port(config.listen.port),
        };
        let cursors = Cursors::new(if kept { &secret } else { &[] });
        Ok(Self(Arc::new(Inner {
            tokens: Verifier::new(&auth).map_err(DoorError::Jwks)?,
            auth,
            keys,
            sessions: Sessions::new(&secret),
            cookie,
            cursors,
            by_address: Rate::new(config.limits.requests_per_address),
            by_caller: Rate::new(config.limits.requests_per_token),
            streams: StreamCounts::new(&config.limits),
            stamps,
            hasher: RandomState::new(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        })))
    }

    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.0.auth.has_credentials()
    }

    /// Whether it has nothing to do: it asks nobody and counts no requests.
    #[must_use]
    pub fn is_passive(&self) -> bool {
        !self.asks() && self.0.by_address.is_off()
    }

    /// Who a request comes from. A header beats a cookie; one that is no good is not made good by the other.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Shown, Unknown> {
        if !self.asks() {
            return Ok(Shown::nobody());
        }
        let now = self.0.clock.wall_ms();
        let shown = match bearer(headers)? {
            Some(token) if token.starts_with(keys::PREFIX) => self.by_key(token, now),
            Some(token) => self.by_token(token).await,
            None => {
                // Of several the valid one counts: others may be left over, or planted.
                let mut refused = None;
                let shown = self.0.cookie.values(headers).find_map(|cookie| {
                    let shown = self.by_session(cookie, now);
                    shown.map_err(|why| refused = Some(why)).ok()
                });
                match (shown, refused) {
                    (Some(shown), _) => Ok(shown),
                    (None, Some(why)) => Err(why),
                    (None, None) => return Err(Unknown::Nothing),
                }
            }
        };
        shown.map_err(Unknown::Invalid)
    }

    fn by_key(&self, shown: &str, now: i64) -> Result<Shown, String> {
        let keys = self.0.keys.as_ref().map(|store| store.keys.load());
        let key = keys
            .as_ref()
            .and_then(|keys| keys.find(shown))
            .ok_or("there is no such API key")?;
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err("the API key has expired".to_owned());
        }
        let owner = self.0.hasher.hash_one(("key", &key.id));
        Ok(Shown {
            access: key.rights.of(key_caller(key), owner, key.expires_at),
            by_cookie: false,
            credential: Some(Credential::Key(key.clone())),
            holder: Some(Holder::Key(key.id.clone())),
        })
    }

    async fn by_token(&self, shown: &str) -> Result<Shown, String> {
        let tokens = self.0.tokens.as_ref().ok_or("there is no such API key")?;
        let now = self.0.clock.wall_ms();
        let token = tokens.verify(shown, now).await?;
        let owner = self.0.hasher.hash_one(("token", shown));
        let caller = (token.caller.as_str().into(), called(&token.name));
        Ok(Shown {
            access: token.rights.of(caller, owner, Some(token.expires_at)),
            by_cookie: false,
            credential: Some(Credential::Token {
                expires_at: token.expires_at,
            }),
            holder: Some(Holder::Token {
                caller: token.caller,
                name: called(&token.name).to_string(),
                scopes: token.scopes,
                restrictions: token.restrictions,
            }),
        })
    }

    fn by_session(&self, cookie: &str, now: i64) -> Result<Shown, String> {
        let session = self
            .0
            .sessions
            .read(cookie, now)
            .ok_or("the session has ended")?;
        let Session {
            id,
            expires_at,
            holder,
        } = session;
        let owner = self.0.hasher.hash_one(("session", &id));
        let (access, key) = match holder {
            Holder::Key(key) => {
                let keys = self.0.keys.as_ref().map(|store| store.keys.load());
                let key = keys.as_ref().and_then(|keys| keys.by_id(&key));
                let key = key
                    .ok_or("the API key of this session was revoked")?
                    .clone();
                (
                    key.rights.of(key_caller(&key), owner, Some(expires_at)),
                    Some(key),
                )
            }
            Holder::Token {
                caller,
                name,
                scopes,
                restrictions,
            } => {
                let scopes = rights::scopes(scopes.iter().map(String::as_str), true)?;
                let rights = Rights::new(scopes, &restrictions)?;
                let caller = (caller.into(), name.into());
                (rights.of(caller, owner, Some(expires_at)), None)
            }
        };
        let credential = Some(Credential::Session {
            id,
            expires_at,
            key,
        });
        Ok(Shown {
            access,
            by_cookie: true,
            credential,
            holder: None,
        })
    }

    /// Where a request really comes from, given the connection's other end, past the proxies that are trusted.
    #[must_use]
    pub fn address(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> IpAddr {
        peer::site(peer::client(peer, headers, &self.0.auth.trusted_proxies))
    }

    /// Counts a request of an address, before anybody looks at what it shows.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn count_address(&self, address: IpAddr) -> Result<(), Limited> {
        let taken = self.0.by_address.take(address, self.0.clock.mono_ms());
        taken.map_err(|retry_after| Limited {
            limit: Limit::RequestsPerAddress,
            retry_after,
        })
    }

    /// Counts a request of a caller.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn count_caller(&self, shown: &Shown) -> Result<(), Limited> {
        if shown.credential.is_none() {
            return Ok(());
        }
        let taken = self
            .0
            .by_caller
            .take(shown.access.caller.clone(), self.0.clock.mono_ms());
        taken.map_err(|retry_after| Limited {
            limit: Limit::RequestsPerToken,
            retry_after,
        })
    }

    /// A place for a stream, to be kept for as long as it is open.
    ///
    /// # Errors
    /// The limit of one client's that is reached.
    pub fn admit_stream(&self, address: IpAddr, shown: &Shown) -> Result<StreamPlace, Limit> {
        let Access { caller, owner, .. } = &shown.access;
        self.0
            .streams
            .take(address, caller, *owner, shown.credential.clone())
    }

    /// Begins a session for what was shown: a cookie's value, and when it ends (epoch ms).
    ///
    /// # Errors
    /// What is wrong, in words that may be told.
    pub fn begin_session(&self, shown: &Shown) -> Result<(String, i64), String> {
        let holder = shown
            .holder
            .clone()
            .ok_or("show the token itself, in Authorization")?;
        let longest = i64::try_from(self.0.auth.session_age.as_millis()).unwrap_or(i64::MAX);
        let end = self.0.clock.wall_ms().saturating_add(longest);
        let end = shown.access.expires_at.map_or(end, |own| own.min(end));
        self.0
            .sessions
            .begin(holder, end)
            .map(|cookie| (cookie, end))
    }

    /// Whether a request carries a session that still stands.
    #[must_use]
    pub fn has_session(&self, headers: &HeaderMap) -> bool {
        let now = self.0.clock.wall_ms();
        self.sessions_of(headers, now).next().is_some()
    }

    fn sessions_of(&self, headers: &HeaderMap, now: i64) -> impl Iterator<Item = Session> {
        let cookies = self.0.cookie.values(headers);
        cookies.filter_map(move |cookie| self.0.sessions.read(cookie, now))
    }

    /// Ends the sessions that a request carries, if it carries any. Their streams end within moments.
    pub fn end_session(&self, headers: &HeaderMap) {
        let now = self.0.clock.wall_ms();
        for session in self.sessions_of(headers, now) {
            self.0.sessions.end(session, now);
        }
    }

    /// What makes a browser keep a session until `end` (epoch ms), or forget the one it has.
    #[must_use]
    pub fn set_cookie(
        &self,
        headers: &HeaderMap,
        session: Option<(&str, i64)>,
        secure: bool,
    ) -> String {
        let (value, end) = session.unwrap_or_default();
        let seconds = (end - self.0.clock.wall_ms()) / 1000;
        self.0.cookie.set(headers, value, seconds.max(0), secure)
    }

    /// A place in a list as a cursor, which tells nobody where it is; `None` where the system gives no random bytes.
    #[must_use]
    pub fn seal_cursor(&self, list: &str, place: &str) -> Option<String> {
        self.0.cursors.seal(list, place)
    }

    /// The place that a cursor of that list stands for; `None` where it is no such cursor.
    #[must_use]
    pub fn open_cursor(&self, list: &str, cursor: &str) -> Option<String> {
        self.0.cursors.open(list, cursor)
    }

    /// Counts a refusal for the metrics.
    pub fn refused(&self, reason: &'static str) {
        self.0.metrics.refused.with_label_values(&[reason]).inc();
    }

    /// Whether what somebody showed before still holds: for answers that take their time.
    #[must_use]
    pub fn stands(&self, shown: &Shown) -> bool {
        let now = self.0.clock.wall_ms();
        let credential = shown.credential.as_ref();
        credential.is_none_or(|credential| self.holds(credential, now))
    }

    /// Whether what a stream lives by still holds, as it did when the stream began.
    fn holds(&self, credential: &Credential, now: i64) -> bool {
        let key_holds = |key: &Key| {
            let keys = self.0.keys.as_ref().map(|store| store.keys.load());
            let known = keys.as_ref().and_then(|keys| keys.by_id(&key.id));
            known.is_some_and(|known| {
                known.rights == key.rights && known.expires_at.is_none_or(|end| now < end)
            })
        };
        match credential {
            Credential::Key(key) => key_holds(key),
            Credential::Token { expires_at } => now < *expires_at,
            Credential::Session {
                id,
                expires_at,
                key,
            } => {
                self.0.sessions.is_open(id, *expires_at, now)
                    && key.as_ref().is_none_or(|key| key_holds(key))
            }
        }
    }
}

/// Who an API key's requests come from, sessions included, and what people call it.
fn key_caller(key: &Key) -> (Arc<str>, Arc<str>) {
    (format!("key:{}", key.id).into(), called(&key.name))
}

/// A name as events carry it: no longer than keys' names are.
fn called(name: &str) -> Arc<str> {
    name.chars().take(128).collect::<String>().into()
}

/// The token in `Authorization`, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Unknown> {
    let invalid = |text: &str| Unknown::Invalid(text.to_owned());
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(invalid("there are several Authorization headers"));
    }
    let line = line
        .to_str()
        .map_err(|_| invalid("the Authorization header isn't readable"))?;
    match line.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(invalid("the Authorization header must be: Bearer <token>")),
    }
}

#[cfg(test)]
mod tests;
