//! JSON Web Tokens (RFC 7519): signed by a shared secret, or by keys from a JWK set (RFC 7517).
//!
//! The algorithm is taken from our list and the key that fits it, never from the token alone; `exp` is
//! required; what a token says of rights is read as strictly as a key file.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    fetch::{self, FetchError},
    rights::{Restrictions, Rights, scopes},
    ring_provider,
};
use crate::config::{Auth, JwksSource, SigningAlgorithm};

/// How far two clocks may be apart, in seconds.
const LEEWAY_S: u64 = 5;

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
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Token {
    /// Who it was made for: issuer and subject.
    pub(super) caller: String,
    /// What they may do.
    pub(super) rights: Rights,
    /// What the rights were made from, to be sealed into a session.
    pub(super) scopes: Vec<String>,
    pub(super) restrictions: Restrictions,
    /// When it ends, epoch ms.
    pub(super) expires_at: i64,
}

#[derive(Debug, Deserialize)]
struct Claims {
    exp: f64,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(flatten)]
    restrictions: Restrictions,
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

    /// The token's holder and rights.
    ///
    /// # Errors
    /// Why it is refused, in words that may be told to whoever showed it.
    pub(super) async fn verify(&self, token: &str) -> Result<Token, String> {
        if token.len() > MOST_TOKEN {
            return Err(format!("the token is longer than {MOST_TOKEN} bytes"));
        }
        let header =
            decode_header(token).map_err(|_| "this is neither an API key nor a JWT".to_owned())?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("tokens signed with {:?} are not taken", header.alg));
        }
        if header.crit.is_some() {
            return Err("the token asks for an extension (crit) that isn't known here".to_owned());
        }
        let keys = self.keys_for(&header).await;
        if keys.is_empty() {
            return Err("no key is known for the token's alg and kid".to_owned());
        }
        let validation = self.validation(header.alg);
        let mut refusal = String::new();
        for key in &keys {
            match decode::<Claims>(token, key, &validation) {
                Ok(data) => return self.accept(data.claims),
                Err(error) => refusal = self.explain(error.kind()),
            }
        }
        Err(refusal)
    }

    /// Asks for the set again where it is an address and due, or a file: for the watcher.
    pub(super) async fn refresh(&self, file_changed: bool) {
        let Some(public) = &self.public else { return };
        match &public.source {
            JwksSource::File(path) if file_changed => match read_set(path) {
                Ok(set) => public.keep(set),
                Err(problem) => warn!("the old keys of tokens stay in force: {problem}"),
            },
            JwksSource::Url(url) => public.ask(url, FRESH).await,
            JwksSource::File(_) => {}
        }
    }

    async fn keys_for(&self, header: &Header) -> Vec<DecodingKey> {
        if header.alg == Algorithm::HS256 {
            return self.secret.clone().into_iter().collect();
        }
        let Some(public) = &self.public else {
            return Vec::new();
        };
        let found = fitting(&public.keys.load(), header);
        match &public.source {
            JwksSource::Url(url) if found.is_empty() => {
                public.ask(url, PAUSE).await;
                fitting(&public.keys.load(), header)
            }
            _ => found,
        }
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    fn accept(&self, claims: Claims) -> Result<Token, String> {
        let names: Vec<&str> = claims
            .scope
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let scopes = scopes(names.iter().copied(), true)?;
        let rights = Rights::new(scopes, &claims.restrictions)?;
        let who = |part: Option<String>| part.unwrap_or_default();
        // JSON keeps issuer and subject apart, whatever they hold.
        let caller = serde_json::json!(["jwt", who(claims.iss), who(claims.sub)]).to_string();
        // Its rights end when it is refused, not before: with the leeway.
        let expires_at = (claims.exp + LEEWAY_S as f64) * 1000.0;
        Ok(Token {
            caller,
            rights,
            scopes: scopes.names().map(str::to_owned).collect(),
            restrictions: claims.restrictions,
            expires_at: if expires_at < i64::MAX as f64 {
                expires_at as i64
            } else {
                i64::MAX
            },
        })
    }

    fn explain(&self, kind: &ErrorKind) -> String {
        match kind {
            ErrorKind::ExpiredSignature => "the token has expired".to_owned(),
            ErrorKind::ImmatureSignature => "the token isn't valid yet".to_owned(),
            ErrorKind::InvalidIssuer => "the token is of another issuer".to_owned(),
            ErrorKind::InvalidAudience => "the token is for another audience".to_owned(),
            ErrorKind::MissingRequiredClaim(claim) => format!("the token lacks {claim}"),
            ErrorKind::InvalidClaimFormat(claim) => format!("the token's {claim} can't be read"),
            ErrorKind::Json(error) => format!("the token's claims can't be read: {error}"),
            _ => "the token's signature doesn't fit".to_owned(),
        }
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
            Ok(set) => self.keep(set),
            Err(error) => {
                warn!("{url} gives no keys of tokens, the old ones stay in force: {error}")
            }
        }
    }

    fn keep(&self, set: JwkSet) {
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
    let loose: Loose = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let keys = loose
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(JwkSet {
        keys: keys.collect(),
    })
}

/// The keys that may have signed a token of that head.
fn fitting(set: &JwkSet, header: &Header) -> Vec<DecodingKey> {
    let fits = |jwk: &&Jwk| {
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => header.alg == Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) => {
                header.alg == Algorithm::ES256 && key.curve == EllipticCurve::P256
            }
            AlgorithmParameters::OctetKeyPair(key) => {
                header.alg == Algorithm::EdDSA && key.curve == EllipticCurve::Ed25519
            }
            _ => false,
        };
        kind && jwk
            .common
            .key_algorithm
            .is_none_or(|known| known == KeyAlgorithm::from(header.alg))
            && jwk
                .common
                .public_key_use
                .as_ref()
                .is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && header
                .kid
                .as_ref()
                .is_none_or(|kid| jwk.common.key_id.as_ref() == Some(kid))
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
