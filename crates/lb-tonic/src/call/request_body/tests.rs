use std::task::Waker;

use http_body_util::BodyExt;
use http_body_util::StreamBody;

use super::*;

fn source(sizes: &[usize]) -> Body {
    let frames: Vec<Result<Frame<Bytes>, Status>> = sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![7; *size])))).collect();
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn read(body: &mut RequestBody, count: usize) -> Vec<usize> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut sizes = Vec::new();
    while sizes.len() < count {
        match Pin::new(&mut *body).frame().poll_unpin_now(&mut cx) {
            Some(frame) => sizes.push(frame),
            None => break,
        }
    }
    sizes
}

trait PollNow {
    fn poll_unpin_now(self, cx: &mut Context<'_>) -> Option<usize>;
}

impl<F: Future<Output = Option<Result<Frame<Bytes>, Status>>>> PollNow for F {
    fn poll_unpin_now(self, cx: &mut Context<'_>) -> Option<usize> {
        match std::pin::pin!(self).poll(cx) {
            Poll::Ready(Some(frame)) => Some(frame.unwrap().into_data().unwrap().len()),
            _ => None,
        }
    }
}

const LIMIT: usize = 256 * 1024;

fn stream(sizes: &[usize]) -> Content {
    allowed(sizes, &Allowance::new(LIMIT, 16 * LIMIT), true)
}

fn allowed(sizes: &[usize], allowance: &Allowance, limited: bool) -> Content {
    let mut beginning = Beginning::new(source(sizes));
    beginning.content(&mut Context::from_waker(Waker::noop()), allowance, limited).unwrap()
}

#[test]
fn one_piece_is_unary_and_two_are_a_stream() {
    assert!(matches!(stream(&[]), Content::Unary(None, None)));
    assert!(matches!(stream(&[3]), Content::Unary(Some(bytes), None) if bytes.len() == 3));
    assert!(matches!(stream(&[3, 4]), Content::Stream(_)));
}

#[test]
fn a_second_attempt_sends_the_same_again_and_then_the_rest() {
    let content = stream(&[5, 1, 2, 3]);
    let mut first = content.attempt().unwrap();
    assert_eq!(read(&mut first, 3), [5, 1, 2]);
    let mut second = content.attempt().unwrap();
    assert_eq!(read(&mut second, 9), [5, 1, 2, 3]);
}

#[test]
fn over_the_limit_there_is_no_second_attempt_and_nothing_is_lost() {
    let content = stream(&[1, 2, LIMIT, 10, 20]);
    let mut first = content.attempt().unwrap();
    assert_eq!(read(&mut first, 9), [1, 2, LIMIT, 10, 20]);
    assert!(content.attempt().is_none());
}

#[test]
fn a_committed_stream_keeps_nothing_and_cannot_be_sent_again() {
    let content = stream(&[5, 1, 2, 3]);
    let mut first = content.attempt().unwrap();
    assert_eq!(read(&mut first, 1), [5]);
    content.commit(None);
    assert_eq!(read(&mut first, 9), [1, 2, 3]);
    assert!(content.attempt().is_none());
}

#[test]
fn a_message_over_the_size_limit_fails_the_request() {
    let message = Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let body = Body::new(http_body_util::Full::new(message).map_err(|never| match never {}));
    let mut beginning = Beginning::new(body);
    beginning.limit(8);
    let mut cx = Context::from_waker(Waker::noop());
    let status = beginning.content(&mut cx, &Allowance::new(LIMIT, 16 * LIMIT), true).unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
}

#[test]
fn what_is_kept_is_counted_and_given_back() {
    let allowance = Allowance::new(10_000, 25_000);
    let used = || allowance.budget.used();
    let small = allowed(&[UNCOUNTED - 1], &allowance, true);
    assert_eq!(used(), 0, "small requests cost no counter");
    let (one, two) = (allowed(&[10_000], &allowance, true), allowed(&[6000, 4000, 1], &allowance, true));
    assert_eq!(used(), 20_000);
    let third = allowed(&[6000], &allowance, true);
    assert!(matches!(third, Content::Stream(_)), "over the channel's limit: the call that hits it is not kept");
    drop(read(&mut third.attempt().unwrap(), 2));
    assert!(!third.is_repeatable() && one.is_repeatable());
    two.commit(None);
    assert_eq!(used(), 10_000, "a committed call keeps nothing");
    drop((small, one, two, third));
    assert_eq!(used(), 0);
}

#[test]
fn without_a_policy_one_piece_is_kept_whatever_its_size() {
    let allowance = Allowance::new(10, 10);
    assert!(matches!(allowed(&[100_000], &allowance, false), Content::Unary(..)));
    let large = allowed(&[100_000], &allowance, true);
    // It may still go elsewhere as long as nothing of it was taken.
    assert!(large.is_repeatable() && large.attempt().is_some());
    assert_eq!(read(&mut large.attempt().unwrap(), 2), [100_000]);
    assert!(!large.is_repeatable() && large.attempt().is_none());
    assert!(matches!(allowed(&[11], &allowance, true), Content::Stream(_)), "the limit may be below what is not counted");
}
