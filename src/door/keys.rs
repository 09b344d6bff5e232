//! API keys: a file of names, hashes and rights. A key's secret is shown once, when it is made, and kept nowhere.
//!
//! A key is 256 random bits, so one round of SHA-256 hides it as well as any slow hash would, and a lookup
//! costs a request nothing. Hashes are compared in constant time.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::rights::{NAMES, Restrictions, Rights, scopes};

/// What every key begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "tbk_";

/// Hexadecimal digits of a key's id.
const ID_LEN: usize = 16;

/// Members of a key, its restrictions aside.
const MEMBERS: [&str; 6] = ["id", "name", "hash", "scopes", "createdAt", "expiresAt"];

/// Largest file of keys that is read.
const MOST_BYTES: u64 = 16 << 20;

/// One key as it is stored. Names its hash, never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    /// The part of the key that may be known: it finds the key.
    pub id: String,
    /// What people call it; unique in a file.
    pub name: String,
    /// `sha256:` and the hexadecimal hash of the whole key.
    pub hash: String,
    /// `read`, `report`, `coordinate`, `admin`.
    pub scopes: Vec<String>,
    /// What it is held to.
    #[serde(flatten)]
    pub restrictions: Restrictions,
    /// When it was made, epoch ms.
    pub created_at: i64,
    /// When it ends, epoch ms; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// A file of keys, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// The keys.
    pub keys: Vec<StoredKey>,
}

/// What a new key is to be.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// `read`, `report`, `coordinate`, `admin`; at least one.
    pub scopes: Vec<String>,
    /// What it is held to.
    pub restrictions: Restrictions,
    /// When it ends, epoch ms.
    pub expires_at: Option<i64>,
}

/// Why a file of keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The disk refuses.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else than keys.
    #[error("{path}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No random bytes could be had.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// The keys of a file, ready to be asked.
#[derive(Debug, Default)]
pub struct Keys {
    by_id: HashMap<String, Arc<Key>>,
}

/// One key, ready to be compared.
#[derive(Debug)]
pub struct Key {
    /// What finds it.
    pub id: String,
    /// What people call it.
    pub name: String,
    hash: [u8; 32],
    /// What it allows.
    pub rights: Rights,
    /// When it ends, epoch ms.
    pub expires_at: Option<i64>,
}

