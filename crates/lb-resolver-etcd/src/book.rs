//! What is known of the keys, and as of when.
//!
//! Two revisions are kept: the one to resume a watch from, and the one of the last list. A watch may tell of changes that a list has
//! already brought (when the list was taken while the watch ran); these are skipped.

use std::collections::HashSet;

use lb_core::EndpointKey;

use crate::failure::Cause;
use crate::failure::Failure;
use crate::rpc::Rpc;
use crate::set::Limits;
use crate::set::Set;
use crate::target::Range;
use crate::wire::DELETE;
use crate::wire::KeyValue;
use crate::wire::ResponseHeader;
use crate::wire::WatchResponse;

/// Keys of one answer; with values of the usual size an answer has 200 kB.
const PAGE: i64 = 500;

/// The keys below a name and where we are in their history.
#[derive(Debug)]
pub(crate) struct Book {
    range: Range,
    limits: Limits,
    page: i64,
    /// `None` before the first list.
    set: Option<Set>,
    cluster_id: u64,
    /// Everything up to here is known.
    revision: i64,
    listed: i64,
    /// Whether some parts of a change are known and others are yet to come.
    partial: bool,
}

/// etcd has another history than the one that was known.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) message: String,
    /// What was there before.
    pub(crate) endpoints: HashSet<EndpointKey>,
}

impl Book {
    pub(crate) fn new(range: Range, limits: Limits) -> Self {
        Self { range, limits, page: PAGE, set: None, cluster_id: 0, revision: 0, listed: 0, partial: false }
    }

    pub(crate) fn range(&self) -> &Range {
        &self.range
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// The set, if there is one and it is whole.
    pub(crate) fn set(&self) -> Option<&Set> {
        self.set.as_ref().filter(|_| !self.partial)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_none()
    }

    /// Whether a member with this header may have another history, or is merely behind.
    pub(crate) fn doubts(&self, header: &ResponseHeader) -> bool {
        header.revision < self.revision || header.cluster_id != self.cluster_id
    }

    /// Replaces everything by what is there now. A failure changes nothing.
    pub(crate) async fn list(&mut self, rpc: &Rpc) -> Result<Option<Lost>, Failure> {
        let (set, header) = self.pages(rpc).await?;
        let lost = self.set.as_ref().filter(|_| self.doubts(&header)).map(|known| Lost {
            message: format!("etcd lost its data: it is at revision {} and was at {}", header.revision, self.revision),
            endpoints: known.keys(),
        });
        self.set = Some(set);
        (self.cluster_id, self.revision, self.listed, self.partial) = (header.cluster_id, header.revision, header.revision, false);
        Ok(lost)
    }

    /// Page by page, all as of the revision of the first.
    async fn pages(&mut self, rpc: &Rpc) -> Result<(Set, ResponseHeader), Failure> {
        let mut set = Set::new(self.limits);
        let mut start = self.range.start.clone().into_bytes();
        let mut header: Option<ResponseHeader> = None;
        loop {
            let revision = header.as_ref().map_or(0, |header| header.revision);
            let answer = match rpc.range(start.clone(), &self.range.end, self.page, revision).await {
                Err(failure) if failure.cause == Cause::TooLarge && self.page > 1 => {
                    self.page = (self.page / 4).max(1);
                    continue;
                }
                answer => answer?,
            };
            let header = header.get_or_insert_with(|| answer.header.unwrap_or_default());
            if header.revision <= 0 {
                return Err(Failure::new(Cause::Malformed, "range: the answer names no revision").at(rpc.member()));
            }
            let last = answer.kvs.last().map(|pair| pair.key.clone());
            answer.kvs.into_iter().try_for_each(|pair| set.put(pair, self.set.as_ref()))?;
            match last.filter(|_| answer.more) {
                None if answer.more => return Err(no_progress(rpc)),
                None => return Ok((set, header.clone())),
                Some(last) if last < start => return Err(no_progress(rpc)),
                Some(last) => start = [last, vec![0]].concat(),
            }
        }
    }

    /// Takes in what a watch told; whether anything changed. After a failure there is no whole set until the next list.
    pub(crate) fn apply(&mut self, answer: WatchResponse) -> Result<bool, Failure> {
        let (listed, fragment) = (self.listed, answer.fragment);
        let told = answer.header.map_or(0, |header| header.revision);
        let pairs = answer.events.into_iter().filter_map(|event| Some((event.kind, event.kv?)));
        let (mut last, mut changed) = (None, self.partial && !fragment);
        for (kind, pair) in pairs {
            last = Some(pair.mod_revision);
            if pair.mod_revision > listed {
                self.change(kind, pair).inspect_err(|_| self.partial = true)?;
                changed = true;
            }
        }
        self.partial = fragment;
        if !fragment && !answer.created {
            self.revision = self.revision.max(last.unwrap_or(told));
        }
        Ok(changed && !fragment)
    }

    fn change(&mut self, kind: i32, pair: KeyValue) -> Result<(), Failure> {
        let Some(set) = &mut self.set else { return Ok(()) };
        if kind == DELETE {
            set.delete(&pair.key);
            return Ok(());
        }
        set.put(pair, None)
    }
}

fn no_progress(rpc: &Rpc) -> Failure {
    Failure::new(Cause::Malformed, "range: there is more, but it does not go on").at(rpc.member())
}

#[cfg(test)]
mod tests {
    use lb_core::ResolverUpdate;

