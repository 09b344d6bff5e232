#![no_main]

#[path = "../../garbage/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::events::check(input));
