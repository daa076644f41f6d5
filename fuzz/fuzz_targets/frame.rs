//! Feeds octets to the parser `frame`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("frame").expect("this parser is in the list");
    (target.run)(octets);
});
