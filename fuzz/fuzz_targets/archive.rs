//! Feeds octets to the parser `archive`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("archive").expect("this parser is in the list");
    (target.run)(octets);
});
