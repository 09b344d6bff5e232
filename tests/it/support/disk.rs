//! Small file systems of their own, for those who may mount some.

use std::path::{Path, PathBuf};

/// A file system of so many megabytes, gone when dropped.
pub struct SmallDisk {
    pub path: PathBuf,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it; without the right to, says so, and the test is left out.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_owned();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(&path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self {
                path,
                _directory: directory,
            }),
            refused => {
                println!("left out: no small disk can be mounted here: {refused:?}");
                None
            }
        }
    }

    /// Before anybody has a file open on it.
    pub fn remount_read_only(&self) {
        let done = std::process::Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.path)
            .status();
        assert!(done.expect("mount").success());
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.path.join("filler")).expect("a file");
        for size in [1 << 20, 4_096] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// Takes back what filled it.
    pub fn make_room(&self) {
        std::fs::remove_file(self.path.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for a child may still be dying.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .status();
    }
}

/// A file system with a journal on a disk of its own, which can be broken and repaired. Gone when dropped.
pub struct LoopDisk {
    pub path: PathBuf,
    image: PathBuf,
    _directory: tempfile::TempDir,
}

impl LoopDisk {
    /// Makes and mounts it; without the right to, says so, and the test is left out.
    pub fn mount(megabytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, image) = (
            directory.path().join("disk"),
            directory.path().join("image"),
        );
        std::fs::create_dir(&path).expect("a directory");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(megabytes << 20).expect("its size");
        let disk = Self {
            path,
            image,
            _directory: directory,
        };
        let made = run("mkfs.ext4", &[Path::new("-q"), &disk.image]).and_then(|()| disk.attach());
        match made.and_then(|()| disk.fault().map(drop)) {
            Ok(()) => Some(disk),
            Err(refused) => {
                println!("left out: no disk of its own can be mounted here: {refused}");
                None
            }
        }
    }

    /// What the system does at an error of the file system: from now on it is read-only, whoever has files open on it.
    pub fn fail(&self) {
        let fault = self.fault().expect("it was there before");
        std::fs::write(fault, "a test").expect("failed");
    }

    /// Takes it down, mends it, and mounts it again. Nobody may have a file open on it.
    pub fn repair(&self) {
        run("umount", &[&self.path]).expect("unmounted");
        // 1: errors were found, and mended.
        let mended = std::process::Command::new("e2fsck")
            .arg("-fy")
            .arg(&self.image)
            .output()
            .expect("e2fsck");
        assert!(mended.status.code() <= Some(1), "{mended:?}");
        self.attach().expect("mounted");
    }

    fn attach(&self) -> Result<(), String> {
        let options = Path::new("loop,errors=remount-ro");
        run(
            "mount",
            &[Path::new("-o"), options, &self.image, &self.path],
        )
    }

    /// The file that makes it fail.
    fn fault(&self) -> Result<PathBuf, String> {
        let mounts = std::fs::read_to_string("/proc/mounts").map_err(|e| e.to_string())?;
        let path = self.path.to_string_lossy();
        let device = mounts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, rest)| rest.split(' ').next() == Some(&path))
            .map(|(device, _)| device.trim_start_matches("/dev/"));
        let device = device.ok_or("it isn't mounted")?;
        let fault = Path::new("/sys/fs/ext4")
            .join(device)
            .join("trigger_fs_error");
        match fault.exists() {
            true => Ok(fault),
            false => Err(format!("{} isn't there", fault.display())),
        }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = run("umount", &[Path::new("-l"), &self.path]);
    }
}

fn run(command: &str, arguments: &[&Path]) -> Result<(), String> {
    let ran = std::process::Command::new(command).args(arguments).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(e) => Err(format!("{command}: {e}")),
    }
}
