//! The e2e benchmark's command line, matrix and goals. The program itself is `benches/e2e`; its calls are measured, not tested.
#![cfg(all(feature = "prometheus", feature = "tls-ring"))]

#[path = "../benches/e2e/cell.rs"]
mod cell;
#[path = "../benches/e2e/goals.rs"]
#[allow(dead_code, reason = "some of it is for the report")]
mod goals;
#[path = "../benches/e2e/options.rs"]
#[allow(dead_code, reason = "some of it is for the report")]
mod options;
#[path = "../benches/e2e/subject.rs"]
#[allow(dead_code, reason = "some of it is for the report")]
mod subject;

use std::collections::BTreeSet;
use std::time::Duration;

use lb_bench::peer::{CallKind, PeerKind};
use lb_bench::{BenchError, Options, Placement};

use crate::cell::{Cell, Group, ServerKind};
use crate::goals::{Bound, GOALS};
use crate::options::{Plan, Task};
use crate::subject::Subject;

fn task(line: &str) -> Result<Task, BenchError> {
    Task::parse(Options::parse(line.split_whitespace().map(str::to_owned))?)
}

fn plan(line: &str) -> Plan {
    match task(line) {
        Ok(Task::Measure(plan)) => plan,
        other => panic!("{line}: {other:?}"),
    }
}

