//! Tokens of every kind, good and forged.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::*;
use crate::{config::Secret, door::Scope};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An RSA key's modulus, and a token that it signed for Ada, good until 2100.
const RSA_MODULUS: &str = "piCJV0NWkQ5KSHhCSvduLvbhizyfohsGvTgJwq2QxDsIQ0diaUoa-AYdk7z3o-phPOY5zz7m2KRaIFXsBiNGCospizqnLmnFe_QqZezTkOnsedjX6dhXRQnNxoj9_HRsG9ZKzks_5aaq3a6xpE5cMbxP0E6p82zpshwaXEdZrfFGZX5FRuuBeULbqusLBYQbCf5tJXOfoW8luH5_KAHSb8CmejYrXs_BhaoIfM-kWt7n3jY3_aNk48kN4nnL5bHemzRx9aXB6__kYsWe9zaD4STOP1QD2T5v5sD28g-t4Lcbp_ckAbS-lhsIjx7bnQo5fMFmlnkupL8WbdNy7o1fxQ";
const RSA_TOKEN: &str = "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInJzYS0xIiwgInR5cCI6ICJKV1QifQ.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxlIiwgInN1YiI6ICJhZGEiLCAiZXhwIjogNDEwMjQ0NDgwMCwgInNjb3BlIjogInJlYWQifQ.ltLy-B5aanjcwc_-j_H-lySm62hDU3lue8sXRIPQ7goGi2NZLkZrvkHkuSjLToznzGMRyEnkzeu3P5YGff4VHbEYNhGZDFZTfnDf6ecsgmX3w48itUAcNGGkaB2MTCvuxuRW0ZSMSwskb2U5a2QkG3h6AkZPncjuVFGGYJXCtXay226NXTvZqUvbtlTml9a5LnPli-vhox4GJpsReyy2l9ZQPvrrx77tGKvv_dtN-sSP5Q8xOvWrpEJDA2RN1YvZyJwxKhU7yxgsZVNq2ztUlF43js6irPvA2b8apOaFf4P-0UjZnAq5yBiPvBYy_v2g9O_Lj_oaZND2syNYPdDdWw";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn now() -> i64 {
    crate::clock::Clock::default().wall_ms() / 1000
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "sub": "ada", "aud": "hub", "exp": now() + 60, "scope": "openid read report"})
}

/// A claim changed; `null` takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    if let Some(map) = claims.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    claims
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = b64(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(claims: &Value) -> String {
    token(&json!({"alg": "HS256"}), claims, |message| {
        by_secret(SECRET.as_bytes(), message)
    })
}

fn by_secret(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message)
        .as_ref()
        .to_vec()
}

/// A pair for ES256 and one for EdDSA, and their set beside the RSA key's.
struct Signers {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Signers {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random)
                .unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    fn set(&self) -> Value {
        let (_, point) = self.ec.public_key().as_ref().split_first().unwrap();
        let (x, y) = point.split_at(32);
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa-1", "use": "sig", "alg": "RS256", "n": RSA_MODULUS, "e": "AQAB"},
            {"kty": "EC", "kid": "ec-1", "crv": "P-256", "x": b64(x), "y": b64(y)},
            {"kty": "OKP", "kid": "ed-1", "crv": "Ed25519", "x": b64(self.ed.public_key())},
            {"kty": "a kind that is yet to come", "kid": "x"},
        ]})
    }

    fn es256(&self, kid: &str, claims: &Value) -> String {
        token(&json!({"alg": "ES256", "kid": kid}), claims, |message| {
            self.ec
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec()
        })
    }

    fn eddsa(&self, claims: &Value) -> String {
        token(&json!({"alg": "EdDSA"}), claims, |message| {
            self.ed.sign(message).as_ref().to_vec()
        })
    }
}

fn auth() -> Auth {
    crate::Config::default().auth
}

