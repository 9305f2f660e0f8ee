//! Endpoints that a name server lists.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel::resolver::{DnsConfig, DnsResolver};
use evenkeel::{LbChannel, LbChannelBuilder};
use lb_testkit::services::{self, KNOT_ZONE, Knot};

use crate::support::quick_backoff;

/// A name server that lists these; `None` where there is none to be had.
pub(crate) fn start(addrs: &[SocketAddr]) -> Option<Knot> {
    let root = services::require("knot")?;
    let records = addrs.iter().map(|addr| format!("_grpc._tcp.orders 1 SRV 0 1 {} local.{KNOT_ZONE}\n", addr.port()));
    let zone: String = [String::from("local 1 A 127.0.0.1\n")].into_iter().chain(records).collect();
    Some(Knot::start(&root, &zone).unwrap())
}

/// Asks it every second, and does not wait long.
pub(crate) fn builder(names: &Knot) -> LbChannelBuilder {
    let config = DnsConfig::new().with_refresh(Duration::from_millis(200), Duration::from_secs(1)).unwrap();
    let config = config.with_timeout(Duration::from_secs(1)).unwrap().with_backoff(quick_backoff());
    LbChannel::builder(format!("dns://{}/_grpc._tcp.orders.{KNOT_ZONE}", names.addr())).resolver(DnsResolver::with_config(config))
}
