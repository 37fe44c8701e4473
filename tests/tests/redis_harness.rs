//! The servers that tests start do what they say.

use tests::redis::{Cluster, MASTER, Redis, Settings, Watched};

#[test]
fn a_durable_server_keeps_what_it_answered() {
    let mut server = Redis::with(Settings { durable: true, password: Some("pw".into()), ..Settings::default() });
    assert_eq!(server.cli(&["SET", "k", "v"]), "OK");
    server.kill();
    assert_eq!(server.cli(&["PING"]), "");
    server.restart();
    assert_eq!(server.cli(&["GET", "k"]), "v");
}

#[test]
fn a_server_with_tls_answers_over_tls() {
    let server = Redis::with(Settings { tls: true, ..Settings::default() });
    assert_eq!(server.cli(&["SET", "k", "v"]), "OK");
    assert!(server.url().starts_with("rediss://"));
    assert!(String::from_utf8(server.authority()).unwrap().contains("BEGIN CERTIFICATE"));
}

#[test]
fn a_slot_of_a_cluster_moves_with_its_keys() {
    let cluster = Cluster::start();
    let (slot, from) = (cluster.slot("k"), cluster.owner("k"));
    assert_eq!(cluster.cli("k", &["SET", "k", "v"]), "OK");
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.end_move(slot, from, to);
    assert_eq!(cluster.owner("k"), to);
    assert_eq!(cluster.cli("k", &["GET", "k"]), "v");
}

#[test]
fn sentinels_swap_the_roles() {
    let watched = Watched::start();
    let (before, after) = (watched.servers()[0].port(), watched.servers()[1].port());
    assert_eq!(watched.master(), Some(before), "{MASTER}");
    watched.fail_over();
    assert!(tests::process::wait(|| watched.master() == Some(after)));
}
