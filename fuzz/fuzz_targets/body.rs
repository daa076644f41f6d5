//! Feeds octets to the parser `body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("body").expect("this parser is in the list");
    (target.run)(octets);
});
