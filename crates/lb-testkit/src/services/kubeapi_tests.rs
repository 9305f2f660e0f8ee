//! The API server itself: it starts, keeps its port and its certificate, and leaves nothing. What it serves is tested with the resolver.

use std::net::TcpStream;

use super::{KubeApi, KubeUser, require};

#[test]
fn the_api_server_comes_back_where_it_was_and_leaves_nothing() {
    let (Some(root), Some(etcd)) = (require("kubeapi"), require("etcd")) else { return };
    let mut api = KubeApi::start(&root, &etcd).unwrap();
    let (addr, ca) = (api.addr(), api.ca_pem().unwrap());
    assert!(ca.contains("BEGIN CERTIFICATE") && api.url().ends_with(&format!(":{}", addr.port())));
    let kubeconfig = api.kubeconfig(KubeUser::Reader, "shop").unwrap();
    assert!(std::fs::read_to_string(&kubeconfig).unwrap().contains("reader-token"));
    assert!(api.restart().is_err(), "it is running");

    api.kill().unwrap();
    assert!(TcpStream::connect(addr).is_err() && api.pause().is_err() && api.pid().is_none());
    api.restart().unwrap();
    assert!(TcpStream::connect(addr).is_ok());
    assert_eq!(api.ca_pem().unwrap(), ca);

    let pid = api.pid().unwrap();
    drop(api);
    assert!(!kubeconfig.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the process is gone and reaped");
}
