//! Feeds octets to the parser `gaen_export`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("gaen_export").expect("this parser is in the list");
    (target.run)(octets);
});
