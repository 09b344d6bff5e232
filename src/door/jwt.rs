//! JSON Web Tokens (RFC 7519): signed by a shared secret, or by keys from a JWK set (RFC 7517).
//!
//! The algorithm is taken from our list and the key that fits it, never from the token alone; `exp` is
//! required; what a token says of rights is read as strictly as a key file.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    fetch::{self, FetchError},
    rights::{Restrictions, Rights, meant, scopes},
    ring_provider,
};
use crate::{
    config::{Auth, JwksSource, SigningAlgorithm},
    words::without_passwords,
};

/// How far two clocks may be apart.
const LEEWAY_MS: i64 = 5000;

/// A set from an address is asked for again after this long.
const FRESH: Duration = Duration::from_secs(15 * 60);

/// A `kid` that nobody knows makes the set be asked for again, but no sooner than this after the last time:
/// anybody can make up a `kid`.
const PAUSE: Duration = Duration::from_secs(30);

/// Largest JWK set.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// Longest token: one that would fill a request's head anyhow.
const MOST_TOKEN: usize = 8 << 10;

/// Reads tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    secret: Option<DecodingKey>,
    public: Option<PublicKeys>,
    algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Option<String>,
}

/// The keys of a JWK set and where they are from.
#[derive(Debug)]
struct PublicKeys {
    source: JwksSource,
    keys: ArcSwap<JwkSet>,
    /// When the set was last asked for. Held while it is, so that one asks for all.
    asked: Mutex<Option<Instant>>,
    /// The set couldn't be read when it was last asked for.
    stale: AtomicBool,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Token {
    /// Who it was made for: issuer and subject, or the token itself where it names no subject.
    pub(super) caller: String,
    /// What people call them.
    pub(super) name: String,
    /// What they may do.
    pub(super) rights: Rights,
    /// What the rights were made from, to be sealed into a session.
    pub(super) scopes: Vec<String>,
    pub(super) restrictions: Restrictions,
    /// When it ends, epoch ms.
    pub(super) expires_at: i64,
}

/// A token's head. What else it holds, such as addresses of keys, is never followed.
#[derive(Debug, Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Option<Value>,
    #[serde(default)]
    nbf: Option<Value>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Option<Names>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    scope: Option<Names>,
    #[serde(default)]
    scp: Option<Names>,
    #[serde(flatten)]
    restrictions: Restrictions,
    /// The issuer's own affair, unless a restriction is meant.
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

/// One name, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::One(name) => (Some(name.as_str()), &[][..]),
            Self::Several(names) => (None, names.as_slice()),
        };
        one.into_iter().chain(several.iter().map(String::as_str))
    }
}

impl Verifier {
    /// From the settings; `None` where none of them is about tokens. A file is read at once, an address is
    /// asked when the first token comes or [`Self::refresh`] is called.
    pub(super) fn new(auth: &Auth) -> Result<Option<Self>, String> {
        if auth.jwt_secret.is_none() && auth.jwks.is_none() {
            return Ok(None);
        }
        ring_provider::install();
        let public = match &auth.jwks {
            Some(source) => {
                let keys = match source {
                    JwksSource::File(path) => read_set(path)?,
                    JwksSource::Url(_) => JwkSet::default(),
                };
                let (keys, asked) = (ArcSwap::from_pointee(keys), Mutex::new(None));
                Some(PublicKeys {
                    source: source.clone(),
                    keys,
                    asked,
                    stale: AtomicBool::new(false),
                })
            }
            None => None,
        };
        Ok(Some(Self {
            secret: auth
                .jwt_secret
                .as_ref()
                .map(|s| DecodingKey::from_secret(s.reveal().as_bytes())),
            public,
            algorithms: auth
                .algorithms
                .iter()
                .map(|algorithm| named(*algorithm))
                .collect(),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
        }))
    }

