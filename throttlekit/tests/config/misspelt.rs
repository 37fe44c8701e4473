//! Fields that nobody knows: which one was meant.

use throttlekit::config::Format;

use super::errors::errors;

/// A block, with `@` where its fields are, and the fields that it may have.
const KNOWN: [(&str, &str); 26] = [
    ("@limiters: {}", "version defaults compat store http"),
    ("@limiter: {}", "limiters"),
    ("defaults: { @ }\nlimiters: {}", "prefix"),
    ("compat: { @ }\nlimiters: {}", "sharedDefaultsPrefix"),
    (
        "limiters: { a: { @ } }",
        "strategy concurrency twoTier tokenBudget fleetBudget fairEscrow screen sketch denyList advertise",
    ),
    ("limiters: { a: { strategy: gcra, @ } }", "limit period periodMs windowMs burst exact prefix maxKeys failMode"),
    ("limiters: { a: { strategy: tokenBucket, @ } }", "capacity refillPerSec"),
    ("limiters: { a: { strategy: slidingWindow, @ } }", "buckets"),
    ("limiters: { a: { strategy: quota, limit: 1, @ } }", "resetCadence"),
    ("limiters: { a: { strategy: quota, limit: 1, resetCadence: calendar-week, @ } }", "offsetMinutes weekStartsOn"),
    (
        "limiters: { a: { concurrency: { @ } } }",
        "limit profile algorithm minLimit maxLimit initialLimit keyed queue priorities shadow",
    ),
    ("limiters: { a: { concurrency: { profile: gradient2, @ } } }", "rttWindow smoothing tolerance recalibration"),
    ("limiters: { a: { concurrency: { profile: aimd, @ } } }", "backoffRatio"),
    (
        "limiters: { a: { strategy: gcra, limit: 5, period: 1s, twoTier: { @ } } }",
        "mode batch lowWater windowCoupled returnIdleAfterMs grant adaptive maxKeys",
    ),
    ("limiters: { a: { fleetBudget: { @ } } }", "budget windowMs maxDebt carryDebt wholeDebits maxKeys prefix leased"),
    ("limiters: { a: { fairEscrow: { @ } } }", "limit windowMs weights maxKeys costRoom costRoomMaxKeys unit"),
    ("limiters: { a: { sketch: { @ } } }", "limit windowMs sliding epsilon delta width depth shards"),
    ("limiters: { a: { denyList: { @ } } }", "denials windowMs ttlMs tracked places"),
    ("limiters: { a: { advertise: { @ } } }", "quota windowSeconds"),
    ("store: { @ }\nlimiters: {}", "memory redis postgres dynamodb timeout breaker requireAtStart"),
    (
        "store: { redis: { @ } }\nlimiters: {}",
        "url urls cluster sentinel username password tls resp3 connectTimeout useServerTime ttlFloor maxRetries",
    ),
    (
        "limiters: {}\nhttp: { rules: [ { @ } ] }",
        "path methods policy policies key clientIp plans missing cost costs priority failMode headers options shadow problemJson \
         dropOn5xx onDisconnect",
    ),
    (
        "limiters: {}\nhttp: { rules: [ { clientIp: { @ } } ] }",
        "trustProxy header ipv6Prefix lenient unwrapNat64 peerHidden",
    ),
    (
        "limiters: {}\nhttp: { rules: [ { key: { apiKey: { @ } } } ] }",
        "bearer header query cookie keyId secret previous truncated",
    ),
    ("limiters: {}\nhttp: { rules: [ { plans: { @ } } ] }", "from table"),
    (
        "limiters: {}\nhttp: { rules: [ { plans: { table: { a: { @ } } } } ] }",
        "policy policies cost costs priority keys",
    ),
];

#[test]
fn every_misspelt_field_is_told_the_right_one_and_is_not_missing() {
    for (block, fields) in KNOWN {
        for field in fields.split_whitespace() {
            let end = if block.starts_with('@') { "\n" } else { "" };
            let misspelt = format!("{}{field}", &field[..1]);
            let text = block.replace('@', &format!("{misspelt}: 1{end}"));
            let errors = errors(&text, Format::Yaml);
            let expected = format!("{misspelt}: unknown field, did you mean {field:?}?");
            assert!(errors.contains(&expected), "{text}\n{errors}");
            assert!(!errors.contains(&format!("{field}: required")), "{text}\n{errors}");
        }
    }
    let alone = errors("limiters: { a: { concurency: { limit: 4 } } }", Format::Yaml);
    assert_eq!(alone, r#"1:18: config.limiters[a].concurency: unknown field, did you mean "concurrency"?"#);
    let named =
        "limiters: { a: { strategy: gcra, limit: 1, period: 1s } }\nhttp: { rules: [ { path: /, polcies: [a] } ] }";
    assert_eq!(
        errors(named, Format::Yaml),
        r#"2:29: config.http.rules[0].polcies: unknown field, did you mean "policies"?"#
    );
}

#[test]
fn a_word_that_is_part_of_one_or_begins_like_it_is_told_that() {
    let bucket = "limiters: { a: { strategy: tokenBucket, capacity: 1, refillRate: 1 } }";
    assert_eq!(
        errors(bucket, Format::Yaml),
        r#"1:54: config.limiters[a].refillRate: unknown field, did you mean "refillPerSec"?"#
    );
    let quota = "limiters: { a: { strategy: quota, limit: 1, cadence: daily } }";
    assert_eq!(
        errors(quota, Format::Yaml),
        r#"1:45: config.limiters[a].cadence: unknown field, did you mean "resetCadence"?"#
    );
    // Two are as likely, so all are told.
    let probes = "limiters: { a: { concurrency: { profile: gradient2, recalibration: { probes: 5 } } } }";
    assert_eq!(
        errors(probes, Format::Yaml),
        "1:70: config.limiters[a].concurrency.recalibration.probes: unknown field, known are intervalMs, probeLimit, \
         probeSamples"
    );
}
