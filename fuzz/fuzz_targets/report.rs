//! Feeds octets to the parser `report`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("report").expect("this parser is in the list");
    (target.run)(octets);
});
