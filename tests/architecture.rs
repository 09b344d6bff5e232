//! Reads `src/` and holds it against the table of rooms in `src/lib.rs`: no room imports what the table doesn't
//! grant it. The table is the documentation itself, so that it can't differ from what is checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each room may import.
type Table = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_room_imports_what_the_table_forbids() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table = table(&fs::read_to_string(source.join("lib.rs")).expect("the map"));
    let files = files(&source);
    let paths = files.iter().map(|file| {
        let path = file.strip_prefix(&source).expect("a file of the crate");
        (room(path), path)
    });
    let rooms: BTreeSet<_> = paths.clone().map(|(room, _)| room).collect();
    let mut wrong = BTreeSet::new();
    for (room, path) in paths {
        // The test modules of a room may build what they need from any other; these three see everything.
        if is_test(path) || ["lib", "main", "run"].contains(&room.as_str()) {
            continue;
        }
        let Some(granted) = table.get(&room) else {
            wrong.insert(format!("{room} has no row in the table"));
            continue;
        };
        let code = code(&fs::read_to_string(source.join(path)).expect("Rust"));
        for import in imports(&code, path.components().count()) {
            // A function of the root itself, such as `serve_and_tell`, is no room.
            if import != room && !granted.contains(&import) && rooms.contains(&import) {
                wrong.insert(format!("{room} imports {import}, in {}", path.display()));
            }
        }
    }
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let code = code(
        "use crate::{\n    a::{self, B},\n    c,\n};\nuse crate::d::E; // crate::comment\n\
         pub(in crate::f) fn g() -> crate::h::I { super::super::j::k() }\n\
         #[cfg(test)]\nmod tests {\n    use crate::l::M;\n}\n",
    );
    let found: Vec<_> = imports(&code, 2).into_iter().collect();
    assert_eq!(found, ["a", "c", "d", "h", "j"]);
}

/// Reads the rows `| [`room`], … | job | may import |`; others name no room. The last cell names rooms, adds `all above`, or says `nothing`.
fn table(map: &str) -> Table {
    let mut table = Table::new();
    for row in map.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<_> = row.split('|').collect();
        let [rooms, _job, may_import, _] = cells[..] else {
            panic!("three cells: {row}");
        };
        let mut granted: BTreeSet<_> = names(may_import);
        if may_import.contains("all above") {
            granted.extend(table.keys().cloned());
        }
        for room in names(rooms) {
            table.insert(room, granted.clone());
        }
    }
    assert!(table.len() > 10, "the table is there");
    table
}

/// The module at the top that a file belongs to.
fn room(path: &Path) -> String {
    let bare = path.with_extension("");
    let first = bare.iter().next().expect("a name");
    first.to_string_lossy().into_owned()
}

/// What stands between backticks.
fn names(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

fn is_test(path: &Path) -> bool {
    path.with_extension("").iter().any(|part| part == "tests")
}

/// The text without comments and without what follows `#[cfg(test)]` at the margin, which stands last in a file.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next();
    let lines = text.unwrap_or_default().lines();
    let bare = lines.map(|line| line.split("//").next().unwrap_or_default());
    bare.collect::<Vec<_>>().join("\n")
}

/// The rooms that a file `depth` modules below the root names: after `crate::`, or after so many `super::` that
/// they reach the root.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            let before = &code[..at];
            let is_path = before.ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            if is_path || before.ends_with("(in ") {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(list) => found.extend(first_names(list)),
                None => found.extend([name(rest)]),
            }
        }
    }
    // An item of the root itself, such as `Config`, belongs to nobody else.
    found.retain(|name| name.starts_with(|c: char| c.is_lowercase()));
    found
}

/// The names at the top of a list of imports, up to its closing brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut starts) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts = true,
            c if starts && !c.is_whitespace() => {
                names.push(name(&list[at..]));
                starts = false;
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text[..end.unwrap_or(text.len())].to_owned()
}

#[test]
fn the_documents_name_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for document in ["architecture.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join("docs").join(document)).expect("a document");
        let named = text.split('`').filter(|word| {
            ["src/", "tests/", "dashboard/src"]
                .iter()
                .any(|start| word.starts_with(start))
                && !word.contains(' ')
        });
        missing.extend(
            named
                .filter(|path| !root.join(path).exists())
                .map(|path| format!("{document} names {path}, which is not there")),
        );
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
