//! Feeds octets to the parser `report_json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("report_json").expect("this parser is in the list");
    (target.run)(octets);
});