    /// The token's holder and rights. `now` is wall time, epoch ms.
    ///
    /// # Errors
    /// Why it is refused, in words that may be told to whoever showed it.
    pub(super) async fn verify(&self, token: &str, now: i64) -> Result<Token, String> {
        if token.len() > MOST_TOKEN {
            return Err(format!("the token is longer than {MOST_TOKEN} bytes"));
        }
        let no_token = || "this is neither an API key nor a JWT".to_owned();
        let (message, signature) = token.rsplit_once('.').ok_or_else(no_token)?;
        let (head, payload) = message.split_once('.').ok_or_else(no_token)?;
        let head: Head = decoded(head).map_err(|_| no_token())?;
        let algorithm = algorithm(&head.alg).filter(|known| self.algorithms.contains(known));
        let algorithm = algorithm.ok_or_else(|| {
            let told: String = head.alg.chars().take(32).collect();
            format!("tokens signed with {told:?} are not taken")
        })?;
        if head.crit.is_some() {
            return Err("the token asks for an extension (crit) that isn't known here".to_owned());
        }
        let keys = self.keys_for(algorithm, head.kid.as_deref()).await;
        if keys.is_empty() {
            return Err("no key is known for the token's alg and kid".to_owned());
        }
        let fits = |key: &DecodingKey| {
            crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
        };
        if !keys.iter().any(fits) {
            return Err("the token's signature doesn't fit".to_owned());
        }
        let claims = decoded(payload);
        let claims =
            claims.map_err(|error| format!("the token's claims can't be read: {error}"))?;
        self.accept(claims, payload, now)
    }

    /// Asks for the set again where it is an address and due, or a file: for the watcher.
    pub(super) async fn refresh(&self, file_changed: bool) {
        let Some(public) = &self.public else { return };
        match &public.source {
            JwksSource::File(path) if file_changed => match read_set(path) {
                Ok(set) => public.keep(set),
                Err(problem) => {
                    warn!("the old keys of tokens stay in force: {problem}");
                    public.stale.store(true, Ordering::Relaxed);
                }
            },
            JwksSource::Url(url) => public.ask(url, FRESH).await,
            JwksSource::File(_) => {}
        }
    }

    /// Whether the set of keys couldn't be read when it was last asked for.
    pub(super) fn is_stale(&self) -> bool {
        let public = self.public.as_ref();
        public.is_some_and(|public| public.stale.load(Ordering::Relaxed))
    }

    async fn keys_for(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<DecodingKey> {
        if algorithm == Algorithm::HS256 {
            return self.secret.clone().into_iter().collect();
        }
        let Some(public) = &self.public else {
            return Vec::new();
        };
        let found = fitting(&public.keys.load(), algorithm, kid);
        match &public.source {
            JwksSource::Url(url) if found.is_empty() => {
                public.ask(url, PAUSE).await;
                fitting(&public.keys.load(), algorithm, kid)
            }
            _ => found,
        }
    }

    fn accept(&self, claims: Claims, payload: &str, now: i64) -> Result<Token, String> {
        let expires_at = self.check(&claims, now)?;
        if let Some((claim, name)) = claims
            .others
            .keys()
            .find_map(|claim| meant(claim).map(|name| (claim, name)))
        {
            return Err(format!(
                "the token's {claim:?} isn't understood; did you mean {name:?}?"
            ));
        }
        let names = [&claims.scope, &claims.scp].into_iter().flatten();
        let names = names.flat_map(Names::iter).flat_map(str::split_whitespace);
        let scopes = scopes(names, true)?;
        let rights = Rights::new(scopes, &claims.restrictions)?;
        let issuer = claims.iss.unwrap_or_default();
        let subject = claims.sub.filter(|subject| !subject.is_empty());
        // JSON keeps issuer and subject apart, whatever they hold. Who has no name is whoever holds this very token:
        // what two of them remember here must not meet.
        let caller = match &subject {
            Some(subject) => json!(["jwt", issuer, subject]),
            None => {
                let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(payload));
                json!(["jwt", issuer, null, digest])
            }
        };
        let name = subject
            .or(claims.client_id)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| {
                format!("a token of {issuer}")
                    .trim_end_matches(" of ")
                    .to_owned()
            });
        Ok(Token {
            caller: caller.to_string(),
            name,
            rights,
            scopes: scopes.names().map(str::to_owned).collect(),
            restrictions: claims.restrictions,
            expires_at,
        })
    }

    /// Checks times, issuer and audience; gives when the token's rights end, epoch ms: with the leeway, not before.
    fn check(&self, claims: &Claims, now: i64) -> Result<i64, String> {
        let time = |name: &str, value: &Option<Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(seconds) if seconds.is_finite() => Ok(Some((seconds * 1000.0) as i64)),
                _ => Err(format!("the token's {name} can't be read")),
            },
        };
        let ends = time("exp", &claims.exp)?.ok_or("the token lacks exp")?;
        let ends = ends.saturating_add(LEEWAY_MS);
        if ends <= now {
            return Err("the token has expired".to_owned());
        }
        let begins = time("nbf", &claims.nbf)?;
        if begins.is_some_and(|begins| begins > now.saturating_add(LEEWAY_MS)) {
            return Err("the token isn't valid yet".to_owned());
        }
        match (&self.issuer, &claims.iss) {
            (Some(_), None) => return Err("the token lacks iss".to_owned()),
            (Some(wanted), Some(issuer)) if wanted != issuer => {
                return Err("the token is of another issuer".to_owned());
            }
            _ => {}
        }
        match (&self.audience, &claims.aud) {
            (Some(_), None) => Err("the token lacks aud".to_owned()),
            (Some(wanted), Some(audience)) if audience.iter().all(|name| name != wanted) => {
                Err("the token is for another audience".to_owned())
            }
            _ => Ok(ends),
        }
    }
}

