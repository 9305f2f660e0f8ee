//! The record of a streamed request, which several attempts can read.
//!
//! What is taken from the caller's stream is kept until the call is committed, as far as the limits of call and channel allow. A
//! retry supersedes the reader before it and begins at the first byte; hedges read the same record side by side, each at its own
//! place, and whoever is furthest takes the next piece from the stream. Once too much was sent to be kept, the call stays with the
//! attempt that has sent most.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use smallvec::SmallVec;
use tonic::Status;
use tonic::body::Body;

use super::message_size::MessageSize;
use super::request_body::poll_data;
use crate::error::CallError;
use crate::repeats::Allowance;

/// A stream and the record of what was taken from it.
#[derive(Debug)]
pub(crate) struct Replay(Mutex<Record>);

#[derive(Debug)]
struct Record {
    source: Body,
    limit: Option<MessageSize>,
    ended: bool,
    /// How the caller's stream failed; then no attempt can send all of it.
    failed: Option<Status>,
    /// What was taken, from position `start` on.
    kept: VecDeque<Bytes>,
    start: usize,
    /// Bytes in `kept` that the budget has given.
    counted: usize,
    /// Whether what is taken is kept; once off never on again.
    keeping: bool,
    allowance: Allowance,
    epoch: u32,
    /// Who may read. Attempts that are over, or superseded, are not among them.
    readers: SmallVec<[Place; 1]>,
    /// Who waits for the stream, if there may be several readers.
    crowd: Option<Arc<Crowd>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    epoch: u32,
    position: usize,
}

/// One attempt's view of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    replay: Arc<Replay>,
    epoch: u32,
}

impl Replay {
    /// A record that begins with these pieces, already taken from `source`.
    pub(super) fn new(
        source: Body,
        limit: Option<MessageSize>,
        first: VecDeque<Bytes>,
        ended: bool,
        allowance: Allowance,
    ) -> Arc<Self> {
        let mut record = Record {
            source,
            limit,
            ended,
            failed: None,
            kept: VecDeque::new(),
            start: 0,
            counted: 0,
            keeping: true,
            allowance,
            epoch: 0,
            readers: SmallVec::new(),
            crowd: None,
        };
        record.keeping = first.iter().all(|bytes| record.count(bytes));
        record.kept = first;
        Arc::new(Self(Mutex::new(record)))
    }

    fn locked<R>(&self, work: impl FnOnce(&mut Record) -> R) -> R {
        // A panic in the caller's stream poisons the lock; the record itself is whole between any two statements that touch it.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The reader of a further attempt, in place of the one before; `None` if what was sent is no longer there.
    pub(super) fn reader(self: &Arc<Self>) -> Option<Reader> {
        self.add(|record| record.readers.clear())
    }

    /// The reader of a further attempt, beside the others.
    pub(super) fn further_reader(self: &Arc<Self>) -> Option<Reader> {
        self.add(|record| {
            record.crowd.get_or_insert_default();
        })
    }

    fn add(self: &Arc<Self>, prepare: impl FnOnce(&mut Record)) -> Option<Reader> {
        let epoch = self.locked(|record| {
            if !record.is_whole() || (!record.keeping && record.epoch > 0 && record.crowd.is_some()) {
                return None;
            }
            prepare(record);
            record.epoch += 1;
            record.readers.push(Place { epoch: record.epoch, position: 0 });
            Some(record.epoch)
        })?;
        Some(Reader { replay: Arc::clone(self), epoch })
    }

    /// Limits the size of messages from now on, and of those taken already.
    pub(super) fn limit(&self, mut sizes: MessageSize) -> Result<(), CallError> {
        self.locked(|record| {
            record.kept.iter().try_for_each(|bytes| sizes.check(bytes))?;
            record.limit = Some(sizes);
            Ok(())
        })
    }

    /// Whether another attempt could send everything.
    pub(super) fn is_whole(&self) -> bool {
        self.locked(|record| record.is_whole())
    }

    /// Whether this attempt may not read any more.
    pub(super) fn is_superseded(&self, epoch: u32) -> bool {
        self.locked(|record| record.readers.iter().all(|place| place.epoch != epoch))
    }

    /// Keeps nothing any more, for there will be no other attempt than this one, or those there are.
    pub(super) fn commit(&self, epoch: Option<u32>) {
        let crowd = self.locked(|record| {
            record.commit(epoch);
            record.crowd.clone()
        });
        crowd.iter().for_each(|crowd| crowd.wake_all());
    }
}

impl Record {
    fn is_whole(&self) -> bool {
        self.start == 0 && self.failed.is_none()
    }

