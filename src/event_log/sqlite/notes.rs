//! What is kept beside the log and is no event: one row a key.

use rusqlite::Connection;

use crate::event_log::SavedNote;

/// Made at every start, so that a file of an older version has it too.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS notes(key TEXT PRIMARY KEY, crc INTEGER NOT NULL, body TEXT NOT NULL) \
     STRICT, WITHOUT ROWID;";

/// Keeps notes; a part of the transaction that is under way.
pub(super) fn keep(connection: &Connection, notes: &[SavedNote]) -> rusqlite::Result<()> {
    for SavedNote { key, body } in notes {
        match body {
            Some(body) => connection
                .prepare_cached("INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3)")?
                .execute((key, crc(key, body), body))?,
            None => connection
                .prepare_cached("DELETE FROM notes WHERE key = ?1")?
                .execute([key])?,
        };
    }
    Ok(())
}

/// All that are kept. One that is damaged is told of and left out.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<SavedNote>> {
    let mut statement = connection.prepare_cached("SELECT key, crc, body FROM notes")?;
    let mut rows = statement.query([])?;
    let mut notes = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, body): (String, String) = (row.get(0)?, row.get(2)?);
        if crc(&key, &body) != row.get::<_, u32>(1)? {
            tracing::warn!("the note {key} is damaged, and left out");
            continue;
        }
        notes.push(SavedNote {
            key,
            body: Some(body),
        });
    }
    Ok(notes)
}

fn crc(key: &str, body: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(body.as_bytes());
    hasher.finalize()
}
