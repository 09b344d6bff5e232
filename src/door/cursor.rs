//! Cursors of lists: a place behind a seal. Where a page ends is often a thing that its reader may not see, so a
//! cursor tells nobody but the hub; and one that the hub didn't make is none.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest,
    rand::{SecureRandom as _, SystemRandom},
};

/// Seals and opens cursors.
#[derive(Debug)]
pub(super) struct Cursors {
    /// `None` only where the library takes no key of its own length.
    key: Option<LessSafeKey>,
}

impl Cursors {
    /// Sealed by a key that follows from this secret. Where nobody is asked who they are nothing is hidden, so an empty
    /// one will do.
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut named = b"timeback-events cursor\0".to_vec();
        named.extend_from_slice(secret);
        let key = digest::digest(&digest::SHA256, &named);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).ok();
        Self {
            key: key.map(LessSafeKey::new),
        }
    }

    /// A place in a list as a cursor; `None` where the system gives no random bytes.
    pub(super) fn seal(&self, list: &str, place: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = place.as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let key = self.key.as_ref()?;
        key.seal_in_place_append_tag(unique, Aad::from(list), &mut sealed)
            .ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The place that a cursor of that list stands for; `None` where it is no such cursor.
    pub(super) fn open(&self, list: &str, cursor: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let key = self.key.as_ref()?;
        let place = key
            .open_in_place(nonce, Aad::from(list), &mut sealed)
            .ok()?;
        String::from_utf8(place.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_for_its_own_list_and_tells_nothing() {
        let cursors = Cursors::new(b"secret");
        let cursor = cursors.seal("workflows", "merger-with-acme/7").unwrap();
        assert_eq!(
            cursors.open("workflows", &cursor).as_deref(),
            Some("merger-with-acme/7")
        );
        assert_ne!(
            cursors.seal("workflows", "merger-with-acme/7").unwrap(),
            cursor
        );
        assert_eq!(cursors.open("servers", &cursor), None);
        assert_eq!(Cursors::new(b"another").open("workflows", &cursor), None);
        let decoded = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        assert!(!String::from_utf8_lossy(&decoded).contains("acme"));
        for wrong in ["", "merger-with-acme/7", "AAAA", &cursor[1..]] {
            assert_eq!(cursors.open("workflows", wrong), None, "{wrong}");
        }
        // A restart goes on with the same secret.
        assert!(Cursors::new(b"secret").open("workflows", &cursor).is_some());
    }
}