    fn poll(&mut self, epoch: u32, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let Some(place) = self.readers.iter().position(|place| place.epoch == epoch) else {
            return Poll::Ready(Some(Err(Status::cancelled("superseded by another attempt"))));
        };
        if let Some(bytes) = self.kept.get(self.readers[place].position - self.start) {
            let bytes = bytes.clone();
            self.readers[place].position += 1;
            self.release();
            return Poll::Ready(Some(Ok(bytes)));
        }
        if let Some(status) = &self.failed {
            return Poll::Ready(Some(Err(status.clone())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.poll_source(cx)) {
            Some(Ok(bytes)) => {
                self.readers[place].position += 1;
                self.keep(epoch, &bytes);
                Some(Ok(bytes))
            }
            Some(Err(status)) => {
                self.failed = Some(status.clone());
                Some(Err(status))
            }
            None => {
                self.ended = true;
                None
            }
        })
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let next = match &self.crowd {
            Some(crowd) => {
                crowd.join(cx.waker());
                let waker = Waker::from(Arc::clone(crowd));
                ready!(poll_data(&mut self.source, &mut Context::from_waker(&waker)))
            }
            None => ready!(poll_data(&mut self.source, cx)),
        };
        let checked = |bytes: Bytes| match &mut self.limit {
            Some(limit) => limit.check(&bytes).map(|()| bytes).map_err(Status::from),
            None => Ok(bytes),
        };
        Poll::Ready(next.map(|result| result.and_then(checked)))
    }

    fn keep(&mut self, epoch: u32, bytes: &Bytes) {
        if self.keeping && self.count(bytes) {
            self.kept.push_back(bytes.clone());
            return;
        }
        if self.keeping {
            self.commit(Some(epoch));
        }
        // The only reader there is stands at the end, behind a piece that was not kept.
        self.start += 1;
    }

    /// Whether these bytes may be kept as well.
    fn count(&mut self, bytes: &Bytes) -> bool {
        let counts = self.counted + bytes.len() <= self.allowance.per_call && self.allowance.budget.take(bytes.len());
        self.counted += if counts { bytes.len() } else { 0 };
        counts
    }

    fn commit(&mut self, epoch: Option<u32>) {
        self.readers.retain(|place| epoch.is_none_or(|epoch| place.epoch == epoch));
        self.keeping = false;
        self.allowance.budget.give_back(std::mem::take(&mut self.counted));
        self.release();
    }

    /// Drops what the only reader has read, if nobody else will.
    fn release(&mut self) {
        if self.keeping {
            return;
        }
        let read = self.readers.iter().map(|place| place.position).min().unwrap_or(usize::MAX);
        while self.start < read && self.kept.pop_front().is_some() {
            self.start += 1;
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.allowance.budget.give_back(self.counted);
    }
}

impl Reader {
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let (next, crowd) = self.replay.locked(|record| (record.poll(self.epoch, cx), record.crowd.clone()));
        let next = ready!(next);
        // There is something new to read, or nothing any more for some.
        crowd.iter().for_each(|crowd| crowd.wake_all());
        Poll::Ready(next)
    }
}

/// Those who wait for the same stream, which itself remembers only one of them.
#[derive(Debug, Default)]
struct Crowd(Mutex<Vec<Waker>>);

impl Crowd {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, waker: &Waker) {
        let mut wakers = self.lock();
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Crowd {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests;
