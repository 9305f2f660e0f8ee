//! Speaks DNS, by hickory. No other module knows that.
//!
//! - Hickory's cache is off: what decides when to look again is the stream, and a cached answer would defeat it.
//! - The search list and the hosts file are walked here rather than by hickory, because A and AAAA of a name must come
//!   from the same place, and a failure must not be mistaken for absence because a later entry of the list was absent.
//! - EDNS is always on, whatever `resolv.conf` says, so that few answers need the detour over TCP.

use std::future::Future;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::Either;
use futures_util::future::select;
use hickory_resolver::Hosts;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::config::NameServerConfig;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::net::DnsError;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::system_conf::read_system_conf;
use lb_core::ResolveErrorKind;
use tokio::time::timeout;

use crate::dns::Addresses;
use crate::dns::Answer;
use crate::dns::Failure;
use crate::dns::Records;
use crate::dns::Service;

/// Some name servers never answer AAAA. Once one family has answered the other gets this long.
const STRAGGLER: Duration = Duration::from_secs(2);

/// Tries within one look: two name servers, each twice, before the whole look times out.
const TRIES: u32 = 4;

/// A client of one set of name servers.
pub(crate) struct Client {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
    hosts: Option<Hosts>,
}

impl Client {
    /// A client of these name servers, or if there are none of the system's with its search list and, if wanted, its hosts file.
    /// Blocks while it reads files.
    pub(crate) fn build(servers: &[SocketAddr], hosts_file: bool, timeout: Duration) -> Result<Self, NetError> {
        let (config, mut options) = match servers {
            [] => read_system_conf()?,
            servers => (ResolverConfig::from_name_servers(servers.iter().map(name_server).collect()), ResolverOpts::default()),
        };
        // `domain` is a guess from the name of the machine, good only where nothing is said.
        let search = if config.search.is_empty() { config.domain.iter().cloned().collect() } else { config.search.clone() };
        let (ndots, hosts) = (options.ndots, hosts_file && servers.is_empty());
        options.cache_size = 0;
        options.edns0 = true;
        options.timeout = options.timeout.min(timeout / TRIES);
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()?;
        Ok(Self { resolver, search, ndots, hosts: hosts.then(|| Hosts::from_system().unwrap_or_default()) })
    }

    /// A and AAAA. The first entry of the search list that has either, or where asking failed, counts.
    pub(crate) async fn addresses(&self, name: &str) -> Addresses {
        let candidates = match self.candidates(name) {
            Ok(candidates) => candidates,
            Err(failure) => return Addresses { v4: Err(failure.clone()), v6: Err(failure) },
        };
        if let Some(addresses) = self.in_hosts_file(name) {
            return addresses;
        }
        let mut found = None;
        for candidate in candidates {
            let v4 = self.ask(candidate.clone(), RecordType::A, ipv4);
            let v6 = self.ask(candidate, RecordType::AAAA, ipv6);
            let (v4, v6) = both(v4, v6).await;
            let addresses = Addresses { v4, v6 };
            if !addresses.are_absent() {
                return addresses;
            }
            // Of several absences the first is told: the user's own name, mostly.
            found = found.or(Some(addresses));
        }
        found.unwrap_or_else(|| Addresses { v4: Err(nameless()), v6: Err(nameless()) })
    }

    /// SRV records.
    pub(crate) async fn services(&self, name: &str) -> Answer<Service> {
        self.first(name, RecordType::SRV, service).await
    }

    /// TXT records, each with its strings joined.
    pub(crate) async fn texts(&self, name: &str) -> Answer<String> {
        self.first(name, RecordType::TXT, text).await
    }

    async fn first<T>(&self, name: &str, kind: RecordType, read: fn(&RData) -> Option<T>) -> Answer<T> {
        let mut found = None;
        for candidate in self.candidates(name)? {
            let answer = self.ask(candidate, kind, read).await;
            if !answer.as_ref().is_err_and(Failure::is_absent) {
                return answer;
            }
            found = found.or(Some(answer));
        }
        found.unwrap_or_else(|| Err(nameless()))
    }

