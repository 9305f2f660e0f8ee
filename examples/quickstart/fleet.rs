//! The servers, each with a name and a speed of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::EndpointKey;
use evenkeel::resolver::ManualHandle;
use lb_testkit::{EchoServer, Latency};

use crate::Failure;

/// Name and mean time to answer in milliseconds of the servers there are from the beginning.
pub(crate) const AT_FIRST: [(&str, u64); 4] = [("a", 4), ("b", 8), ("c", 16), ("d", 40)];

/// Running servers, and what the resolver says of them.
pub(crate) struct Fleet {
    servers: BTreeMap<String, Server>,
    endpoints: ManualHandle,
}

struct Server {
    server: EchoServer,
    speed: Duration,
}

impl Fleet {
    /// Starts the first servers and lists them.
    pub(crate) async fn start(endpoints: ManualHandle) -> Result<Self, Failure> {
        let mut fleet = Self { servers: BTreeMap::new(), endpoints };
        for (name, millis) in AT_FIRST {
            fleet.add(name, Duration::from_millis(millis)).await?;
        }
        Ok(fleet)
    }

    /// Starts a server that takes `speed` to answer, give or take a half, and lists it.
    pub(crate) async fn add(&mut self, name: &str, speed: Duration) -> Result<(), Failure> {
        let server = EchoServer::builder().name(name).latency(Latency::Uniform(speed / 2, speed * 3 / 2)).start().await?;
        self.endpoints.add(server.endpoint());
        self.servers.insert(name.to_owned(), Server { server, speed });
        Ok(())
    }

    /// A server by its name.
    pub(crate) fn server(&mut self, name: &str) -> Result<&mut EchoServer, Failure> {
        self.servers.get_mut(name).map(|server| &mut server.server).ok_or_else(|| format!("there is no server {name}").into())
    }

    /// What the channel calls it.
    pub(crate) fn key(&self, name: &str) -> Result<EndpointKey, Failure> {
        let server = self.servers.get(name).ok_or_else(|| format!("there is no server {name}"))?;
        Ok(server.server.endpoint().key().clone())
    }

    /// Name and speed of the server the channel calls so.
    pub(crate) fn describe(&self, key: &EndpointKey) -> Option<(&str, Duration)> {
        let mut servers = self.servers.iter();
        servers.find(|(_, server)| server.server.endpoint().key() == key).map(|(name, server)| (name.as_str(), server.speed))
    }
}
