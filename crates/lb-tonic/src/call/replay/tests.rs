use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

/// A stream that the test feeds, or fails, and its record.
fn fed(per_call: usize) -> (mpsc::UnboundedSender<Result<Bytes, Status>>, Arc<Replay>) {
    let (sender, receiver) = mpsc::unbounded_channel::<Result<Bytes, Status>>();
    let pieces = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let body = Body::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))));
    (sender, Replay::new(body, None, VecDeque::new(), false, Allowance::new(per_call, per_call)))
}

fn piece(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 10])
}

/// The first byte of each piece there is now; a failure is 255.
fn read(reader: &Reader, waker: &Waker) -> Vec<u8> {
    let mut read = Vec::new();
    while let Poll::Ready(Some(next)) = reader.poll(&mut Context::from_waker(waker)) {
        let Ok(bytes) = next else {
            read.push(255);
            break;
        };
        read.push(bytes[0]);
    }
    read
}

fn read_now(reader: &Reader) -> Vec<u8> {
    read(reader, Waker::noop())
}

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn hedges_read_side_by_side_and_all_hear_of_what_is_new() {
    let (sender, replay) = fed(1000);
    let (one, two) = (replay.further_reader().unwrap(), replay.further_reader().unwrap());
    let (first, second) = (Arc::<Count>::default(), Arc::<Count>::default());
    assert!(read(&one, &Arc::clone(&first).into()).is_empty() && read(&two, &Arc::clone(&second).into()).is_empty());
    sender.send(Ok(piece(1))).unwrap();
    let woken = |count: &Count| count.0.load(Ordering::Relaxed) > 0;
    assert!(woken(&first) && woken(&second), "whoever polled the stream last");
    assert_eq!((read_now(&two), read_now(&one)), (vec![1], vec![1]));
    let late = replay.further_reader().unwrap();
    sender.send(Ok(piece(2))).unwrap();
    assert_eq!((read_now(&late), read_now(&one)), (vec![1, 2], vec![2]));
}

#[test]
fn the_winner_goes_on_alone_from_where_it_is() {
    let (sender, replay) = fed(1000);
    let (one, two) = (replay.further_reader().unwrap(), replay.further_reader().unwrap());
    (1..4).for_each(|byte| sender.send(Ok(piece(byte))).unwrap());
    assert_eq!(read_now(&two), [1, 2, 3]);
    assert!(matches!(one.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Some(Ok(_)))));
    let waiting = Arc::<Count>::default();
    assert!(read(&two, &Arc::clone(&waiting).into()).is_empty());
    replay.commit(Some(one.epoch()));
    assert!(waiting.0.load(Ordering::Relaxed) > 0, "a loser that waits is told");
    assert_eq!(read_now(&two), [255]);
    assert!(replay.is_superseded(two.epoch()) && !replay.is_superseded(one.epoch()));
    sender.send(Ok(piece(4))).unwrap();
    assert_eq!(read_now(&one), [2, 3, 4]);
    assert!(replay.further_reader().is_none());
}

#[test]
fn over_the_limit_the_call_stays_with_the_one_that_has_sent_most() {
    let (sender, replay) = fed(20);
    let (one, two) = (replay.further_reader().unwrap(), replay.further_reader().unwrap());
    (1..3).for_each(|byte| sender.send(Ok(piece(byte))).unwrap());
    assert_eq!((read_now(&one), read_now(&two).len()), (vec![1, 2], 2));
    (3..5).for_each(|byte| sender.send(Ok(piece(byte))).unwrap());
    assert_eq!((read_now(&two), read_now(&one)), (vec![3, 4], vec![255]));
    assert!(replay.further_reader().is_none() && !replay.is_whole());
}

#[test]
fn a_stream_that_failed_fails_every_reader_and_is_not_sent_again() {
    let (sender, replay) = fed(1000);
    let (one, two) = (replay.further_reader().unwrap(), replay.further_reader().unwrap());
    sender.send(Ok(piece(1))).unwrap();
    sender.send(Err(Status::internal("the caller's own"))).unwrap();
    assert_eq!((read_now(&one), read_now(&two)), (vec![1, 255], vec![1, 255]));
    assert!(!replay.is_whole() && replay.reader().is_none(), "half a stream must not pass for a whole one");
}

#[test]
fn a_retry_supersedes_the_reader_before() {
    let (sender, replay) = fed(1000);
    let one = replay.reader().unwrap();
    sender.send(Ok(piece(1))).unwrap();
    assert_eq!(read_now(&one), [1]);
    let two = replay.reader().unwrap();
    sender.send(Ok(piece(2))).unwrap();
    assert_eq!((read_now(&one), read_now(&two)), (vec![255], vec![1, 2]));
}

proptest! {
    /// Whatever the order, every reader that is not superseded reads exactly the stream, and the budget is given back.
    #[test]
    fn every_reader_reads_the_stream(steps in prop::collection::vec((0..4_u8, 0..3_usize), 1..80), per_call in 0..200_usize) {
        let (sender, replay) = fed(per_call);
        let budget = replay.locked(|record| Arc::clone(&record.allowance.budget));
        let (mut sent, mut readers) = (0_u8, Vec::<(Reader, Vec<u8>)>::new());
        for (what, which) in steps {
            match what {
                0 => {
                    sent += 1;
                    sender.send(Ok(piece(sent))).unwrap();
                }
                1 => readers.extend(replay.further_reader().map(|reader| (reader, Vec::new()))),
                2 if which == 0 && !readers.is_empty() => {
                    let epoch = readers[0].0.epoch();
                    if !replay.is_superseded(epoch) {
                        replay.commit(Some(epoch));
                    }
                }
                _ => {
                    if let Some((reader, seen)) = readers.get_mut(which) {
                        seen.extend(read_now(reader));
                    }
                }
            }
        }
        for (reader, mut seen) in readers {
            let superseded = replay.is_superseded(reader.epoch());
            seen.extend(read_now(&reader));
            seen.retain(|byte| *byte != 255);
            let expected: Vec<u8> = (1..=sent).collect();
            if superseded { prop_assert!(expected.starts_with(&seen)) } else { prop_assert_eq!(seen, expected) }
        }
        drop(replay);
        prop_assert_eq!(budget.used(), 0);
    }
}
