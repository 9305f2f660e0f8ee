//! What a fault is, and all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lb_testkit::{Cut, Direction, Fault as Network};
use tonic::Code;

use crate::judge::{Expect, MayFail};
use crate::site::{CONNECT_TIMEOUT, KEEPALIVE_TIME, KEEPALIVE_TIMEOUT, LONGEST_BACKOFF, Place, Site};
use crate::support::until;

type Act = for<'a> fn(&'a mut Site) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Something that happens to the victim, and ends.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// Whether it is there before the channel is.
    pub(crate) from_the_start: bool,
    pub(crate) begin: Act,
    pub(crate) end: Act,
    pub(crate) expect: Expect,
}

/// The end of a connection is seen as soon as it arrives.
const AT_ONCE: Duration = Duration::ZERO;
/// Silence is noticed when keepalive says so.
const BY_KEEPALIVE: Duration = KEEPALIVE_TIME.saturating_add(KEEPALIVE_TIMEOUT);
/// An attempt that hangs has to end, and the pause with its jitter of a fifth, before the one that succeeds.
const RECONNECTED: Duration = CONNECT_TIMEOUT.saturating_add(LONGEST_BACKOFF).saturating_add(Duration::from_millis(100));

const LOSSLESS: Expect = Expect { may_fail: MayFail::Nobody, left_within: Some(AT_ONCE), back_within: Some(RECONNECTED) };
const LOSES_WHAT_IS_THERE: Expect = Expect { may_fail: MayFail::InProgress, ..LOSSLESS };
const STAYS: Expect = Expect { left_within: None, back_within: None, ..LOSSLESS };

/// The server leaves in good order, and then nobody listens.
pub(crate) const REFUSED: Fault = Fault {
    name: "connection refused",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            site.proxy.refuse().await.unwrap();
            site.server.goaway();
        })
    },
    end: |site| Box::pin(async { site.proxy.accept().await.unwrap() }),
    expect: LOSSLESS,
};

pub(crate) const KILLED: Fault = Fault {
    name: "SIGKILL",
    place: Place::Process,
    from_the_start: false,
    begin: |site| Box::pin(async { site.process().kill().await.unwrap() }),
    end: |site| Box::pin(async { site.process().restart().await.unwrap() }),
    expect: LOSES_WHAT_IS_THERE,
};

pub(crate) const STOPPED: Fault = Fault {
    name: "SIGSTOP",
    place: Place::Process,
    from_the_start: false,
    begin: |site| Box::pin(async { site.process().freeze().await.unwrap() }),
    end: |site| Box::pin(async { site.process().thaw().await.unwrap() }),
    expect: Expect { left_within: Some(BY_KEEPALIVE), ..LOSES_WHAT_IS_THERE },
};

/// Connecting to it is accepted, and then nothing is heard.
pub(crate) const BLACK_HOLE_BEFORE: Fault = Fault {
    name: "black hole from the start",
    place: Place::Proxied,
    from_the_start: true,
    begin: |site| Box::pin(async { site.proxy.set(Network::BlackHole) }),
    end: |site| Box::pin(async { site.proxy.set(Network::Pass) }),
    expect: Expect { left_within: None, ..LOSSLESS },
};

pub(crate) const BLACK_HOLE: Fault = Fault {
    name: "black hole in mid-connection",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| Box::pin(async { site.proxy.set(Network::BlackHole) }),
    end: |site| Box::pin(async { site.proxy.set(Network::Pass) }),
    expect: Expect { left_within: Some(BY_KEEPALIVE), ..LOSES_WHAT_IS_THERE },
};

/// Nothing is delivered, and nothing acknowledged.
pub(crate) const CABLE_PULLED: Fault = Fault {
    name: "cable pulled in mid-connection",
    place: Place::Apart,
    from_the_start: false,
    begin: |site| Box::pin(async { site.cable().pull().unwrap() }),
    end: |site| Box::pin(async { site.cable().plug().unwrap() }),
    expect: Expect { left_within: Some(BY_KEEPALIVE), ..LOSES_WHAT_IS_THERE },
};

pub(crate) const CABLE_PULLED_BEFORE: Fault = Fault {
    name: "cable pulled from the start",
    from_the_start: true,
    expect: Expect { left_within: None, ..LOSSLESS },
    ..CABLE_PULLED
};

pub(crate) const RESET: Fault = Fault {
    name: "RST in mid-call",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            until("a call is at the victim", || site.server.active() > 0).await;
            site.proxy.cut(Cut::Rst);
        })
    },
    end: |_| Box::pin(async {}),
    expect: LOSES_WHAT_IS_THERE,
};

