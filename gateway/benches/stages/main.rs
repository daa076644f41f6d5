//! What each stage of a token's way through the gateway costs: `cargo bench -p gateway --bench stages`.
//!
//! One stage a module, at pushes of several sizes with 200 octets a report; `item/s` are reports. A word behind the command
//! picks stages by name, and `-- --test` runs each once. `push_path.rs` counts instructions where a clock is too noisy.

// What a bench sets up holds, or there is nothing to measure.
#![allow(clippy::unwrap_used)]

mod accept;
mod keep;
mod reseal;
mod route;
mod serve;
mod verify;
mod whole;
mod world;

/// Reports a push.
pub(crate) const PUSHES: [usize; 4] = [10, 100, 1_000, 5_000];

fn main() {
    divan::main();
}
