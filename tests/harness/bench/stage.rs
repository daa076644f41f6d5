//! What a core was busy with, by the name of the function that a sample fell into.

use serde::Serialize;

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// AES-GCM of seals and of the record layer: one function of aws-lc does both.
    Ciphers,
    /// The rest of the record layer, and handshakes.
    Tls,
    /// Messages, and the HTTP/2 around them.
    Protobuf,
    /// Encapsulations and key schedules.
    Hpke,
    /// SHA-256.
    Hash,
    /// Signatures and their checks.
    Sign,
    /// Segments, index and checksums; or the client of the database, and the database itself.
    Store,
    /// Reading, checking and writing reports: what belongs to this project and to no other stage.
    Reports,
    /// Octets that are copied, compared, set to zero or allocated, for whomever.
    Memory,
    /// Tasks, threads and their locks.
    Runtime,
    /// The kernel's part of sockets.
    KernelNetwork,
    /// The kernel's part of files and disks.
    KernelDisk,
    /// Pages that the kernel gives and takes.
    KernelMemory,
    /// The rest of the kernel: scheduling, time, entering and leaving.
    KernelOther,
    /// What no name here stands for.
    Other,
}

impl Stage {
    /// All of them, as they are shown.
    pub const ALL: [Self; 15] = [
        Self::Ciphers,
        Self::Tls,
        Self::Protobuf,
        Self::Hpke,
        Self::Hash,
        Self::Sign,
        Self::Store,
        Self::Reports,
        Self::Memory,
        Self::Runtime,
        Self::KernelNetwork,
        Self::KernelDisk,
        Self::KernelMemory,
        Self::KernelOther,
        Self::Other,
    ];

    /// Of a function in a program or library, or in the kernel.
    pub(super) fn of(function: &str, place: &str) -> Self {
        let (table, otherwise): (&[(Self, &[&str])], _) =
            if place.contains("[kernel") || place.contains(".ko") {
                (&KERNEL, Self::KernelOther)
            } else if place.contains("/postgres") {
                return Self::Store;
            } else {
                (&PROGRAMS, Self::Other)
            };
        let found = table.iter().find(|(_, names)| names.iter().any(|name| has_word(function, name)));
        found.map_or(otherwise, |(stage, _)| *stage)
    }
}

/// Whether words of a name begin so: `sk_` is in `__sk_mem_charge`, and not in `finish_task_switch`.
fn has_word(function: &str, begin: &str) -> bool {
    let before = |at: usize| function[..at].chars().next_back();
    function
        .match_indices(begin)
        .any(|(at, _)| before(at).is_none_or(|letter| !letter.is_ascii_alphanumeric()))
}

/// Beginnings of words in names of our programs; the first that fits counts. AES-GCM, ECDSA and SHA-256 are aws-lc's,
/// whoever calls them; X25519, ML-KEM and Keccak are too, and a handshake's share of them does not show.
const PROGRAMS: [(Stage, &[&str]); 10] = [
    (Stage::Ciphers, &["aes_gcm", "aesni", "gcm_", "GCM", "hw_aes", "aes_hw", "chacha20", "ghash", "GHASH"]),
    (Stage::Hash, &["sha256", "sha2::", "SHA256", "sha512", "SHA512", "EVP_Digest"]),
    (
        Stage::Hpke,
        &[
            "hpke::",
            "ml_kem",
            "mlkem",
            "mlk_",
            "Lmlk_",
            "x25519",
            "curve25519",
            "Lcurve25519",
            "keccak",
            "Keccak",
            "sha3",
            "SHAKE",
            "shake",
            "hkdf::",
            "hmac::",
            "pki::seal",
            "kem::",
            "inout::",
            "aead::",
            "hybrid_array",
        ],
    ),
    (
        Stage::Sign,
        &["p256", "ecdsa", "ECDSA", "ec_GFp", "EC_", "bignum", "ecp_nistz", "beeu_mod", "pki::sign"],
    ),
    (Stage::Tls, &["rustls::", "tokio_rustls", "aws_lc_", "EVP_", "CRYPTO_"]),
    (Stage::Store, &["sled::", "crc32fast", "gateway::store", "pagecache", "tokio_postgres", "postgres_"]),
    (
        Stage::Protobuf,
        &[
            "prost::",
            "tonic::",
            "tonic_prost",
            "hyper::",
            "hyper_util",
            "h2::",
            "http::",
            "http_body",
            "tower",
            "slab::",
            "proto::wire",
        ],
    ),
    (
        Stage::Reports,
        &[
            "proto::",
            "gateway::",
            "country_adapter::",
            "harness::",
            "pki::",
            "zeroize",
            "hashbrown",
            "core::hash",
        ],
    ),
    (
        Stage::Memory,
        &["mem", "alloc", "malloc", "calloc", "realloc", "free", "cfree", "bytes::", "arena", "madvise"],
    ),
    (
        Stage::Runtime,
        &[
            "tokio",
            "mio::",
            "parking_lot",
            "pthread",
            "futures",
            "std::sync",
            "crossbeam",
            "core::sync",
            "syscall",
            "clock_gettime",
            "epoll",
        ],
    ),
];

