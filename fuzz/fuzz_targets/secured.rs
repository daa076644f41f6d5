//! Feeds octets to the parser `secured`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("secured").expect("this parser is in the list");
    (target.run)(octets);
});
