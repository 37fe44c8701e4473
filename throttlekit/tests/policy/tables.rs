//! How full the tables of policies are.

use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::prometheus::Metrics;

#[test]
fn metrics_show_how_full_the_tables_are() {
    let text = |most: u32| {
        format!(
            "limiters:\n  \
             rate: {{ strategy: gcra, limit: 1, period: 1h, maxKeys: {most} }}\n  \
             tiers: {{ strategy: gcra, limit: 9, period: 1h, maxKeys: 7, twoTier: {{ batch: 3, maxKeys: 5 }} }}\n  \
             screened: {{ strategy: gcra, limit: 1, period: 1h, screen: {{ threshold: 1 }}, maxKeys: 4 }}\n  \
             tokens: {{ tokenBudget: {{ budget: 10, windowMs: 3600000, maxKeys: 3 }} }}\n  \
             sketch: {{ sketch: {{ limit: 9, windowMs: 1000 }} }}\n  \
             slots: {{ concurrency: {{ limit: 9 }} }}"
        )
    };
    let metrics = Metrics::new();
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(metrics.clone());
    let policies = Policies::load(&text(2), options).unwrap();
    for name in ["rate", "tiers", "tokens"] {
        let limiter = policies.get(name).unwrap().limiter().unwrap().clone();
        for key in ["a", "b", "c"] {
            assert!(limiter.check(key, 1.0).now().unwrap().unwrap().allowed);
        }
    }
    let shown = || {
        let text = metrics.render();
        let of = |series: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix("{policy=\""));
            lines.map(|line| line.replace("\"} ", " ")).collect()
        };
        (of("throttlekit_table_keys"), of("throttlekit_table_max_keys"))
    };
    assert_eq!(
        shown(),
        (
            ["rate 2", "screened 0", "tiers 3", "tokens 3"].map(str::to_owned).into(),
            ["rate 2", "screened 4", "tiers 7", "tokens 3"].map(str::to_owned).into(),
        )
    );
    assert!(metrics.render().contains("throttlekit_guard_limit{guard=\"slots\"} 9\n"));
    assert!(
        metrics.render().contains("throttlekit_table_evictions_total{policy=\"rate\"} 1\n"),
        "of three keys in two places"
    );
    policies.reload(&text(6)).unwrap();
    assert_eq!((&*shown().0[0], &*shown().1[0]), ("rate 0", "rate 6"), "as they are now");
    drop(policies);
    assert_eq!(shown().0.len() + shown().1.len(), 0, "nobody is kept alive by being shown");
}