impl KeyFile {
    /// Reads a file. One that isn't there is an error.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let text = io::read_to_string(io::Read::take(file, MOST_BYTES)).map_err(io)?;
        check_names(&text).map_err(|problem| malformed(path, problem))?;
        // A byte order mark says nothing in UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        serde_json::from_str(text).map_err(|error| malformed(path, error.to_string()))
    }

    /// Adds a key to the file, which is made where it isn't there yet, and hands back the key itself: the only
    /// time that anybody sees it.
    ///
    /// # Errors
    /// [`KeyFileError`], also for a name that is taken and for rights that can't be meant.
    pub fn add(path: &Path, new: NewKey, now: i64) -> Result<String, KeyFileError> {
        Self::change(path, true, |file| {
            if new.name.is_empty() || new.name.len() > 128 || new.name.chars().any(char::is_control)
            {
                return Err(malformed(
                    path,
                    "a name has 1 to 128 printable characters".to_owned(),
                ));
            }
            if file.keys.iter().any(|key| key.name == new.name) {
                let problem = format!(
                    "there is a key of the name {:?} already; revoke it first",
                    new.name
                );
                return Err(malformed(path, problem));
            }
            let (id, secret) = random_key()?;
            let stored = StoredKey {
                id,
                name: new.name,
                hash: format!("sha256:{}", hex(&hash(&secret))),
                scopes: new.scopes,
                restrictions: new.restrictions,
                created_at: now,
                expires_at: new.expires_at,
            };
            stored.ready().map_err(|problem| malformed(path, problem))?;
            file.keys.push(stored);
            Ok(secret)
        })
    }

    /// Takes a key out of the file, by name or id.
    ///
    /// # Errors
    /// [`KeyFileError`], also where there is no such key.
    pub fn revoke(path: &Path, name: &str) -> Result<(), KeyFileError> {
        Self::change(path, false, |file| {
            let before = file.keys.len();
            file.keys.retain(|key| key.name != name && key.id != name);
            if file.keys.len() == before {
                return Err(malformed(path, format!("there is no key {name:?}")));
            }
            Ok(())
        })
    }

    /// Reads, changes and writes a file as one step: two at once come one after the other, and a crash leaves
    /// the old file or the new one.
    fn change<T>(
        path: &Path,
        create: bool,
        act: impl FnOnce(&mut Self) -> Result<T, KeyFileError>,
    ) -> Result<T, KeyFileError> {
        let io = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(io)?;
        folder.lock().map_err(io)?;
        let mut file = match Self::read(path) {
            Err(KeyFileError::Io { source, .. })
                if create && source.kind() == io::ErrorKind::NotFound =>
            {
                Self::default()
            }
            read => read?,
        };
        let done = act(&mut file)?;
        file.write(path).map_err(io)?;
        folder.sync_all().map_err(io)?;
        Ok(done)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        // Whoever could read the old file can read the new one: the hub may run as another user.
        let mode = fs::metadata(path).map_or(0o600, |old| old.permissions().mode() & 0o777);
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        serde_json::to_writer_pretty(&file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

impl StoredKey {
    /// The key, ready to be compared.
    fn ready(&self) -> Result<Key, String> {
        let wrong = |problem: String| format!("key {:?}: {problem}", self.name);
        let hash = self.hash.strip_prefix("sha256:").and_then(unhex);
        let hash =
            hash.ok_or_else(|| wrong("hash must be sha256: and 64 hexadecimal digits".to_owned()))?;
        if self.scopes.is_empty() {
            return Err(wrong(
                "must have at least one of read, report, coordinate, admin".to_owned(),
            ));
        }
        let scopes = scopes(self.scopes.iter().map(String::as_str), false).map_err(wrong)?;
        let rights = Rights::new(scopes, &self.restrictions).map_err(wrong)?;
        let (id, name) = (self.id.clone(), self.name.clone());
        Ok(Key {
            id,
            name,
            hash,
            rights,
            expires_at: self.expires_at,
        })
    }
}

impl Keys {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// [`KeyFileError`]; one wrong key refuses the file.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let mut by_id = HashMap::new();
        for stored in KeyFile::read(path)?.keys {
            let key = stored.ready().map_err(|problem| malformed(path, problem))?;
            if by_id.insert(stored.id.clone(), Arc::new(key)).is_some() {
                return Err(malformed(
                    path,
                    format!("the id {:?} is there twice", stored.id),
                ));
            }
        }
        Ok(Self { by_id })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The key that a client shows, where it is one of these. Whether it has expired is another question.
    #[must_use]
    pub fn find(&self, shown: &str) -> Option<&Arc<Key>> {
        let (id, secret) = shown.strip_prefix(PREFIX)?.split_at_checked(ID_LEN)?;
        secret.strip_prefix('_')?;
        let key = self.by_id.get(id)?;
        bool::from(hash(shown).ct_eq(&key.hash)).then_some(key)
    }

    /// The key of that id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id)
    }
}

/// Refuses members that mean nothing: a misspelt restriction that is passed over would open everything.
fn check_names(text: &str) -> Result<(), String> {
    let unknown = |within: &str, found: &str, known: &[&str]| {
        let near = known
            .iter()
            .map(|name| {
                (
                    strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase()),
                    name,
                )
            })
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let meant = super::rights::meant(found).and_then(|name| match name {
            "server_ids" => Some("serverIds"),
            "workflow_ids" => Some("workflowIds"),
            name => known.iter().find(|known| **known == name).copied(),
        });
        match meant.or(near.map(|(_, name)| *name)) {
            Some(name) => {
                format!("{within} has an unknown member {found:?}; did you mean {name:?}?")
            }
            None => format!(
                "{within} has an unknown member {found:?}; there are {}",
                known.join(", ")
            ),
        }
    };
    // What is no JSON, or of another shape, is told by whoever reads it in earnest.
    let Ok(Value::Object(file)) = serde_json::from_str(text) else {
        return Ok(());
    };
    if let Some(name) = file.keys().find(|name| *name != "keys") {
        return Err(unknown("the file", name, &["keys"]));
    }
    let keys = file.get("keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten().filter_map(Value::as_object) {
        let known = || {
            MEMBERS
                .into_iter()
                .chain(NAMES)
                .chain(["server_ids", "workflow_ids"])
        };
        if let Some(name) = key.keys().find(|name| !known().any(|known| known == *name)) {
            let called = key
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or("without a name");
            let known: Vec<&str> = MEMBERS.into_iter().chain(NAMES).collect();
            return Err(unknown(&format!("key {called:?}"), name, &known));
        }
    }
    Ok(())
}

