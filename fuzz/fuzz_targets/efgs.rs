//! Feeds octets to the parser `efgs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("efgs").expect("this parser is in the list");
    (target.run)(octets);
});