fn by_hmac() -> Verifier {
    let secret = Some(Secret::new(SECRET));
    let (issuer, audience) = (
        Some("https://id.example".to_owned()),
        Some("hub".to_owned()),
    );
    Verifier::new(&Auth {
        jwt_secret: secret,
        issuer,
        audience,
        ..auth()
    })
    .unwrap()
    .unwrap()
}

fn by_file(set: &Value) -> (Verifier, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    fs::write(&path, set.to_string()).unwrap();
    let jwks = Some(JwksSource::File(path.clone()));
    (
        Verifier::new(&Auth { jwks, ..auth() }).unwrap().unwrap(),
        folder,
        path,
    )
}

#[tokio::test]
async fn a_good_token_says_who_and_what() {
    let token = by_hmac()
        .verify(&hs256(&with("server_ids", json!(["a"]))), now() * 1000)
        .await
        .unwrap();
    assert_eq!(token.caller, r#"["jwt","https://id.example","ada"]"#);
    assert!(token.rights.scopes.has(Scope::Read) && !token.rights.scopes.has(Scope::Admin));
    assert_eq!(token.rights.reports_as.unwrap().len(), 1);
    assert_eq!(token.rights.grant.unwrap().servers.len(), 1);
    assert_eq!(token.expires_at / 1000, now() + 60 + 5);
}

#[tokio::test]
async fn claims_are_checked_with_five_seconds_of_leeway() {
    let verifier = by_hmac();
    for (claims, refusal) in [
        (claims(), None),
        (with("exp", json!(now() - 2)), None),
        (with("exp", json!(now() - 30)), Some("expired")),
        (with("exp", json!(null)), Some("exp")),
        (with("exp", json!("tomorrow")), Some("exp")),
        (with("nbf", json!(now() + 2)), None),
        (with("nbf", json!(now() + 30)), Some("isn't valid yet")),
        (with("nbf", json!("soon")), Some("nbf")),
        (with("iss", json!("https://evil.example")), Some("issuer")),
        (with("iss", json!(null)), Some("iss")),
        (with("aud", json!("another")), Some("audience")),
        (with("aud", json!(["another", "hub"])), None),
        (with("aud", json!(null)), Some("aud")),
        (with("server_ids", json!([])), Some("empty")),
        (with("types", json!(["*"])), Some("event type")),
        (with("workflow_ids", json!("w")), Some("claims")),
        (with("servers", json!(["a"])), Some("server_ids")),
        (
            with("https://id.example/tags", json!(["a:b"])),
            Some("tags"),
        ),
        (with("exp", json!(1e300)), None),
    ] {
        let refused = verifier.verify(&hs256(&claims), now() * 1000).await.err();
        match (&refused, refusal) {
            (None, None) => {}
            (Some(why), Some(wanted)) => assert!(why.contains(wanted), "{claims}: {why}"),
            _ => panic!("{claims}: {refused:?}"),
        }
    }
}

#[tokio::test]
async fn scopes_are_read_as_issuers_write_them() {
    let verifier = by_hmac();
    for (name, scope, wanted) in [
        (
            "scope",
            json!("openid read  report"),
            &["read", "report"][..],
        ),
        ("scope", json!(["read", "report"]), &["read", "report"]),
        ("scope", json!(["read report"]), &["read", "report"]),
        ("scp", json!("read coordinate"), &["read", "coordinate"]),
        ("scp", json!(["read", "openid"]), &["read"]),
        ("scp", json!([]), &[]),
        ("roles", json!(["admin"]), &[]),
    ] {
        let mut claims = with("scope", json!(null));
        claims[name] = scope;
        let token = verifier
            .verify(&hs256(&claims), now() * 1000)
            .await
            .unwrap();
        assert_eq!(token.scopes, wanted, "{claims}");
    }
    for wrong in [
        json!(1),
        json!({"read": true}),
        json!([1]),
        json!([["read"]]),
    ] {
        let token = hs256(&with("scp", wrong.clone()));
        assert!(
            verifier.verify(&token, now() * 1000).await.is_err(),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn tokens_without_a_subject_are_callers_of_their_own() {
    let verifier = by_hmac();
    let who = async |claims: &Value| {
        let token = verifier.verify(&hs256(claims), now() * 1000).await.unwrap();
        (token.caller, token.name)
    };
    let ada = who(&claims()).await;
    assert_eq!(
        ada,
        who(&with("server_ids", json!(["a"]))).await,
        "one subject"
    );
    for none in [json!(null), json!("")] {
        let nobody = with("sub", none);
        let of_a = {
            let mut claims = nobody.clone();
            claims["server_ids"] = json!(["a"]);
            claims
        };
        let (first, second) = (who(&nobody).await, who(&of_a).await);
        assert_ne!(first.0, second.0);
        assert_eq!(
            first,
            who(&nobody).await,
            "the same token is the same caller"
        );
        assert_eq!(first.1, "a token of https://id.example");
    }
    let mut service = with("sub", json!(null));
    service["client_id"] = json!("grader");
    assert_eq!(who(&service).await.1, "grader");
}

#[tokio::test]
async fn a_clock_that_differs_by_more_than_the_leeway_is_told_apart() {
    let verifier = by_hmac();
    let mut claims = claims();
    claims["nbf"] = json!(now());
    let token = hs256(&claims);
    for (skew, taken) in [(-6, false), (-4, true), (0, true), (64, true), (66, false)] {
        let found = verifier.verify(&token, (now() + skew) * 1000).await;
        assert_eq!(found.is_ok(), taken, "{skew} s: {found:?}");
    }
}

#[tokio::test]
async fn a_head_that_names_keys_of_its_own_is_not_followed() {
    let (signers, stranger) = (Signers::new(), Signers::new());
    let (verifier, _folder, _) = by_file(&signers.set());
    let own = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(stranger.ed.public_key())});
    for head in [
        json!({"alg": "EdDSA", "jwk": own}),
        json!({"alg": "EdDSA", "kid": "ed-1", "jku": "http://127.0.0.1:1/jwks"}),
        json!({"alg": "EdDSA", "kid": "../../../dev/null", "x5u": "http://127.0.0.1:1/"}),
        json!({"alg": "EdDSA", "kid": ""}),
        json!({"alg": ["EdDSA"], "kid": "ed-1"}),
        json!({"alg": "eddsa", "kid": "ed-1"}),
        json!({"alg": "none", "kid": "ed-1"}),
        json!({"alg": "NONE"}),
        json!({"kid": "ed-1"}),
    ] {
        let forged = token(&head, &claims(), |message| {
            stranger.ed.sign(message).as_ref().to_vec()
        });
        assert!(
            verifier.verify(&forged, now() * 1000).await.is_err(),
            "{head}"
        );
    }
}

#[tokio::test]
async fn ed25519_is_eddsa_by_its_newer_name() {
    let signers = Signers::new();
    let mut set = signers.set();
    set["keys"][2]["alg"] = json!("Ed25519");
    for set in [signers.set(), set] {
        let (verifier, _folder, _) = by_file(&set);
        for alg in ["Ed25519", "EdDSA"] {
            let good = token(&json!({"alg": alg}), &claims(), |message| {
                signers.ed.sign(message).as_ref().to_vec()
            });
            verifier.verify(&good, now() * 1000).await.unwrap();
            let forged = token(&json!({"alg": alg}), &claims(), |message| {
                Signers::new().ed.sign(message).as_ref().to_vec()
            });
            assert!(verifier.verify(&forged, now() * 1000).await.is_err());
        }
    }
}

#[tokio::test]
async fn forgeries_are_refused() {
    let verifier = by_hmac();
    let good = hs256(&claims());
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let other = b64(with("scope", json!("admin")).to_string());
    let unsigned = token(&json!({"alg": "none"}), &claims(), |_| Vec::new());
    let critical = token(
        &json!({"alg": "HS256", "crit": ["exp"]}),
        &claims(),
        |message| by_secret(SECRET.as_bytes(), message),
    );
    let strong = token(&json!({"alg": "HS512"}), &claims(), |message| {
        by_secret(SECRET.as_bytes(), message)
    });
    let anothers = token(&json!({"alg": "HS256"}), &claims(), |message| {
        by_secret(b"another", message)
    });
    for forged in [
        "",
        ".",
        "..",
        "a.b.c",
        "no token",
        head,
        rest,
        &unsigned,
        &critical,
        &strong,
        &anothers,
        &format!("{head}.{other}.{signature}"),
        &good[..good.len() - 4],
        &"a".repeat(MOST_TOKEN + 1),
    ] {
        assert!(
            verifier.verify(forged, now() * 1000).await.is_err(),
            "{forged}"
        );
    }
}

#[tokio::test]
async fn public_keys_of_every_kind_check_what_is_theirs() {
    let signers = Signers::new();
    let (verifier, _folder, _) = by_file(&signers.set());
    assert_eq!(
        verifier
            .verify(RSA_TOKEN, now() * 1000)
            .await
            .unwrap()
            .rights
            .scopes
            .names()
            .collect::<Vec<_>>(),
        ["read"]
    );
    verifier
        .verify(&signers.es256("ec-1", &claims()), now() * 1000)
        .await
        .unwrap();
    verifier
        .verify(&signers.eddsa(&claims()), now() * 1000)
        .await
        .unwrap();
    let stranger = Signers::new();
    assert!(
        verifier
            .verify(&stranger.es256("ec-1", &claims()), now() * 1000)
            .await
            .is_err()
    );
    assert!(
        verifier
            .verify(&stranger.eddsa(&claims()), now() * 1000)
            .await
            .is_err()
    );
    assert!(
        verifier
            .verify(&signers.es256("ed-1", &claims()), now() * 1000)
            .await
            .unwrap_err()
            .contains("no key is known")
    );
    // The oldest trick: what everybody knows of the key, taken for a shared secret.
    let public = signers.ed.public_key().as_ref();
    let confused = token(
        &json!({"alg": "HS256", "kid": "ed-1"}),
        &claims(),
        |message| by_secret(public, message),
    );
    assert!(verifier.verify(&confused, now() * 1000).await.is_err());
}

#[tokio::test]
async fn only_listed_algorithms_are_taken() {
    let signers = Signers::new();
    let (_, _folder, path) = by_file(&signers.set());
    let algorithms = vec![SigningAlgorithm::EdDsa];
    let jwks = Some(JwksSource::File(path));
    let verifier = Verifier::new(&Auth {
        jwks,
        algorithms,
        ..auth()
    })
    .unwrap()
    .unwrap();
    verifier
        .verify(&signers.eddsa(&claims()), now() * 1000)
        .await
        .unwrap();
    assert!(
        verifier
            .verify(RSA_TOKEN, now() * 1000)
            .await
            .unwrap_err()
            .contains("RS256")
    );
}

#[tokio::test]
async fn a_file_is_read_again_and_a_broken_one_changes_nothing() {
    let (old, new) = (Signers::new(), Signers::new());
    let (verifier, _folder, path) = by_file(&old.set());
    fs::write(&path, "{").unwrap();
    verifier.refresh(true).await;
    verifier
        .verify(&old.eddsa(&claims()), now() * 1000)
        .await
        .unwrap();
    fs::write(&path, new.set().to_string()).unwrap();
    verifier.refresh(true).await;
    verifier
        .verify(&new.eddsa(&claims()), now() * 1000)
        .await
        .unwrap();
    assert!(
        verifier
            .verify(&old.eddsa(&claims()), now() * 1000)
            .await
            .is_err()
    );
    fs::remove_file(&path).unwrap();
    let jwks = Some(JwksSource::File(path));
    assert!(Verifier::new(&Auth { jwks, ..auth() }).is_err());
}

#[tokio::test]
async fn an_address_is_asked_for_an_unknown_kid_at_a_bounded_rate() {
    let signers = Signers::new();
    let (asked, set) = (Arc::new(AtomicUsize::new(0)), signers.set());
    let count = asked.clone();
    let router = Router::new().route(
        "/jwks",
        get(async move || {
            count.fetch_add(1, Ordering::SeqCst);
            Json(set)
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let verifier = Verifier::new(&Auth {
        jwks: Some(JwksSource::Url(url)),
        ..auth()
    })
    .unwrap()
    .unwrap();
    verifier
        .verify(&signers.es256("ec-1", &claims()), now() * 1000)
        .await
        .unwrap();
    for kid in ["made", "up", "by", "anybody"] {
        assert!(
            verifier
                .verify(&signers.es256(kid, &claims()), now() * 1000)
                .await
                .is_err()
        );
    }
    verifier.refresh(false).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// An issuer at an address, whose answer can be changed.
async fn issuer(answer: Arc<parking_lot::Mutex<(u16, String)>>) -> String {
    let (listener, evil) = (
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
        Signers::new().set(),
    );
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route(
            "/jwks",
            get(async move || {
                let (status, body) = answer.lock().clone();
                let status = axum::http::StatusCode::from_u16(status).unwrap();
                (
                    status,
                    [("location", format!("http://{address}/evil"))],
                    body,
                )
            }),
        )
        .route("/evil", get(async || Json(evil)));
    tokio::spawn(async { axum::serve(listener, router).await });
    format!("http://{address}/jwks")
}

#[tokio::test]
async fn an_address_that_gives_no_good_set_changes_nothing() {
    let (old, new) = (Signers::new(), Signers::new());
    let answer = Arc::new(parking_lot::Mutex::new((200, old.set().to_string())));
    let url = issuer(answer.clone()).await;
    let verifier = Verifier::new(&Auth {
        jwks: Some(JwksSource::Url(url.clone())),
        ..auth()
    })
    .unwrap()
    .unwrap();
    let public = verifier.public.as_ref().unwrap();
    let ask = async || public.ask(&url, Duration::ZERO).await;
    ask().await;
    let huge = format!(r#"{{"keys": [], "more": "{}"}}"#, "x".repeat(MOST_BYTES));
    for (status, body) in [
        (302, String::new()),
        (301, new.set().to_string()),
        (500, new.set().to_string()),
        (204, String::new()),
        (200, String::new()),
        (200, "{".to_owned()),
        (200, "[]".to_owned()),
        (200, r#"{"keys": []}"#.to_owned()),
        (
            200,
            r#"{"keys": [{"kty": "oct", "k": "AAAA", "kid": "ed-1"}, 7]}"#.to_owned(),
        ),
        (200, huge),
    ] {
        let told = format!("{status} {}", &body[..body.len().min(60)]);
        *answer.lock() = (status, body);
        ask().await;
        let still = verifier.verify(&old.eddsa(&claims()), now() * 1000).await;
        // A key of another kind is no key of ours, and a set without any is empty.
        assert!(still.is_ok(), "{told}: {still:?}");
        let evil = verifier.verify(&new.eddsa(&claims()), now() * 1000).await;
        assert!(evil.is_err(), "{told}");
    }
    // Keys that the issuer takes back are gone with the next set.
    *answer.lock() = (200, new.set().to_string());
    ask().await;
    assert!(
        verifier
            .verify(&new.eddsa(&claims()), now() * 1000)
            .await
            .is_ok()
    );
    assert!(
        verifier
            .verify(&old.eddsa(&claims()), now() * 1000)
            .await
            .is_err()
    );
    // While somebody asks, or waits for an issuer that is slow, tokens of known keys don't wait.
    let _asking = public.asked.lock().await;
    let known = new.eddsa(&claims());
    assert!(verifier.verify(&known, now() * 1000).await.is_ok());
}
