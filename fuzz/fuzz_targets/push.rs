//! Feeds octets to the parser `push`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("push").expect("this parser is in the list");
    (target.run)(octets);
});