const KERNEL: [(Stage, &[&str]); 3] = [
    (
        Stage::KernelMemory,
        &[
            "page_fault",
            "mm_fault",
            "clear_page",
            "anonymous_page",
            "anon_",
            "unmap",
            "free_pages",
            "rmqueue",
            "frozen_pages",
            "memcg",
            "lruvec",
            "mas_",
            "vma",
            "pte_",
            "page_from_freelist",
            "swap_cache",
            "tlb",
            "zap_",
            "madvise",
        ],
    ),
    (
        Stage::KernelNetwork,
        &[
            "tcp",
            "inet",
            "ip_",
            "ip6",
            "sock",
            "skb",
            "net_",
            "netif",
            "loopback",
            "dev_",
            "napi",
            "sk_",
            "nf_",
            "epoll",
            "ep_",
            "csum",
            "copy_to_iter",
            "copy_from_iter",
            "softirq",
        ],
    ),
    (
        Stage::KernelDisk,
        &[
            "ext4",
            "jbd2",
            "xfs",
            "btrfs",
            "blk",
            "bio",
            "submit_",
            "filemap",
            "writeback",
            "copy_folio",
            "virt",
            "nvme",
            "iomap",
            "fsync",
            "vfs_",
            "generic_perform",
            "page_cache",
            "find_get_block",
            "iowrite",
            "fault_in_iov",
            "balance_dirty",
            "truncate",
            "xa_",
            "xas_",
            "folio",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_by_their_names() {
        for (function, place, stage) in [
            ("aws_lc_0_32_0_aes_gcm_encrypt_avx512", "/bin/gateway", Stage::Ciphers),
            ("Lcurve25519_x25519_scalarloop", "/bin/gateway", Stage::Hpke),
            ("mlkem_poly_rej_uniform_x4", "/bin/gateway", Stage::Hpke),
            ("aws_lc_0_32_0_sha3_keccak_f1600", "/bin/gateway", Stage::Hpke),
            ("rustls::conn::ConnectionCoreData::process_new_packets", "/bin/gateway", Stage::Tls),
            ("aws_lc_0_32_0_sha256_block_data_order_hw", "/bin/gateway", Stage::Hash),
            ("aws_lc_0_32_0_ecp_nistz256_mul_mont_adx", "/bin/gateway", Stage::Sign),
            ("sled::tree::Tree::insert", "/bin/gateway", Stage::Store),
            ("h2::codec::framed_write::Encoder<B>::buffer", "/bin/gateway", Stage::Protobuf),
            ("proto::report::Report::decode", "/bin/gateway", Stage::Reports),
            ("__memmove_avx512_unaligned_erms", "/lib/libc.so.6", Stage::Memory),
            ("tokio::runtime::scheduler::multi_thread::worker::run", "/bin/gateway", Stage::Runtime),
            ("tcp_sendmsg_locked", "[kernel.kallsyms]", Stage::KernelNetwork),
            ("ext4_da_write_begin", "[kernel.kallsyms]", Stage::KernelDisk),
            ("clear_page_erms", "[kernel.kallsyms]", Stage::KernelMemory),
            ("finish_task_switch", "[kernel.kallsyms]", Stage::KernelOther),
            ("_int_malloc", "/lib/libc.so.6", Stage::Memory),
            ("_copy_to_iter", "[kernel.kallsyms]", Stage::KernelNetwork),
            ("heap_insert", "/usr/lib/postgresql/15/bin/postgres", Stage::Store),
            ("[unknown]", "/bin/gateway", Stage::Other),
        ] {
            assert_eq!(Stage::of(function, place), stage, "{function} in {place}");
        }
    }
}
