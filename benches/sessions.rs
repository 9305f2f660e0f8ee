//! What a session costs a call: looking up, and ending; a new session with and without having to make room. In a table of 100 000.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::sessions::{SessionLimits, SessionRules, SessionTable, Settled, Sought, Standing};

const SESSIONS: usize = 100_000;

/// Ids as long as a UUID.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:08x}-0000-4000-8000-{:012x}", n * 7919)).collect()
}

fn filled(ids: &[String], now: Instant, max: usize) -> SessionTable {
    let limits = SessionLimits::try_new(Duration::from_secs(300), Duration::from_secs(1800), max).expect("valid limits");
    let mut table = SessionTable::new(limits, 7);
    for (n, id) in ids.iter().enumerate() {
        table.place(now, id, &format!("10.0.0.{}:50051", n % 100));
    }
    table
}

fn call(table: &mut SessionTable, now: Instant, id: &str) {
    let rules = SessionRules::default();
    match table.seek(now, id, &rules, |home| (Standing::Serving, home.len())) {
        Sought::Use { place, ticket } => {
            black_box(place);
            table.end(now, ticket);
        }
        Sought::Choose(choice) => {
            if let Settled::Placed { ticket, .. } = table.settle(now, id, &choice, "10.0.0.1:50051") {
                table.end(now, ticket);
            }
        }
        _ => {}
    }
}

fn sessions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    let now = Instant::now();
    for count in [1_000, SESSIONS] {
        let ids = ids(count);
        let mut table = filled(&ids, now, SESSIONS);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("known", count), |bencher| {
            bencher.iter(|| {
                // An odd step visits all ids in an order that caches cannot guess.
                next = (next + 7919) % ids.len();
                call(&mut table, now, &ids[next]);
            });
        });
    }
    let (known, new) = (ids(SESSIONS), ids(4 * SESSIONS).split_off(SESSIONS));
    let mut table = filled(&known, now, SESSIONS);
    let mut next = 0;
    group.bench_function(BenchmarkId::new("new in place of another", SESSIONS), |bencher| {
        bencher.iter(|| {
            next = (next + 1) % new.len();
            call(&mut table, now, &new[next]);
        });
    });
    group.finish();
}

criterion_group!(benches, sessions);
criterion_main!(benches);
