//! Against the real server.

use super::{Etcd, require};

#[test]
fn keys_survive_a_kill_and_not_a_wipe() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    for (key, value) in [("/a", "1"), ("/ab", "12"), ("/abc", "123")] {
        etcd.put(key, value).unwrap();
    }
    etcd.delete("/ab").unwrap();
    assert_eq!(etcd.ctl(&["get", "--prefix", "/"]).unwrap(), "/a\n1\n/abc\n123\n");
    let revision = etcd.revision().unwrap();
    etcd.compact().unwrap();
    assert_eq!(etcd.revision().unwrap(), revision);
    assert!(etcd.wipe(0).is_err() && etcd.restart(0).is_err(), "it is running");

    etcd.kill(0).unwrap();
    assert!(etcd.put("/d", "1").is_err());
    etcd.restart(0).unwrap();
    assert_eq!(etcd.revision().unwrap(), revision);

    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    etcd.restart(0).unwrap();
    assert_eq!(etcd.ctl(&["get", "--prefix", "/"]).unwrap(), "");
    assert_eq!(etcd.revision().unwrap(), 1);
}

#[test]
fn another_member_leads_when_the_leader_is_killed() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start_cluster(&root, 3).unwrap();
    let leader = etcd.leader().unwrap();
    etcd.kill(leader).unwrap();
    // A write that reaches a member before the election is over times out there.
    assert!((0..5).any(|_| etcd.ctl(&["put", "/a", "1"]).is_ok()));
    assert_ne!(etcd.leader().unwrap(), leader);
    etcd.restart(leader).unwrap();
}

#[test]
fn with_authentication_a_stranger_is_refused() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.enable_auth("secret").unwrap();
    assert!(etcd.put("/a", "1").is_err());
    etcd.ctl(&["put", "/a", "1"]).unwrap();
}
