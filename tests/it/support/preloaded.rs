//! A library that is preloaded into a hub, for what a test can't do to a machine: disks that fail, clocks that jump.

/// The library, and the directory of the files that tell it what to do.
pub struct Preloaded {
    directory: tempfile::TempDir,
    library: String,
    faults: String,
}

impl Preloaded {
    /// Compiles it; without a C compiler, says so, and the test is left out.
    pub fn compile() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let library = directory.path().join("preloaded.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/preloaded.c");
        let compiled = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .output();
        match compiled {
            Ok(output) if output.status.success() => Some(Self {
                library: library.display().to_string(),
                faults: directory.path().display().to_string(),
                directory,
            }),
            refused => {
                println!("left out: there is no C compiler here: {refused:?}");
                None
            }
        }
    }

    /// What a hub needs to have it.
    pub fn variables(&self) -> [(&str, &str); 2] {
        [
            ("LD_PRELOAD", self.library.as_str()),
            ("TIMEBACK_FAULTS", self.faults.as_str()),
        ]
    }

    /// From now on syncs `fail` or are `slow`, or the disk is `readonly`.
    pub fn set(&self, fault: &str) {
        std::fs::write(self.directory.path().join(fault), "").expect("set");
    }

    /// No longer.
    pub fn unset(&self, fault: &str) {
        std::fs::remove_file(self.directory.path().join(fault)).expect("unset");
    }

    /// The wall clock is wrong by so many milliseconds from now on.
    pub fn shift_clock(&self, by_ms: i64) {
        // Replaced as a whole: the hub looks at it at any moment.
        let new = self.directory.path().join("clock.new");
        std::fs::write(&new, by_ms.to_string()).expect("written");
        std::fs::rename(new, self.directory.path().join("clock")).expect("set");
    }
}
