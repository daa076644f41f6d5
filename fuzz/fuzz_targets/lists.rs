//! Feeds octets to the parser `lists`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("lists").expect("this parser is in the list");
    (target.run)(octets);
});