/// One part of a token, as it stands in it.
fn decoded<T: DeserializeOwned>(part: &str) -> Result<T, String> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// The algorithm of that name, among those that are ever taken. RFC 9864 calls EdDSA by its curve.
fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

impl PublicKeys {
    /// Asks the address for the set, unless somebody did within `pause`. Where that fails the old set stays.
    async fn ask(&self, url: &str, pause: Duration) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        *asked = Some(Instant::now());
        match fetch_set(url).await {
            Ok(set) if set.keys.is_empty() => {
                warn!("{url} gives an empty set of keys of tokens; the old ones stay in force");
                self.stale.store(true, Ordering::Relaxed);
            }
            Ok(set) => self.keep(set),
            Err(error) => {
                let url = without_passwords(url);
                warn!("{url} gives no keys of tokens, the old ones stay in force: {error}");
                self.stale.store(true, Ordering::Relaxed);
            }
        }
    }

    fn keep(&self, set: JwkSet) {
        self.stale.store(false, Ordering::Relaxed);
        if *self.keys.load_full() != set {
            info!("{} keys of tokens are known", set.keys.len());
            self.keys.store(Arc::new(set));
        }
    }
}

async fn fetch_set(url: &str) -> Result<JwkSet, FetchError> {
    let body = fetch::get(url, MOST_BYTES).await?;
    parse_set(&body).map_err(FetchError::Malformed)
}

fn read_set(path: &Path) -> Result<JwkSet, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    let set = parse_set(&bytes).map_err(|error| wrong(&error))?;
    if set.keys.is_empty() {
        Err(wrong(&"holds no key"))
    } else {
        Ok(set)
    }
}

/// Reads a set. A key of a kind that isn't known is passed over: issuers list others beside ours.
fn parse_set(bytes: &[u8]) -> Result<JwkSet, String> {
    #[derive(Deserialize)]
    struct Loose {
        keys: Vec<serde_json::Value>,
    }
    // A byte order mark says nothing in UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let loose: Loose = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let keys = loose.keys.into_iter().filter_map(|mut key| {
        // The same by its newer name, which the library doesn't know.
        if key["alg"] == "Ed25519" {
            key["alg"] = "EdDSA".into();
        }
        serde_json::from_value::<Jwk>(key).ok().filter(is_public)
    });
    Ok(JwkSet {
        keys: keys.collect(),
    })
}

/// Whether a key is of a kind that signatures are ever checked with; a shared secret has no place in a public set.
fn is_public(jwk: &Jwk) -> bool {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => true,
        AlgorithmParameters::EllipticCurve(key) => key.curve == EllipticCurve::P256,
        AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    }
}

/// The keys that may have signed a token of that head.
fn fitting(set: &JwkSet, algorithm: Algorithm, kid: Option<&str>) -> Vec<DecodingKey> {
    let fits = |jwk: &&Jwk| {
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => algorithm == Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) => {
                algorithm == Algorithm::ES256 && key.curve == EllipticCurve::P256
            }
            AlgorithmParameters::OctetKeyPair(key) => {
                algorithm == Algorithm::EdDSA && key.curve == EllipticCurve::Ed25519
            }
            _ => false,
        };
        kind && jwk
            .common
            .key_algorithm
            .is_none_or(|known| known == KeyAlgorithm::from(algorithm))
            && jwk
                .common
                .public_key_use
                .as_ref()
                .is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && kid.is_none_or(|kid| jwk.common.key_id.as_deref() == Some(kid))
    };
    set.keys
        .iter()
        .filter(fits)
        .filter_map(|jwk| DecodingKey::from_jwk(jwk).ok())
        .collect()
}

fn named(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::Hs256 => Algorithm::HS256,
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests;
