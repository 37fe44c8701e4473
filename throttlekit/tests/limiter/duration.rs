//! Durations in text.

use proptest::prelude::*;
use throttlekit::parse_duration_ms;

#[test]
fn table() {
    for (text, ms) in [
        ("250", 250.0),
        (" 10 s ", 10_000.0),
        ("2m", 120_000.0),
        ("1d", 86_400_000.0),
        ("1.5s", 1_500.0),
        ("0.5ms", 0.5),
        ("1.1h", 3_960_000.000_000_000_5),
        ("1.0005s", 1_000.5),
        ("4.35m", 260_999.999_999_999_97),
        ("1.005s", 1_004.999_999_999_999_9),
        ("0.1s", 100.0),
        ("1.1m", 66_000.0),
        ("007", 7.0),
        ("5\tms\n", 5.0),
    ] {
        assert_eq!(parse_duration_ms(text), Ok(ms), "{text:?}");
    }
}

#[test]
fn refused_forms() {
    for text in [
        "", " ", "s", "-1s", "+1s", ".5s", "5.", "5.s", "1e3", "1 000", "5 min", "1H", "1S", "1Ms", "1h30m", "1w",
        "1us", "1..5s", "1.5.5s", "1. 5s", "0x10", "inf", "NaN", "infinity", "1_000", "1,5s", "٣s", "1 s s", "1s1",
    ] {
        let error = parse_duration_ms(text).expect_err(text);
        assert!(!error.is_out_of_range(), "{text:?}: {error}");
        assert!(error.to_string().starts_with(&format!("{text:?} is not a duration")), "{error}");
    }
}

#[test]
fn refused_values() {
    let overflow = "9".repeat(400);
    let underflow = format!("0.{}1", "0".repeat(400));
    for text in ["0", "0s", "0.0d", &overflow, &underflow, &format!("{}d", "9".repeat(305))] {
        let error = parse_duration_ms(text).expect_err(text);
        assert!(error.is_out_of_range(), "{text:?}: {error}");
    }
}

#[test]
fn an_error_shows_a_long_text_cut_short() {
    let error = parse_duration_ms(&"é".repeat(1_000)).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        if let Ok(ms) = parse_duration_ms(&text) {
            prop_assert!(ms.is_finite() && ms > 0.0);
        }
    }

    #[test]
    fn whole_numbers_of_each_unit(number in 1_u32..1_000_000, unit in 0_usize..5, space in " {0,2}") {
        let (name, factor) = [("ms", 1.0), ("s", 1e3), ("m", 6e4), ("h", 3.6e6), ("d", 8.64e7)][unit];
        let text = format!("{space}{number}{space}{name}{space}");
        prop_assert_eq!(parse_duration_ms(&text), Ok(f64::from(number) * factor));
    }
}
