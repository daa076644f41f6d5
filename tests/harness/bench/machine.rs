//! What the figures are of.

use std::fs;

use serde::Serialize;

/// This machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that we may use.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory, octets.
    pub memory_bytes: u64,
    /// What the folder of temporary files is on, where stores lie.
    pub file_system: String,
    /// Its CPUs did not fall asleep meanwhile: Linux was told so through `/dev/cpu_dma_latency`.
    pub is_awake: bool,
    /// Processes that wanted a core when it began, of all on this machine.
    pub load: String,
}

impl Machine {
    /// Asks the kernel; what it does not tell is empty.
    #[must_use]
    pub fn here(is_awake: bool) -> Self {
        let line = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let kibibytes: u64 = line("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: line("/proc/cpuinfo", "model name"),
            kernel: text("/proc/sys/kernel/osrelease"),
            memory_bytes: kibibytes * 1_024,
            file_system: file_system(&text("/proc/mounts")),
            is_awake,
            load: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The kind of the longest mount point that the folder of temporary files is below.
fn file_system(mounts: &str) -> String {
    let folder = std::env::temp_dir();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let fitting = fields.filter(|fields| fields.len() > 2 && folder.starts_with(fields[1]));
    fitting.max_by_key(|fields| fields[1].len()).map(|fields| fields[2].to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_says_the_file_system() {
        let below = std::env::temp_dir();
        let mounts = format!("a / ext4 rw 0 0\nb {} tmpfs rw 0 0\nc /other xfs rw 0 0", below.display());
        assert_eq!(file_system(&mounts), "tmpfs");
        assert_eq!(file_system("a / ext4 rw 0 0\nc /other xfs rw 0 0"), "ext4");
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let here = Machine::here(true);
        assert!(here.cores > 0 && here.memory_bytes > 0 && !here.kernel.is_empty());
    }
}
