//! Feeds octets to the parser `config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("config").expect("this parser is in the list");
    (target.run)(octets);
});