fn malformed(path: &Path, problem: String) -> KeyFileError {
    KeyFileError::Malformed {
        path: path.to_owned(),
        problem,
    }
}

/// A new key's id, and the key itself.
fn random_key() -> Result<(String, String), KeyFileError> {
    let (mut id, mut secret) = ([0; ID_LEN / 2], [0; 32]);
    let random = SystemRandom::new();
    random.fill(&mut id).map_err(|_| KeyFileError::NoRandom)?;
    random
        .fill(&mut secret)
        .map_err(|_| KeyFileError::NoRandom)?;
    let id = hex(&id);
    let key = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    Ok((id, key))
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(name: &str) -> NewKey {
        NewKey {
            name: name.to_owned(),
            scopes: vec!["read".to_owned()],
            ..NewKey::default()
        }
    }

    #[test]
    fn a_key_is_found_by_itself_alone_and_stored_as_a_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let first = KeyFile::add(&path, reader("first"), 1).unwrap();
        let second = KeyFile::add(&path, reader("second"), 2).unwrap();
        let keys = Keys::load(&path).unwrap();
        assert_eq!(keys.find(&first).unwrap().name, "first");
        assert_eq!(keys.find(&second).unwrap().name, "second");
        let stored = fs::read_to_string(&path).unwrap();
        assert!(!stored.contains(&first) && !stored.contains(&first[PREFIX.len() + ID_LEN + 1..]));
        // The right id with another's secret is no key, nor is anything cut or lengthened.
        let crossed = format!(
            "{}{}",
            &first[..PREFIX.len() + ID_LEN],
            &second[PREFIX.len() + ID_LEN..]
        );
        let half = &first[..30];
        for wrong in [
            crossed.as_str(),
            half,
            "",
            PREFIX,
            &first[1..],
            &format!("{first}x"),
        ] {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_the_owners_alone_and_a_name_is_taken_once() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        KeyFile::add(&path, reader("a"), 1).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(
            KeyFile::add(&path, reader("a"), 1)
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        KeyFile::revoke(&path, "a").unwrap();
        assert!(KeyFile::revoke(&path, "a").is_err());
        assert!(Keys::load(&path).unwrap().is_empty());
        KeyFile::add(&path, reader("a"), 1).unwrap();
    }

    #[test]
    fn a_wrong_key_refuses_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        assert!(matches!(Keys::load(&path), Err(KeyFileError::Io { .. })));
        let key = |hash: &str, scopes: &str, more: &str| {
            format!(
                r#"{{"keys": [{{"id": "a", "name": "a", "hash": "{hash}", "scopes": {scopes}, "createdAt": 1{more}}}]}}"#
            )
        };
        let good = format!("sha256:{}", "0".repeat(64));
        for (text, problem) in [
            (key("sha256:00", r#"["read"]"#, ""), "hexadecimal"),
            (key(&good, "[]", ""), "at least one"),
            (key(&good, r#"["write"]"#, ""), "write"),
            (key(&good, r#"["read"]"#, r#", "serverIds": []"#), "empty"),
            (
                key(&good, r#"["read"]"#, r#", "servers": ["a"]"#),
                "serverIds",
            ),
            (
                key(&good, r#"["read"]"#, r#", "server_id": ["a"]"#),
                "serverIds",
            ),
            (
                key(&good, r#"["read"]"#, r#", "ServerIds": ["a"]"#),
                "serverIds",
            ),
            (key(&good, r#"["read"]"#, r#", "expires": 1"#), "expiresAt"),
            (key(&good, r#"["read"]"#, r#", "note": 1"#), "unknown"),
            (
                key(
                    &good,
                    r#"["read"]"#,
                    r#", "tags": ["a:b"], "tags": ["a:c"]"#,
                ),
                "duplicate",
            ),
            (key(&good, r#"["report"]"#, r#", "tags": ["a:b"]"#), "read"),
            (r#"{"keys": [], "more": 1}"#.to_owned(), "more"),
            ("{}".to_owned(), "keys"),
        ] {
            fs::write(&path, text).unwrap();
            let found = Keys::load(&path).unwrap_err().to_string();
            assert!(found.contains(problem), "{found}");
        }
        fs::write(&path, key(&good, r#"["read"]"#, "")).unwrap();
        assert_eq!(Keys::load(&path).unwrap().len(), 1);
    }

    #[test]
    fn makers_at_once_come_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || KeyFile::add(path, reader(&n.to_string()), 1).unwrap());
            }
        });
        assert_eq!(Keys::load(&path).unwrap().len(), 8);
    }
}
