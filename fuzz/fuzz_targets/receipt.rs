//! Feeds octets to the parser `receipt`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("receipt").expect("this parser is in the list");
    (target.run)(octets);
});