    async fn ask<T>(&self, name: Name, kind: RecordType, read: fn(&RData) -> Option<T>) -> Answer<T> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => records(lookup.answers(), kind, read),
            Err(error) => Err(failure(&error, kind)),
        }
    }

    /// As `nsswitch` has it, a name in the hosts file is not asked for elsewhere, in neither family.
    fn in_hosts_file(&self, name: &str) -> Option<Addresses> {
        let hosts = self.hosts.as_ref()?;
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let found = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let (v4, v6) = (found(RecordType::A), found(RecordType::AAAA));
        if v4.is_none() && v6.is_none() {
            return None;
        }
        let v4 = records(v4.as_ref().map_or(&[], |lookup| lookup.answers()), RecordType::A, ipv4);
        let v6 = records(v6.as_ref().map_or(&[], |lookup| lookup.answers()), RecordType::AAAA, ipv6);
        Some(Addresses { v4, v6 })
    }

    /// The names to try in order, as the C library's resolver does (`resolv.conf(5)`: search, ndots).
    fn candidates(&self, name: &str) -> Result<Vec<Name>, Failure> {
        let malformed = |error| Failure::Failed(ResolveErrorKind::InvalidTarget, format!("no name: {error}"));
        let mut name = Name::from_ascii(name).map_err(malformed)?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let as_it_is_first = usize::from(name.num_labels()) > self.ndots;
        let mut names: Vec<Name> = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        name.set_fqdn(true);
        names.insert(if as_it_is_first { 0 } else { names.len() }, name);
        Ok(names)
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

/// Both answers; once one has records the other gets [`STRAGGLER`].
async fn both<A, B>(a: impl Future<Output = Answer<A>>, b: impl Future<Output = Answer<B>>) -> (Answer<A>, Answer<B>) {
    match select(pin!(a), pin!(b)).await {
        Either::Left((a, b)) => {
            let b = straggler(a.is_ok(), b).await;
            (a, b)
        }
        Either::Right((b, a)) => (straggler(b.is_ok(), a).await, b),
    }
}

async fn straggler<T>(hurry: bool, answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    if !hurry {
        return answer.await;
    }
    let late = || Failure::Failed(ResolveErrorKind::Unavailable, format!("no answer within {STRAGGLER:?} of the other family's"));
    timeout(STRAGGLER, answer).await.unwrap_or_else(|_| Err(late()))
}

fn nameless() -> Failure {
    Failure::Absent("no such name".to_owned())
}

/// The records of this type, and the least time to live on the way to them.
fn records<T>(answers: &[Record], kind: RecordType, read: fn(&RData) -> Option<T>) -> Answer<T> {
    let items: Vec<T> = answers.iter().filter_map(|record| read(&record.data)).collect();
    if items.is_empty() {
        return Err(Failure::Absent(format!("no {kind} records")));
    }
    let ours = answers.iter().filter(|record| record.record_type() == kind || record.record_type() == RecordType::CNAME);
    let ttl = ours.map(|record| record.ttl).min().unwrap_or_default();
    Ok(Records { items, ttl: Duration::from_secs(ttl.into()) })
}

fn failure(error: &NetError, kind: RecordType) -> Failure {
    let failed = |kind, message| Failure::Failed(kind, message);
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => nameless(),
            ResponseCode::NoError => Failure::Absent(format!("no {kind} records")),
            code => refusal(code),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => refusal(*code),
        NetError::Timeout => failed(ResolveErrorKind::Unavailable, "the name server does not answer".to_owned()),
        NetError::Proto(error) => failed(ResolveErrorKind::Malformed, error.to_string()),
        error => failed(ResolveErrorKind::Unavailable, error.to_string()),
    }
}

fn refusal(code: ResponseCode) -> Failure {
    let kind = if code == ResponseCode::Refused { ResolveErrorKind::Refused } else { ResolveErrorKind::Unavailable };
    Failure::Failed(kind, format!("the name server answers {code}"))
}

fn ipv4(data: &RData) -> Option<Ipv4Addr> {
    match data {
        RData::A(address) => Some(address.0),
        _ => None,
    }
}

fn ipv6(data: &RData) -> Option<Ipv6Addr> {
    match data {
        RData::AAAA(address) => Some(address.0),
        _ => None,
    }
}

fn service(data: &RData) -> Option<Service> {
    match data {
        RData::SRV(srv) => {
            Some(Service { target: srv.target.to_ascii(), port: srv.port, weight: srv.weight, priority: srv.priority })
        }
        _ => None,
    }
}

fn text(data: &RData) -> Option<String> {
    match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(search: &[&str], ndots: usize) -> Client {
        let mut client = Client::build(&["127.0.0.1:1".parse().unwrap()], true, Duration::from_secs(1)).unwrap();
        client.search = search.iter().map(|name| Name::from_ascii(name).unwrap()).collect();
        client.ndots = ndots;
        client
    }

    fn candidates(client: &Client, name: &str) -> Vec<String> {
        client.candidates(name).unwrap().iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn the_search_list_is_walked_as_the_c_library_does() {
        let client = client(&["ns.svc", "svc"], 2);
        assert_eq!(candidates(&client, "orders."), ["orders."]);
        assert_eq!(candidates(&client, "orders"), ["orders.ns.svc.", "orders.svc.", "orders."]);
        assert_eq!(candidates(&client, "a.b"), ["a.b.ns.svc.", "a.b.svc.", "a.b."]);
        assert_eq!(candidates(&client, "a.b.c"), ["a.b.c.", "a.b.c.ns.svc.", "a.b.c.svc."]);
        assert!(client.candidates(&"a".repeat(64)).is_err());
    }

    #[test]
    fn named_servers_have_neither_search_list_nor_hosts_file() {
        let client = Client::build(&["127.0.0.1:1".parse().unwrap()], true, Duration::from_secs(1)).unwrap();
        assert_eq!(candidates(&client, "orders"), ["orders."]);
        assert!(client.hosts.is_none());
        assert_eq!(client.resolver.options().cache_size, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_never_answers_does_not_hold_the_other_up() {
        let records = || Ok::<_, Failure>(Records { items: vec![1], ttl: Duration::ZERO });
        let start = tokio::time::Instant::now();
        let (a, b) = both(async { records() }, std::future::pending::<Answer<u8>>()).await;
        assert!(a.is_ok() && b.is_err_and(|failure| !failure.is_absent()));
        assert_eq!(start.elapsed(), STRAGGLER);
        let (a, b) = both(std::future::pending::<Answer<u8>>(), async { records() }).await;
        assert!(a.is_err() && b.is_ok());
        // Without records there is nothing to hurry for.
        let slow = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            records()
        };
        let (a, b) = both(async { Err::<Records<u8>, _>(nameless()) }, slow).await;
        assert!(a.is_err() && b.is_ok());
    }

    #[test]
    fn the_hosts_file_answers_for_both_families() {
        let mut client = client(&[], 1);
        let mut hosts = Hosts::default();
        let file = b"10.0.0.7 orders orders.internal\n";
        hosts.read_hosts_conf(&file[..]).unwrap();
        client.hosts = Some(hosts);
        let found = client.in_hosts_file("orders").unwrap();
        assert_eq!(found.v4.unwrap().items, [Ipv4Addr::new(10, 0, 0, 7)]);
        assert!(found.v6.unwrap_err().is_absent());
        assert!(client.in_hosts_file("other").is_none());
    }
}
