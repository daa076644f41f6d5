//! Feeds octets to the parser `upload`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let target = targets::named("upload").expect("this parser is in the list");
    (target.run)(octets);
});