/// The argument that is to blame.
fn blamed(line: &str) -> String {
    match task(line) {
        Err(BenchError::Argument { argument, reason }) => {
            assert!(!reason.is_empty());
            argument
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_cells_name_says_all_of_it() {
    let cell = Cell { tls: true, payload: 10_000, placement: Placement::Two, ..Cell::base(ServerKind::Tonic, 64) };
    assert_eq!(cell.to_string(), "tonic/two/unary/10KB/4ep/tls/c64");
    let stream: Cell = "light/same/stream/1KiB/2ep/plain/c1/extras".parse().unwrap();
    assert_eq!((stream.call, stream.payload, stream.endpoints, stream.group), (CallKind::Stream, 1024, 2, Group::Extras));
    let cells = Cell::usual().into_iter().chain(Cell::few()).chain([cell, stream]);
    for cell in cells {
        assert_eq!(cell.to_string().parse::<Cell>().unwrap(), cell);
    }
}

#[test]
fn a_wrong_part_of_a_cell_is_named() {
    for (text, part) in [
        ("tonic/split/unary", "tonic/split/unary"),
        ("heavy/split/unary/100B/4ep/plain/c16", "heavy"),
        ("tonic/both/unary/100B/4ep/plain/c16", "both"),
        ("tonic/split/duplex/100B/4ep/plain/c16", "duplex"),
        ("tonic/split/unary/100/4ep/plain/c16", "100"),
        ("tonic/split/unary/100GB/4ep/plain/c16", "100GB"),
        ("tonic/split/unary/99999999999999999999MB/4ep/plain/c16", "99999999999999999999MB"),
        ("tonic/split/unary/5MB/4ep/plain/c16", "5MB"),
        ("tonic/split/unary/100B/5ep/plain/c16", "5ep"),
        ("tonic/split/unary/100B/0ep/plain/c16", "0ep"),
        ("tonic/split/unary/100B/4ep/mtls/c16", "mtls"),
        ("tonic/split/unary/100B/4ep/plain/c0", "c0"),
        ("tonic/split/unary/100B/4ep/plain/16", "16"),
        ("tonic/split/unary/100B/4ep/plain/c16/extra", "tonic/split/unary/100B/4ep/plain/c16/extra"),
        ("light/split/unary/100B/4ep/tls/c16", "light/split/unary/100B/4ep/tls/c16"),
    ] {
        assert_eq!(blamed(&format!("--cell {text}")), part);
    }
}

#[test]
fn the_usual_cells_are_all_different_and_cover_every_value_of_every_axis() {
    let names: BTreeSet<String> = Cell::usual().iter().map(Cell::to_string).collect();
    assert_eq!(names.len(), Cell::usual().len());
    let parts: BTreeSet<&str> = names.iter().flat_map(|name| name.split('/')).collect();
    let servers = ["light", "tonic", "split", "same", "two", "unary", "stream"];
    for part in
        servers.into_iter().chain(["100B", "1KiB", "10KB", "1MB", "1ep", "4ep", "plain", "tls", "c1", "c16", "c128", "extras"])
    {
        assert!(parts.contains(part), "{part}");
    }
}

/// What a whole run takes, were everybody there: rounds, warm-up, and a second for connecting and counting in each cell.
#[test]
fn a_whole_run_is_planned_to_end_in_time() {
    let takes = |plan: &Plan| {
        let cell = |cell: &Cell| plan.round * (plan.rounds as u32 + 1) * plan.subjects(cell).len() as u32 + Duration::from_secs(1);
        plan.cells.iter().map(cell).sum::<Duration>()
    };
    let (whole, quick) = (takes(&plan("")), takes(&plan("--quick")));
    // The rest of twelve minutes is for counting instructions.
    assert!(whole < Duration::from_secs(10 * 60), "{whole:?}");
    assert!(quick < Duration::from_secs(60), "{quick:?}");
}

#[test]
fn cells_are_picked_by_their_parts_or_named() {
    let picked = plan("--only tonic,tls --only c16 --millis 20 --no-instructions");
    assert!(!picked.cells.is_empty());
    assert!(picked.cells.iter().all(|cell| cell.tls && cell.concurrency == 16), "{:?}", picked.cells);
    assert_eq!((picked.round, picked.rounds, picked.instructions), (Duration::from_millis(20), 9, false));
    let named = plan("--quick --rounds 5 --cell tonic/split/unary/1B/3ep/plain/c2 --cell light/two/stream/1MB/1ep/plain/c1");
    assert_eq!((named.cells.len(), named.cells[0].endpoints, named.rounds, named.instructions), (2, 3, 5, false));
    assert_eq!(blamed("--only light,tls"), "light,tls");
    assert_eq!(blamed("--only c16 --cell tonic/split/unary/1B/3ep/plain/c2"), "c16");
    for (line, argument) in [
        ("--only", "--only"),
        ("--cells x", "--cells"),
        ("round_robin", "round_robin"),
        ("--millis 0", "0"),
        ("--millis soon", "soon"),
    ] {
        assert_eq!(blamed(line), argument);
    }
}

#[test]
fn clients_are_those_that_belong_or_those_that_are_named() {
    let (main, extras) = (Cell::base(ServerKind::Light, 1), Cell { group: Group::Extras, ..Cell::base(ServerKind::Light, 1) });
    let usual = plan("");
    let peers = PeerKind::ALL.map(Subject::Peer);
    let of = |cell: &Cell| usual.subjects(cell);
    assert_eq!(of(&main)[..3], [Subject::BalanceList, Subject::OneChannel, Subject::RoundRobin]);
    assert_eq!(of(&main)[3..], peers);
    assert!(of(&extras).contains(&Subject::Metrics) && !of(&extras).iter().any(|subject| peers.contains(subject)));
    assert!(of(&Cell { endpoints: 1, ..main }).contains(&Subject::Direct));
    let tls = Cell { tls: true, ..Cell::base(ServerKind::Tonic, 1) };
    assert!(!of(&tls).contains(&Subject::Peer(PeerKind::Envoy)) && of(&tls).contains(&Subject::Peer(PeerKind::Go)));
    let named = plan("--subjects deadline,go --subjects envoy");
    assert_eq!(
        named.subjects(&main),
        [Subject::BalanceList, Subject::Deadline, Subject::Peer(PeerKind::Go), Subject::Peer(PeerKind::Envoy)]
    );
    assert_eq!(named.subjects(&tls).len(), 3);
    assert_eq!(blamed("--subjects deadline,goo"), "goo");
    for subject in Subject::ALL {
        assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
    }
}

#[test]
fn counting_takes_a_client_by_name_or_number() {
    for line in
        ["--count round_robin 2000 16", "--count 2 2000 16", "--count round_robin 2000 --cell light/split/unary/100B/4ep/plain/c16"]
    {
        match task(line) {
            Ok(Task::Count(Subject::RoundRobin, 2000, cell)) => assert_eq!(cell, Cell::base(ServerKind::Light, 16)),
            other => panic!("{other:?}"),
        }
    }
    for (line, argument) in [("--count", "--count"), ("--count 2 x 1", "x"), ("--count 99 1 1", "99"), ("--count 2 1 0", "0")] {
        assert_eq!(blamed(line), argument);
    }
    assert!(matches!(task("--serve tonic /dir"), Ok(Task::Serve(ServerKind::Tonic, Some(_)))));
    assert_eq!(blamed("--serve heavy"), "heavy");
}

#[test]
fn every_goal_is_of_a_usual_cell_and_is_met_at_its_bound() {
    let usual = Cell::usual();
    for goal in &GOALS {
        let cell = usual.iter().find(|cell| goal.is_of(cell)).unwrap_or_else(|| panic!("{} is of no usual cell", goal.cell));
        assert!(plan("").subjects(cell).contains(&goal.subject), "{goal:?}");
        let (at, worse) = match goal.bound {
            Bound::AtMost(most) => (most, most + 0.001),
            Bound::AtLeast(least) => (least, least - 0.001),
        };
        assert_eq!([Some(at), Some(worse), None].map(|value| goal.verdict(value)), ["yes", "**no**", "not measured"]);
    }
    let ids: BTreeSet<&str> = GOALS.iter().map(|goal| goal.id).collect();
    assert_eq!(ids, BTreeSet::from(["E10", "E4", "E5", "E6", "E7", "E8", "E9", "all on"]));
}
