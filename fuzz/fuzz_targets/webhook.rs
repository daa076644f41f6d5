//! Feeds octets to the parser `webhook`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("webhook").expect("this parser is in the list");
    (target.run)(octets);
});
