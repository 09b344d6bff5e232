//! Rules between settings. One that couldn't be read stands at its default here, and is not blamed twice.

use std::net::IpAddr;

use super::{Config, JwksSource, Mistake, SigningAlgorithm, Warning};

/// Checks the settings against each other.
pub(super) fn check(config: &Config, mistakes: &mut Vec<Mistake>) -> Vec<Warning> {
    let mut checker = Checker {
        blamed: mistakes.iter().map(|m| m.name.clone()).collect(),
        mistakes,
    };
    checker.heartbeats(config);
    checker.door(config);
    checker.tls(config);
    warnings(config)
}

struct Checker<'a> {
    blamed: Vec<String>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Checker<'_> {
    /// Tells a mistake unless one of the variables that it rests on couldn't be read.
    fn tell(&mut self, name: &str, value: Option<String>, rests_on: &[&str], problem: String) {
        if !self
            .blamed
            .iter()
            .any(|blamed| blamed == name || rests_on.contains(&blamed.as_str()))
        {
            self.mistakes.push(Mistake::new(name, value, problem));
        }
    }

    fn heartbeats(&mut self, config: &Config) {
        const UNHEALTHY: &str = "INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER";
        let heartbeat = &config.heartbeat;
        if heartbeat.unhealthy_after >= heartbeat.disconnect_after {
            self.tell(
                "INTEGRATION_HEARTBEAT_DISCONNECT_AFTER",
                Some(heartbeat.disconnect_after.to_string()),
                &[UNHEALTHY],
                format!(
                    "must be more than {UNHEALTHY}, which is {}: a server is unhealthy before it is gone",
                    heartbeat.unhealthy_after
                ),
            );
        }
    }

    fn door(&mut self, config: &Config) {
        let auth = &config.auth;
        if auth.open && auth.has_credentials() {
            self.tell(
                "INTEGRATION_AUTH",
                Some("none".to_owned()),
                &[],
                "must not be none where credentials are configured: unset it, or unset \
                 INTEGRATION_API_KEYS_FILE, INTEGRATION_JWT_SECRET and INTEGRATION_JWKS"
                    .to_owned(),
            );
        }
        if !auth.open && !auth.has_credentials() && !is_loopback(&config.listen.host) {
            self.tell(
                "INTEGRATION_SSE_HOST",
                Some(config.listen.host.clone()),
                &[
                    "INTEGRATION_AUTH",
                    "INTEGRATION_API_KEYS_FILE",
                    "INTEGRATION_JWT_SECRET",
                    "INTEGRATION_JWKS",
                ],
                OPEN_BY_ACCIDENT.to_owned(),
            );
        }
        let hmac = auth.algorithms.contains(&SigningAlgorithm::Hs256);
        let public = auth
            .algorithms
            .iter()
            .any(|algorithm| *algorithm != SigningAlgorithm::Hs256);
        if auth.jwt_secret.is_some() && !hmac {
            self.tell(
                "INTEGRATION_JWT_ALGORITHMS",
                None,
                &[],
                "must list HS256 where INTEGRATION_JWT_SECRET is set".to_owned(),
            );
        }
        if auth.jwks.is_some() && !public {
            self.tell(
                "INTEGRATION_JWT_ALGORITHMS",
                None,
                &[],
                "must list one of RS256, ES256, EdDSA where INTEGRATION_JWKS is set".to_owned(),
            );
        }
    }

    fn tls(&mut self, config: &Config) {
        let Some(tls) = &config.tls else { return };
        let (cert, key) = (
            tls.cert.as_os_str().is_empty(),
            tls.key.as_os_str().is_empty(),
        );
        if cert || key {
            let (missing, set) = if cert {
                ("INTEGRATION_TLS_CERT", "INTEGRATION_TLS_KEY")
            } else {
                ("INTEGRATION_TLS_KEY", "INTEGRATION_TLS_CERT")
            };
            let problem = format!("must be set where {set} is: TLS needs both");
            self.tell(missing, None, &[], problem);
        }
    }
}

/// Why a hub off loopback needs a word about who may come in.
pub(crate) const OPEN_BY_ACCIDENT: &str = "must be a loopback address such as 127.0.0.1 as long as anybody who \
     reaches the port could do everything. Configure credentials (INTEGRATION_API_KEYS_FILE, made with \
     `timeback-events key new`; INTEGRATION_JWT_SECRET; or INTEGRATION_JWKS), or say plainly INTEGRATION_AUTH=none";

/// Whether nobody but this machine reaches what listens there, as far as the text says.
fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().map_or_else(
        |_| host == "localhost" || host.ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let auth = &config.auth;
    if matches!(auth.jwks, Some(JwksSource::Url(_))) && auth.audience.is_none() {
        warnings.push(Warning::new(
            "INTEGRATION_JWT_AUDIENCE",
            "isn't set, so every token of the issuer is taken, also one made for another service",
        ));
    }
    if auth.has_credentials() && config.tls.is_none() && !is_loopback(&config.listen.host) {
        warnings.push(Warning::new(
            "INTEGRATION_TLS_CERT",
            "isn't set: tokens cross the network in the clear unless a proxy in front speaks TLS",
        ));
    }
    warnings
}
