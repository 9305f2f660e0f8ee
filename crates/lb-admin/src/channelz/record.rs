//! What is remembered of one channel: a number for each subchannel, and traces.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use lb_core::{EndpointKey, LbEvent, Observer, Severity};
use lb_tonic::{Subchannel, next_serial};

use super::ChannelzConfig;
use super::messages::ChannelTrace;
use super::trace::Trace;

/// The record of one channel.
#[derive(Debug)]
pub(super) struct Record {
    config: ChannelzConfig,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    channel: Trace,
    subchannels: HashMap<EndpointKey, Child>,
    /// The same by their numbers.
    keys: HashMap<u64, EndpointKey>,
}

#[derive(Debug)]
struct Child {
    serial: u64,
    trace: Trace,
}

impl Record {
    /// A record of a channel that was created then.
    pub(super) fn new(config: ChannelzConfig, created: SystemTime) -> Arc<Self> {
        let mut channel = Trace::new(created, config.channel_events);
        channel.push(created, Severity::Info, &"channel created", None);
        Arc::new(Self { config, known: Mutex::new(Known { channel, subchannels: HashMap::new(), keys: HashMap::new() }) })
    }

    /// Writes the events of the channel, as long as somebody else has the record.
    pub(super) fn observer(self: &Arc<Self>) -> Arc<dyn Observer> {
        Arc::new(Scribe(Arc::downgrade(self)))
    }

    /// Learns which subchannels there are, and gives their numbers in the same order.
    pub(super) fn numbers(&self, present: &[Subchannel]) -> Vec<u64> {
        let mut known = self.lock();
        let now = SystemTime::now();
        let numbers = present.iter().map(|subchannel| known.child(&subchannel.key, now, self.config).serial).collect();
        // What the channel has no more, its events may be about to say.
        if known.subchannels.len() > present.len() {
            let keys: HashSet<_> = present.iter().map(|subchannel| &subchannel.key).collect();
            let Known { subchannels, keys: by_number, .. } = &mut *known;
            subchannels.retain(|key, _| keys.contains(key));
            by_number.retain(|_, key| keys.contains(key));
        }
        numbers
    }

    /// Which endpoint has this number.
    pub(super) fn find(&self, serial: u64) -> Option<EndpointKey> {
        self.lock().keys.get(&serial).cloned()
    }

    /// The events of the channel.
    pub(super) fn trace(&self) -> ChannelTrace {
        self.lock().channel.message()
    }

    /// The events of an endpoint's subchannel.
    pub(super) fn trace_of(&self, key: &EndpointKey) -> Option<ChannelTrace> {
        self.lock().subchannels.get(key).map(|child| child.trace.message())
    }

    fn write(&self, event: &LbEvent, now: SystemTime) {
        let mut known = self.lock();
        match event {
            // So many, of so little interest, about persons.
            LbEvent::SessionMoved { .. } => {}
            LbEvent::EndpointAdded(key) => {
                let serial = known.child(key, now, self.config).serial;
                known.channel.push(now, event.severity(), &format_args!("subchannel created: {event}"), Some(serial));
            }
            LbEvent::EndpointRemoved(key) => {
                let serial = known.subchannels.remove(key).map(|child| child.serial);
                serial.iter().for_each(|serial| drop(known.keys.remove(serial)));
                known.channel.push(now, event.severity(), &format_args!("subchannel deleted: {event}"), serial);
            }
            event => match event.endpoint().and_then(|key| known.subchannels.get_mut(key)) {
                Some(child) => child.trace.push(now, event.severity(), event, None),
                None => known.channel.push(now, event.severity(), event, None),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn child(&mut self, key: &EndpointKey, now: SystemTime, config: ChannelzConfig) -> &mut Child {
        self.subchannels.entry(key.clone()).or_insert_with(|| {
            let mut trace = Trace::new(now, config.subchannel_events);
            trace.push(now, Severity::Info, &"subchannel created", None);
            let serial = next_serial();
            self.keys.insert(serial, key.clone());
            Child { serial, trace }
        })
    }
}

/// Hears a channel for its record. The channel keeps it, and it does not keep the record.
#[derive(Debug)]
struct Scribe(Weak<Record>);

impl Observer for Scribe {
    fn on_event(&self, event: &LbEvent) {
        if let Some(record) = self.0.upgrade() {
            record.write(event, SystemTime::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_core::ConnectivityState;

    use super::*;

    fn texts(trace: &ChannelTrace) -> Vec<&str> {
        trace.events.iter().map(|event| event.description.as_str()).collect()
    }

    #[test]
    fn events_go_where_they_belong() {
        let record = Record::new(ChannelzConfig::new(), SystemTime::now());
        let observer = record.observer();
        let key = EndpointKey::from("10.0.0.1:1");
        let state = |from, to| LbEvent::SubchannelState { endpoint: key.clone(), from, to, reason: None };
        observer.on_event(&LbEvent::EndpointAdded(key.clone()));
        observer.on_event(&state(ConnectivityState::Idle, ConnectivityState::Connecting));
        observer.on_event(&LbEvent::PolicyChanged { policy: "pick_first".into() });
        observer.on_event(&LbEvent::SessionMoved { session: 1, from: "a".into(), to: "b".into() });
        assert_eq!(
            texts(&record.trace()),
            ["channel created", "subchannel created: endpoint 10.0.0.1:1 added", "policy pick_first took over"]
        );
        let subchannel = record.trace_of(&key).unwrap();
        assert_eq!(texts(&subchannel), ["subchannel created", "endpoint 10.0.0.1:1 IDLE -> CONNECTING"]);
        let child = record.trace().events[1].subchannel_ref.clone().unwrap().subchannel_id;
        assert_eq!(record.find(child as u64), Some(key.clone()));
        observer.on_event(&LbEvent::EndpointRemoved(key.clone()));
        assert_eq!((record.find(child as u64), record.trace_of(&key)), (None, None));
        // What comes back is another subchannel.
        observer.on_event(&LbEvent::EndpointAdded(key.clone()));
        assert!(record.find(child as u64).is_none() && record.trace_of(&key).is_some());
    }

    #[test]
    fn an_observer_does_not_keep_the_record() {
        let record = Record::new(ChannelzConfig::new(), SystemTime::now());
        let (observer, weak) = (record.observer(), Arc::downgrade(&record));
        drop(record);
        assert!(weak.upgrade().is_none());
        observer.on_event(&LbEvent::ResolverRecovered);
    }

    #[test]
    fn endpoints_that_come_and_go_for_ever_leave_nothing() {
        let record = Record::new(ChannelzConfig::new(), SystemTime::now());
        let observer = record.observer();
        for number in 0..10_000 {
            let key = EndpointKey::from(format!("10.0.0.1:{number}"));
            observer.on_event(&LbEvent::EndpointAdded(key.clone()));
            observer.on_event(&LbEvent::EndpointRemoved(key));
        }
        let known = record.lock();
        assert!(known.subchannels.is_empty() && known.keys.is_empty());
        assert_eq!(known.channel.message().events.len(), ChannelzConfig::new().channel_events);
    }
}
