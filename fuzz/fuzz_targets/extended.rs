//! Feeds octets to the parser `extended`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("extended").expect("this parser is in the list");
    (target.run)(octets);
});