pub(crate) const GOAWAY: Fault = Fault {
    name: "GOAWAY in mid-burst",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            for _ in 0..5 {
                until("a call is at the victim", || site.server.active() > 0).await;
                site.server.goaway();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    },
    end: |_| Box::pin(async {}),
    expect: LOSSLESS,
};

/// A connection is taken up to 300 ms after it was made.
pub(crate) const SLOW_ACCEPT: Fault = Fault {
    name: "slow accept (300 ms)",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            site.proxy.set_new(Network::BlackHole);
            let proxy = Arc::clone(&site.proxy);
            site.beside(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    proxy.set_existing(Network::Pass);
                }
            });
            site.server.goaway();
        })
    },
    end: |site| {
        Box::pin(async {
            site.calm().await;
            site.proxy.set(Network::Pass);
        })
    },
    expect: LOSSLESS,
};

pub(crate) const SLOW_DRIP: Fault = Fault {
    name: "slow drip (4 bytes per ms)",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| Box::pin(async { site.proxy.set(Network::Drip { bytes: 4, every: Duration::from_millis(1) }) }),
    end: |site| Box::pin(async { site.proxy.set(Network::Pass) }),
    expect: STAYS,
};

/// The server hears the client and works; the client hears nothing.
pub(crate) const HALF_OPEN: Fault = Fault {
    name: "half-open",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| Box::pin(async { site.proxy.set(Network::HalfOpen(Direction::ToClient)) }),
    end: |site| Box::pin(async { site.proxy.set(Network::Pass) }),
    expect: Expect { left_within: Some(BY_KEEPALIVE), ..LOSES_WHAT_IS_THERE },
};

pub(crate) const ONE_STREAM: Fault = Fault {
    name: "stream limit 1",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            let narrow = site.another().max_concurrent_streams(1).start().await.unwrap();
            site.replace(narrow);
        })
    },
    end: |site| Box::pin(async { site.put_back() }),
    expect: STAYS,
};

pub(crate) const ERRORS: Fault = Fault {
    name: "errors at once",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            let failing = site.another().start().await.unwrap();
            failing.fail(Code::Unavailable);
            site.replace(failing);
        })
    },
    end: |site| Box::pin(async { site.put_back() }),
    expect: Expect { may_fail: MayFail::Answered, ..STAYS },
};

pub(crate) const GARBAGE: Fault = Fault {
    name: "garbage for HTTP/2",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| Box::pin(async { site.proxy.set(Network::Garble(Direction::ToClient)) }),
    end: |site| Box::pin(async { site.proxy.set(Network::Pass) }),
    expect: Expect { left_within: Some(BY_KEEPALIVE), ..LOSES_WHAT_IS_THERE },
};

/// A connection lives a tenth of a second.
pub(crate) const FLAPPING: Fault = Fault {
    name: "flapping every 100 ms",
    place: Place::Proxied,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            let (proxy, losses) = (Arc::clone(&site.proxy), Arc::clone(&site.losses));
            site.beside(async move {
                loop {
                    losses.fetch_add(1, Ordering::Relaxed);
                    proxy.cut(Cut::Rst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        })
    },
    end: |site| Box::pin(async { site.calm().await }),
    expect: Expect { may_fail: MayFail::InProgressEachTime, ..LOSSLESS },
};

#[cfg(feature = "tls-ring")]
pub(crate) const TLS_EXPIRED: Fault = Fault {
    name: "TLS certificate expired",
    place: Place::Tls,
    from_the_start: false,
    begin: |site| {
        Box::pin(async {
            let expired = site.certificates().expired(site.another()).start().await.unwrap();
            site.replace(expired);
        })
    },
    end: |site| Box::pin(async { site.put_back() }),
    expect: LOSSLESS,
};

#[cfg(feature = "tls-ring")]
pub(crate) const TLS_WRONG_NAME: Fault = Fault {
    name: "TLS certificate of another name",
    begin: |site| {
        Box::pin(async {
            let other = site.certificates().of_another(site.another()).start().await.unwrap();
            site.replace(other);
        })
    },
    ..TLS_EXPIRED
};

/// The name server answers no more; the last good set stays.
#[cfg(feature = "dns")]
pub(crate) const DNS_GONE: Fault = Fault {
    name: "DNS gone",
    place: Place::Dns,
    from_the_start: false,
    begin: |site| Box::pin(async { site.names().pause().unwrap() }),
    end: |site| Box::pin(async { site.names().resume().unwrap() }),
    // Asked every second, given up after one more.
    expect: Expect { left_within: Some(Duration::from_secs(2)), back_within: Some(Duration::from_secs(2)), ..LOSSLESS },
};
