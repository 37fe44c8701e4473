#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use throttlekit::config::Format;

fuzz_target!(|text: &str| common::read(text, Format::Json));
