//! Feeds octets to the parser `pem`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("pem").expect("this parser is in the list");
    (target.run)(octets);
});
