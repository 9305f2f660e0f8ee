//! A service config that is kept beside the endpoints: two watches, one stream of updates.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::resolver::{ResolveError, ResolverStream, ResolverUpdate, ServiceConfigUpdate};

/// What is known of a config, as it changes.
pub type ServiceConfigStream = Pin<Box<dyn Stream<Item = ServiceConfigUpdate> + Send>>;

/// The updates of one stream with the configs of another.
///
/// The first update waits for the first config, so that no call goes by a config that is not the service's; whoever reads configs must
/// therefore say soon that it cannot, with [`Broken`](ServiceConfigUpdate::Broken). After that either side's news is an update. While the endpoints cannot be
/// asked for, a new config waits too: to tell the old endpoints again would say that they can. Ends when both have.
pub struct ConfiguredStream {
    endpoints: Option<ResolverStream>,
    configs: Option<ServiceConfigStream>,
    update: Option<ResolverUpdate>,
    config: Option<ServiceConfigUpdate>,
    /// Whether the endpoints' last word was an error.
    failing: bool,
    /// Whether there is something to tell.
    news: bool,
}

impl ConfiguredStream {
    /// Endpoints from one stream, and their config from another, which counts in place of any the endpoints bring.
    pub fn new(endpoints: ResolverStream, configs: ServiceConfigStream) -> Self {
        let (endpoints, configs) = (Some(endpoints), Some(configs));
        Self { endpoints, configs, update: None, config: None, failing: false, news: false }
    }

    fn poll_configs(&mut self, cx: &mut Context<'_>) {
        while let Some(configs) = &mut self.configs {
            match configs.as_mut().poll_next(cx) {
                Poll::Ready(Some(config)) => {
                    self.news |= self.config.as_ref() != Some(&config);
                    self.config = Some(config);
                }
                Poll::Ready(None) => self.configs = None,
                Poll::Pending => return,
            }
        }
    }

    /// The endpoints' error, if that is what they say next.
    fn poll_endpoints(&mut self, cx: &mut Context<'_>) -> Option<ResolveError> {
        while let Some(endpoints) = &mut self.endpoints {
            match endpoints.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(update))) => {
                    (self.update, self.failing, self.news) = (Some(update), false, true);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failing = true;
                    return Some(error);
                }
                Poll::Ready(None) => self.endpoints = None,
                Poll::Pending => break,
            }
        }
        None
    }
}

impl Stream for ConfiguredStream {
    type Item = Result<ResolverUpdate, ResolveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_configs(cx);
        if let Some(error) = self.poll_endpoints(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let this = &mut *self;
        match (&this.update, &this.config) {
            (Some(update), Some(config)) if this.news && !this.failing => {
                this.news = false;
                Poll::Ready(Some(Ok(update.clone().with_service_config(config.clone()))))
            }
            _ if this.endpoints.is_none() && this.configs.is_none() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}

impl fmt::Debug for ConfiguredStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredStream").field("config", &self.config).field("failing", &self.failing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::resolver::ResolveErrorKind;

    type Told = Option<Option<Result<(usize, ServiceConfigUpdate), String>>>;

    struct Both {
        endpoints: Option<mpsc::Sender<Result<ResolverUpdate, ResolveError>>>,
        configs: Option<mpsc::Sender<ServiceConfigUpdate>>,
        stream: ConfiguredStream,
    }

    /// What is sent, and the end with the sender's. Nobody is woken: these tests poll.
    fn heard<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> Pin<Box<dyn Stream<Item = T> + Send>> {
        stream::poll_fn(move |_| match receiver.try_recv() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(mpsc::TryRecvError::Empty) => Poll::Pending,
            Err(mpsc::TryRecvError::Disconnected) => Poll::Ready(None),
        })
        .boxed()
    }

    impl Both {
        fn new() -> Self {
            let ((endpoints, ours), (configs, theirs)) = (mpsc::channel(), mpsc::channel());
            let stream = ConfiguredStream::new(heard(ours), heard(theirs));
            Self { endpoints: Some(endpoints), configs: Some(configs), stream }
        }

        fn resolved(&self, ports: u16) {
            let endpoint = |port| Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], port)));
            self.endpoints.as_ref().unwrap().send(Ok(ResolverUpdate::new((1..=ports).map(endpoint).collect()))).unwrap();
        }

        fn failed(&self) {
            self.endpoints.as_ref().unwrap().send(Err(ResolveError::new(ResolveErrorKind::Unavailable, "away"))).unwrap();
        }

        fn config(&self, text: &str) {
            self.configs.as_ref().unwrap().send(text.into()).unwrap();
        }

        /// What the stream says now: nothing yet, its end, or an item.
        fn told(&mut self) -> Told {
            let item = self.stream.next().now_or_never()?;
            Some(item.map(|item| match item {
                Ok(update) => Ok((update.endpoints.len(), update.service_config)),
                Err(error) => Err(error.to_string()),
            }))
        }
    }

    fn update(ports: usize, text: &str) -> Told {
        Some(Some(Ok((ports, text.into()))))
    }

    #[test]
    fn the_first_update_waits_for_both_and_then_either_is_news() {
        let mut both = Both::new();
        both.resolved(1);
        assert_eq!(both.told(), None);
        both.config("{}");
        assert_eq!((both.told(), both.told()), (update(1, "{}"), None));
        both.resolved(2);
        assert_eq!(both.told(), update(2, "{}"));
        both.config("{}");
        assert_eq!(both.told(), None, "the same again");
        both.config("nonsense");
        assert_eq!(both.told(), update(2, "nonsense"));
        both.config("{}");
        both.resolved(3);
        assert_eq!((both.told(), both.told()), (update(3, "{}"), None), "together");
    }

    #[test]
    fn errors_pass_at_once_and_hold_new_configs_back() {
        let mut both = Both::new();
        both.failed();
        assert!(matches!(both.told(), Some(Some(Err(error))) if error.contains("away")));
        both.resolved(1);
        both.config("{}");
        assert_eq!(both.told(), update(1, "{}"));
        both.failed();
        both.config("[]");
        assert!(matches!(both.told(), Some(Some(Err(_)))));
        assert_eq!(both.told(), None);
        both.resolved(1);
        assert_eq!(both.told(), update(1, "[]"));
    }

    #[test]
    fn it_ends_when_both_have() {
        let mut both = Both::new();
        both.resolved(1);
        both.endpoints = None;
        assert_eq!(both.told(), None);
        both.config("{}");
        assert_eq!(both.told(), update(1, "{}"));
        both.configs = None;
        assert_eq!(both.told(), Some(None));
    }
}
