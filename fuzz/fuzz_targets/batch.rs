//! Feeds octets to the parser `batch`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("batch").expect("this parser is in the list");
    (target.run)(octets);
});
