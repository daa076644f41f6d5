//! Feeds octets to the parser `trust_list`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("trust_list").expect("this parser is in the list");
    (target.run)(octets);
});
