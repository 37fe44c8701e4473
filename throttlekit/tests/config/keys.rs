//! Whom requests count for, in a configuration.

use throttlekit::Outcome;
use throttlekit::config::{
    ApiKeySource, ApiKeySpec, ClientIpSpec, Config, ConfigErrors, Format, HttpRule, KeySource, Secret, TrustProxy,
};

const SECRET: &str = "hunter2 hunter2 hunter2";

/// A configuration with this `http` section.
fn load(http: &str, format: Format) -> Result<Config, ConfigErrors> {
    let text = match format {
        Format::Json => {
            format!(r#"{{"limiters":{{"x":{{"strategy":"gcra","limit":1,"period":"1s"}}}},"http":{http}}}"#)
        }
        _ => format!("limiters: {{ x: {{ strategy: gcra, limit: 1, period: 1s }} }}\nhttp: {http}\n"),
    };
    Config::parse_with(&text, format, &|name| (name == "SECRET").then(|| SECRET.to_owned()))
}

fn rules(http: &str) -> Vec<HttpRule> {
    load(http, Format::Yaml).unwrap().http.rules
}

/// The rule with these options over `/{id}`.
fn rule(options: &str) -> HttpRule {
    rules(&format!("{{ rules: [{{ path: '/{{id}}', policy: x, {options} }}] }}")).remove(0)
}

/// What is wrong with such a rule, without the start of each path.
fn errors(options: &str) -> Vec<String> {
    let http = format!("{{ rules: [{{ path: '/{{id}}', policy: x, {options} }}] }}");
    let errors = load(&http, Format::Yaml).unwrap_err();
    let places: Vec<_> = errors.problems().iter().map(|problem| problem.position.map(|at| at.line)).collect();
    assert!(places.iter().all(|line| *line == Some(2)), "{errors}");
    let shown = |problem: &throttlekit::config::Problem| {
        let path = problem.path.strip_prefix("config.http.rules[0]").unwrap();
        format!("{path}: {}", problem.message)
    };
    errors.problems().iter().map(shown).collect()
}

#[test]
fn every_source_has_a_word_or_a_map() {
    let header = KeySource::Header("x-tenant".to_owned());
    let parameter = KeySource::PathParam("id".to_owned());
    for (key, source) in [
        ("peer", KeySource::Peer),
        ("clientIp", KeySource::ClientIp),
        ("{ header: X-Tenant }", header.clone()),
        ("{ query: key }", KeySource::Query("key".to_owned())),
        ("{ cookie: Session }", KeySource::Cookie("Session".to_owned())),
        ("{ pathParam: id }", parameter.clone()),
        ("{ claim: sub }", KeySource::Claim("sub".to_owned())),
        ("{ constant: all }", KeySource::Constant("all".to_owned())),
        ("{ all: [clientIp, { header: x-tenant }] }", KeySource::All(vec![KeySource::ClientIp, header.clone()])),
        ("{ all: [{ pathParam: id }, { header: x-tenant }] }", KeySource::All(vec![parameter, header])),
    ] {
        assert_eq!(rule(&format!("key: {key}")).key, source, "{key}");
    }
}

#[test]
fn an_api_key_has_a_place_and_secrets_from_the_environment() {
    let mut spec = ApiKeySpec::new(ApiKeySource::Header("x-api-key".to_owned()), "b", SECRET);
    let key = "{ apiKey: { header: X-API-Key, keyId: b, secret: '${SECRET}' } }";
    assert_eq!(rule(&format!("key: {key}")).key, KeySource::ApiKey(spec.clone()));
    for (place, from) in [
        ("bearer: true", ApiKeySource::Bearer),
        ("query: key", ApiKeySource::Query("key".to_owned())),
        ("bearer: false, cookie: Key", ApiKeySource::Cookie("Key".to_owned())),
    ] {
        spec.from = from;
        let key = format!("key: {{ apiKey: {{ {place}, keyId: b, secret: '${{SECRET}}' }} }}");
        assert_eq!(rule(&key).key, KeySource::ApiKey(spec.clone()), "{place}");
    }
    // A month is a text, also without quotes.
    let dated = rule("key: { apiKey: { bearer: true, keyId: 2026-11, secret: '${SECRET}' } }");
    assert_eq!(dated.key, KeySource::ApiKey(ApiKeySpec::new(ApiKeySource::Bearer, "2026-11", SECRET)));
    spec.from = ApiKeySource::Bearer;
    spec.truncated = true;
    spec.previous = vec![("a".to_owned(), Secret::new("the one before it"))];
    let key = "apiKey: { bearer: true, keyId: b, secret: '${SECRET}', truncated: true, \
               previous: [{ keyId: a, secret: the one before it }] }";
    assert_eq!(rule(&format!("key: {{ {key} }}")).key, KeySource::ApiKey(spec.clone()));
    let hasher = spec.hasher().unwrap();
    assert_eq!((hasher.key_id(), hasher.all("k").count(), hasher.hash("k").as_str().len()), ("b", 2, 2 + 32));
    assert!(ApiKeySpec::new(ApiKeySource::Bearer, "b", "short").hasher().is_err());
}

#[test]
fn the_trust_in_proxies_is_written_once() {
    let listed = ClientIpSpec::default();
    let mut proxied = ClientIpSpec::default();
    proxied.trust_proxy = TrustProxy::Networks(vec!["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()]);
    proxied.ipv6_prefix = 56;
    let mut cloud = ClientIpSpec::default();
    (cloud.trust_proxy, cloud.header) = (TrustProxy::Hops(1), Some("cf-connecting-ip".to_owned()));
    let rules = rules(
        "{ defaults: { clientIp: { trustProxy: [10.0.0.0/8, 'fd00::/8'], ipv6Prefix: 56 } }, rules: [
            { path: /a, policy: x },
            { path: /b, policy: x, key: { header: x-key } },
            { path: /c, policy: x, clientIp: { trustProxy: 1, header: CF-Connecting-IP } },
            { path: /d, policy: x, key: peer, clientIp: { trustProxy: false } }] }",
    );
    let found: Vec<_> = rules.into_iter().map(|rule| (rule.key, rule.client_ip)).collect();
    let header = KeySource::Header("x-key".to_owned());
    let expected = [
        // Whoever says how clients are found does not mean the proxies by a key that is left out.
        (KeySource::ClientIp, proxied.clone()),
        (header, proxied),
        (KeySource::ClientIp, cloud),
        (KeySource::Peer, listed),
    ];
    assert_eq!(found, expected);
    // A key that was chosen for all rules is no key that is left out.
    let chosen =
        self::rules("{ defaults: { key: peer }, rules: [{ path: /, policy: x, clientIp: { trustProxy: 1 } }] }");
    assert_eq!(chosen[0].key, KeySource::Peer);
}

#[test]
fn client_ip_takes_each_option() {
    let spec = rule("clientIp: { trustProxy: 2, header: Forwarded, lenient: true, unwrapNat64: true, ipv6Prefix: 0 }");
    let client = spec.client_ip.build().unwrap();
    assert_eq!((client.header(), client.ipv6_prefix()), (Some("forwarded"), 0));
    let line = [&b"for=6.6.6.6, for=198.51.100.7, for=unknown, for=10.0.0.2"[..]];
    assert_eq!(client.resolve(Some([10, 0, 0, 1].into()), line), Some([198, 51, 100, 7].into()));
    let peer = "64:ff9b::c000:201".parse().unwrap();
    assert_eq!(client.resolve(Some(peer), []), Some([192, 0, 2, 1].into()));
    assert!(!client.hides_peer());
    assert_eq!(ClientIpSpec::default().build().unwrap().ipv6_prefix(), 64);
    assert!(rule("clientIp: { trustProxy: 0, peerHidden: true }").client_ip.build().unwrap().hides_peer());
}

#[test]
fn what_is_wrong_with_the_trust_is_said_in_one_go() {
    let options = "clientIp: { trustProxy: [10.0.0.0/, 10.0.0.0/8, 10.0.0.0/33], ipv6Prefix: 129, header: 'x y' }";
    let network = "must be an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32, with a prefix of 0 to 32 bits \
                   for IPv4 and 0 to 128 for IPv6";
    let expected = [
        format!(".clientIp.trustProxy[0]: {network} (found \"10.0.0.0/\")"),
        format!(".clientIp.trustProxy[2]: {network} (found \"10.0.0.0/33\")"),
        ".clientIp.ipv6Prefix: must be a whole number from 0 to 128 (found 129)".to_owned(),
        ".clientIp.header: must be the name of a header field (found \"x y\")".to_owned(),
    ];
    assert_eq!(errors(options), expected);
    let forms = "false, a number of proxies, or a list of addresses and networks such as 10.0.0.0/8";
    for (options, expected) in [
        (
            "trustProxy: true",
            format!("trustProxy: cannot be true, since anybody could then choose his key: give {forms}"),
        ),
        ("trustProxy: -1", format!("trustProxy: expected {forms}, found -1")),
        ("trustProxy: 1.5", format!("trustProxy: expected {forms}, found 1.5")),
        ("trustProxy: 10.0.0.0/8", format!("trustProxy: expected {forms}, found the text \"10.0.0.0/8\"")),
        ("trustproxy: 1, header: x-real-ip", "trustproxy: unknown field, did you mean \"trustProxy\"?".to_owned()),
        (
            "header: x-real-ip",
            "header: is not read unless trusted proxies, or how many there are, are given too (found x-real-ip)"
                .to_owned(),
        ),
        ("lenient: 1", "lenient: expected true or false, found the number 1".to_owned()),
    ] {
        assert_eq!(errors(&format!("clientIp: {{ {options} }}")), [format!(".clientIp.{expected}")]);
    }
    // In the defaults it is said once, however many rules there are.
    let http =
        "{ defaults: { clientIp: { trustProxy: [x] } }, rules: [{ path: /, policy: x }, { path: /b, policy: x }] }";
    let errors = load(http, Format::Yaml).unwrap_err();
    assert_eq!(errors.problems().len(), 1, "{errors}");
    assert!(errors.to_string().starts_with("2:46: config.http.defaults.clientIp.trustProxy[0]: must be"), "{errors}");
}

#[test]
fn what_is_wrong_with_a_key_is_said_with_its_place() {
    const ONE: &str = "give one of header, query, cookie, pathParam, claim, constant, apiKey and all";
    for (key, expected) in [
        ("clientip", vec!["key: unknown key \"clientip\", did you mean \"clientIp\"?; other sources are maps, such as { header: NAME }".to_owned()]),
        ("5", vec!["key: expected peer, clientIp or a map such as { header: NAME }, found the number 5".to_owned()]),
        ("{}", vec![format!("key: {ONE}")]),
        ("{ header: a, query: b }", vec![format!("key: {ONE}, not several; a list in all takes them together")]),
        ("{ heder: a }", vec!["key.heder: unknown field, did you mean \"header\"?".to_owned()]),
        ("{ header: 'a b' }", vec!["key.header: \"a b\" is not the name of a header field in lower case".to_owned()]),
        ("{ cookie: 'a=b' }", vec!["key.cookie: \"a=b\" is not the name of a cookie".to_owned()]),
        ("{ query: '' }", vec!["key.query: must not be empty".to_owned()]),
        ("{ claim: '' }", vec!["key.claim: must not be empty".to_owned()]),
        ("{ constant: '' }", vec!["key.constant: must not be empty".to_owned()]),
        ("{ pathParam: ID }", vec!["key.pathParam: the path \"/{id}\" has no parameter \"ID\", did you mean \"id\"?".to_owned()]),
        ("{ all: [peer] }", vec!["key.all: must be a list of 2 to 8 keys (found 1)".to_owned()]),
        ("{ all: peer }", vec!["key.all: expected a list of keys, found the text \"peer\"".to_owned()]),
        ("{ all: [peer, { header: a }, peer] }", vec!["key.all[2]: is given twice".to_owned()]),
        ("{ all: [peer, { all: [peer, clientIp] }] }", vec!["key.all[1]: a key of several parts cannot be part of another".to_owned()]),
        (
            "{ all: [pear, { cookie: '' }, { pathParam: x }] }",
            vec![
                "key.all[0]: unknown key \"pear\", did you mean \"peer\"?; other sources are maps, such as { header: NAME }".to_owned(),
                "key.all[1].cookie: \"\" is not the name of a cookie".to_owned(),
            ],
        ),
        (
            "{ all: [peer, { cookie: '' }, { pathParam: x }] }",
            vec![
                "key.all[1].cookie: \"\" is not the name of a cookie".to_owned(),
                "key.all[2].pathParam: the path \"/{id}\" has no parameter \"x\", known are id".to_owned(),
            ],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|line| format!(".{line}")).collect();
        assert_eq!(errors(&format!("key: {key}")), expected, "{key}");
    }
}

#[test]
fn what_is_wrong_with_an_api_key_shows_nothing_of_it() {
    let short = "must have at least 16 bytes";
    for (key, expected) in [
        ("hunter2", vec![": expected a map, found a text".to_owned()]),
        (
            "{}",
            vec![
                ".bearer: give one of bearer, header, query and cookie".to_owned(),
                ".keyId: required".to_owned(),
                ".secret: required".to_owned(),
            ],
        ),
        ("{ bearer: true, keyId: k, secret: hunter2 }", vec![format!(".secret: {short} (found 7)")]),
        (
            "{ bearer: true, keyId: k, secret: '${hunter2}' }",
            vec![".secret: the environment has no variable \"hunter2\"".to_owned()],
        ),
        (
            "{ bearer: true, keyId: 'hunter2:', secret: '${SECRET}' }",
            vec![".keyId: must be 1 to 16 letters, digits, '.', '_' and '-'".to_owned()],
        ),
        (
            "{ bearer: true, keyId: sha256, secret: '${SECRET}' }",
            vec![".keyId: must not mark keys of another kind".to_owned()],
        ),
        (
            "{ bearer: true, cookie: c, keyId: k, secret: '${SECRET}' }",
            vec![".bearer: give one of bearer, header, query and cookie, not several".to_owned()],
        ),
        (
            "{ header: 'hunter2 ', keyId: k, secret: '${SECRET}' }",
            vec![".header: must be the name of a header field in lower case".to_owned()],
        ),
        (
            "{ cookie: 'hunter2;', keyId: k, secret: '${SECRET}', previous: [{ keyId: k, secret: hunter2 }, 'hunter2 hunter2'] }",
            vec![
                ".cookie: must be the name of a cookie".to_owned(),
                ".previous[0].keyId: must not be given twice".to_owned(),
                format!(".previous[0].secret: {short} (found 7)"),
                ".previous[1]: expected a map, found a text".to_owned(),
            ],
        ),
        (
            "{ cookie: 'hunter2;', keyId: k, secret: '${SECRET}', previous: [{ keyId: k, secret: hunter2 }] }",
            vec![
                ".cookie: must be the name of a cookie".to_owned(),
                ".previous[0].keyId: must not be given twice".to_owned(),
                format!(".previous[0].secret: {short} (found 7)"),
            ],
        ),
        (
            "{ bearer: true, keyId: k, secrte: hunter2 }",
            vec![".secrte: unknown field, did you mean \"secret\"?".to_owned()],
        ),
    ] {
        let mut found = errors(&format!("key: {{ apiKey: {key} }}"));
        found.sort();
        let expected: Vec<_> = expected.into_iter().map(|line| format!(".key.apiKey{line}")).collect();
        assert_eq!(found, expected, "{key}");
        // The name of a variable shows; what it holds does not.
        let variable = key.contains("${hunter2}");
        assert!(variable || found.iter().all(|line| !line.contains("hunter2")), "{found:?}");
    }
    for misplaced in
        ["key: { header: x, secret: [hunter2] }", "secret: hunter2", "key: { apikey: { secret: hunter2 } }"]
    {
        assert!(errors(misplaced).iter().all(|line| !line.contains("hunter2")), "{misplaced}");
    }
    // Digits are numbers, and a comma ends a text without quotes.
    for misplaced in [
        "key: { apiKey: 8471193 }",
        "key: { apiKey: [8471193] }",
        "key: { apiKey: { bearer: true, keyId: k, secret: 8471193, previous: 8471193 } }",
        "key: { apiKey: { bearer: 8471193, header: 8471193, keyId: 8471193, previous: [8471193] } }",
        "key: { apiKey: { bearer: true, keyId: k, secret: abc,key8471193 } }",
        "key: { apiKey: abc,key8471193 }",
        "secret: abc,key8471193",
        "plans: { from: key, table: { pro: { policy: x, keys: [8471193] } } }",
        "plans: { from: key, table: { pro: { policy: x, keys: 8471193 } } }",
        "plans: { from: key, table: { pro: { policy: x, keys: abc,key8471193 } } }",
    ] {
        let found = errors(misplaced);
        assert!(found.iter().all(|line| !line.contains("8471193")), "{misplaced}: {found:?}");
    }
    let shown = format!("{:#?}", rule("key: { apiKey: { bearer: true, keyId: k, secret: '${SECRET}' } }"));
    assert!(shown.contains("[redacted]") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn every_format_reads_keys_alike() {
    let json = r#"{"defaults":{"clientIp":{"trustProxy":["10.0.0.0/8"]}},"rules":[{"path":"/{id}","policy":"x","key":{"all":["clientIp",{"apiKey":{"bearer":true,"keyId":"k","secret":"${SECRET}"}}]}}]}"#;
    let yaml = rules(json);
    assert_eq!(load(json, Format::Json).unwrap().http.rules, yaml);
    let toml = "[limiters]\nx = { strategy = 'gcra', limit = 1, period = '1s' }\n[http.defaults.clientIp]\n\
                trustProxy = ['10.0.0.0/8']\n[[http.rules]]\npath = '/{id}'\npolicy = 'x'\n\
                key.all = ['clientIp', { apiKey = { bearer = true, keyId = 'k', secret = '${SECRET}' } }]\n";
    let toml = Config::parse_with(toml, Format::Toml, &|_| Some(SECRET.to_owned())).unwrap();
    assert_eq!(toml.http.rules, yaml);
}

#[test]
fn options_of_answers_are_read() {
    let read = rule("shadow: true, problemJson: true, dropOn5xx: true, onDisconnect: ignored");
    assert_eq!(
        (read.shadow, read.problem_json, read.drop_on_5xx, read.on_disconnect),
        (true, true, true, Outcome::Ignored)
    );
    let plain = rule("cost: 1");
    assert_eq!(
        (plain.shadow, plain.problem_json, plain.drop_on_5xx, plain.on_disconnect),
        (false, false, false, Outcome::Dropped)
    );
    let defaults =
        "{ defaults: { shadow: true, onDisconnect: ignored }, rules: [{ path: /, policy: x, shadow: false }] }";
    let laid_over = rules(defaults).remove(0);
    assert_eq!((laid_over.shadow, laid_over.on_disconnect), (false, Outcome::Ignored));
    let problems = errors("shadow: maybe, onDisconnect: completed");
    assert_eq!(
        problems,
        [
            ".shadow: expected true or false, found the text \"maybe\"",
            ".onDisconnect: unknown outcome \"completed\", known are dropped, ignored",
        ]
    );
}

#[test]
fn a_rule_made_in_code_is_checked_too() {
    let mut config = load("{ rules: [] }", Format::Yaml).unwrap();
    let mut rule = HttpRule::new("/{*rest}", ["x"]);
    rule.client_ip.trust_proxy = TrustProxy::Networks(vec!["10.0.0.0/".to_owned()]);
    rule.on_disconnect = Outcome::Completed;
    rule.key = KeySource::All(vec![
        KeySource::PathParam("rest".to_owned()),
        KeySource::PathParam("{x}".to_owned()),
        KeySource::Header("X".to_owned()),
        KeySource::ApiKey(ApiKeySpec::new(ApiKeySource::Bearer, "k", "short")),
    ]);
    config.http.rules.push(rule);
    let errors = config.check().unwrap_err();
    let paths: Vec<_> = errors.problems().iter().map(|problem| problem.path.as_str()).collect();
    let expected = [
        "config.http.rules[0].key.all[2].header",
        "config.http.rules[0].key.all[3].apiKey.secret",
        "config.http.rules[0].clientIp.trustProxy[0]",
        "config.http.rules[0].key.all[1].pathParam",
        "config.http.rules[0].onDisconnect",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn keys_with_weights_show_in_no_debug() {
    let text = "limiters:\n  \
                slots: { concurrency: { keyed: { weights: { alice: 2, bob: 3 } } } }\n  \
                fair: { fairEscrow: { limit: 5, windowMs: 1000, weights: { alice: 2, bob: 3 } } }\n";
    let config = Config::from_yaml(text).unwrap();
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("alice") && !shown.contains("bob"), "{shown}");
        assert_eq!(shown.matches("weights: 2").count(), 2, "{shown}");
    }
}