    use super::*;
    use crate::config::EtcdConfig;
    use crate::wire::Event;

    fn book() -> Book {
        let limits = Limits::of(&EtcdConfig::new());
        let mut book = Book::new(Range::below("a"), limits);
        book.set = Some(Set::new(limits));
        (book.revision, book.listed) = (10, 10);
        book
    }

    fn event(kind: i32, key: &str, value: &str, mod_revision: i64) -> Event {
        Event { kind, kv: Some(KeyValue { key: key.into(), value: value.into(), mod_revision }) }
    }

    fn answer(revision: i64, fragment: bool, events: &[Event]) -> WatchResponse {
        let header = Some(ResponseHeader { cluster_id: 0, revision });
        WatchResponse { header, fragment, events: events.to_vec(), ..WatchResponse::default() }
    }

    fn update(book: &Book) -> ResolverUpdate {
        book.set().unwrap().update("a/").unwrap()
    }

    #[test]
    fn the_revision_to_resume_from_is_that_of_the_last_event_or_of_a_progress_notice() {
        let mut book = book();
        assert!(book.apply(answer(13, false, &[event(0, "a/1", "a:1", 12)])).unwrap());
        assert_eq!((book.revision(), update(&book).endpoints.len()), (12, 1));
        assert!(!book.apply(answer(20, false, &[])).unwrap());
        assert_eq!(book.revision(), 20);
        let created = WatchResponse { created: true, ..answer(30, false, &[]) };
        assert!(!book.apply(created).unwrap());
        assert_eq!(book.revision(), 20);
    }

    #[test]
    fn what_a_list_has_brought_already_is_skipped() {
        let mut book = book();
        assert!(!book.apply(answer(10, false, &[event(0, "a/1", "a:1", 9), event(DELETE, "a/2", "", 10)])).unwrap());
        assert_eq!((book.revision(), update(&book).endpoints.len()), (10, 0));
    }

    #[test]
    fn a_change_in_parts_is_told_when_it_is_whole() {
        let mut book = book();
        assert!(!book.apply(answer(11, true, &[event(0, "a/1", "a:1", 11)])).unwrap());
        assert!(book.set().is_none());
        assert_eq!(book.revision(), 10, "a break here begins with the first part again");
        assert!(book.apply(answer(11, false, &[event(0, "a/2", "b:1", 11)])).unwrap());
        assert_eq!((book.revision(), update(&book).endpoints.len()), (11, 2));
    }

    #[test]
    fn a_set_that_has_outgrown_its_bounds_is_not_shown() {
        let mut book = book();
        book.set = Some(Set::new(Limits::of(&EtcdConfig::new().with_max_endpoints(1))));
        let events = [event(0, "a/1", "a:1", 11), event(0, "a/2", "b:1", 12)];
        assert!(book.apply(answer(12, false, &events)).is_err());
        assert!(book.set().is_none());
        assert_eq!(book.revision(), 10);
    }

    #[test]
    fn another_cluster_or_an_older_revision_is_doubted() {
        let book = book();
        assert!(!book.doubts(&ResponseHeader { cluster_id: 0, revision: 10 }));
        assert!(book.doubts(&ResponseHeader { cluster_id: 0, revision: 9 }));
        assert!(book.doubts(&ResponseHeader { cluster_id: 1, revision: 99 }));
    }
}
