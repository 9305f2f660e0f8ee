//! Writes that are kept back, and sockets that take nothing.

use std::future::poll_fn;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::*;

fn pair() -> (Wire, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Wire::new(Socket::Unix(ours)), theirs)
}

async fn write(wire: &Wire, data: &[u8]) -> Poll<io::Result<usize>> {
    let mut wire = wire.clone();
    poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_write(cx, data))).await
}

async fn settle(wire: &Wire) -> Settled {
    poll_fn(|cx| Poll::Ready(wire.settle(cx))).await
}

#[tokio::test]
async fn small_writes_leave_together_when_settled() {
    let (wire, mut theirs) = pair();
    for i in 0..100 {
        assert!(matches!(write(&wire, &[i; 300]).await, Poll::Ready(Ok(300))));
    }
    let mut got = vec![0; 40_000];
    assert_eq!(theirs.try_read(&mut got).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(!settle(&wire).await.blocked);
    assert_eq!(theirs.read(&mut got).await.unwrap(), 30_000);
    assert_eq!(got[29_999], 99);
}

#[tokio::test]
async fn a_large_write_takes_what_was_kept_along_and_keeps_the_order() {
    let (wire, mut theirs) = pair();
    let _ = write(&wire, b"head").await;
    assert!(matches!(write(&wire, &[1; DIRECT]).await, Poll::Ready(Ok(DIRECT))));
    let mut got = vec![0; 20_000];
    assert_eq!(theirs.read(&mut got).await.unwrap(), 4 + DIRECT);
    assert_eq!(&got[..5], b"head\x01");
}

#[tokio::test]
async fn a_full_buffer_makes_the_writer_wait_until_there_is_room() {
    let (wire, mut theirs) = pair();
    let mut sent = 0;
    while let Poll::Ready(written) = write(&wire, &[7; 1_000]).await {
        sent += written.unwrap();
    }
    assert!(lock(&wire.state).out.len() <= CAPACITY);
    assert!(settle(&wire).await.blocked);
    let mut got = vec![0; sent];
    let room = poll_fn(|cx| if wire.settle(cx).room { Poll::Ready(()) } else { Poll::Pending });
    let (read, ()) = tokio::join!(theirs.read_exact(&mut got), room);
    assert_eq!(read.unwrap(), sent);
    assert!(got.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_socket_that_takes_nothing_any_more_is_reported() {
    let (wire, theirs) = pair();
    drop(theirs);
    let _ = write(&wire, b"x").await;
    assert!(settle(&wire).await.broken.is_some());
}

#[tokio::test]
async fn a_writer_whom_the_socket_refuses_waits_for_the_socket() {
    let (wire, mut theirs) = pair();
    let mut sent = 0;
    while let Poll::Ready(written) = write(&wire, &[7; DIRECT]).await {
        sent += written.unwrap();
    }
    // Nothing is kept back, so there is nothing to flush: that is no room.
    assert!(lock(&wire.state).out.is_empty());
    for _ in 0..2 {
        let settled = settle(&wire).await;
        assert!(settled.blocked && !settled.room);
    }
    let mut got = vec![0; sent];
    theirs.read_exact(&mut got).await.unwrap();
    let mut writer = wire.clone();
    poll_fn(|cx| Pin::new(&mut writer).poll_write(cx, &[7; DIRECT])).await.unwrap();
    let settled = settle(&wire).await;
    assert!(settled.room && !settled.blocked);
}
