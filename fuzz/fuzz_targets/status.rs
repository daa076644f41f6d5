//! Feeds octets to the parser `status`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("status").expect("this parser is in the list");
    (target.run)(octets);
});
