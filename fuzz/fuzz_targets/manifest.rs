//! Feeds octets to the parser `manifest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("manifest").expect("this parser is in the list");
    (target.run)(octets);
});
