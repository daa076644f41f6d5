//! Feeds octets to the parser `certificate`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("certificate").expect("this parser is in the list");
    (target.run)(octets);
});
