//! Which package may depend on which: our own by name, and other people's by what must never be reached.
//!
//! Only normal and build dependencies count: tests may use anything. Edges are read with every feature on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each package may depend on directly, of the packages of this workspace. A package without a row is an error: new rooms are
/// planned, not found.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lb-core", &[]),
    ("lb-transport", &["lb-core"]),
    // The builder is where a target's text meets a resolver, so it offers the light ones and the checks by default, others as features.
    ("lb-tonic", BUILDER),
    ("lb-health", &["lb-core"]),
    ("lb-resolver-static", &["lb-core"]),
    ("lb-resolver-dns", &["lb-core"]),
    ("lb-resolver-compose", &["lb-core"]),
    ("lb-resolver-consul", &["lb-core"]),
    ("lb-resolver-etcd", &["lb-core"]),
    ("lb-resolver-kube", &["lb-core"]),
    ("lb-orca", &["lb-core"]),
    ("lb-server", &["lb-core", "lb-orca"]),
    // They read channels and pull their levers, which only lb-tonic has.
    ("lb-telemetry", &["lb-core", "lb-tonic"]),
    ("lb-hooks", &["lb-core", "lb-tonic"]),
    // And it shows and changes what they are configured with, if the program is configured at all.
    ("lb-admin", &["lb-core", "lb-tonic", "lb-config"]),
    // It turns what is configured into builders, so it knows what those take: checks, connections, resolvers with options of their own, and
    // what channels can have beside them: hooks and metrics.
    (
        "lb-config",
        &[
            "lb-core",
            "lb-tonic",
            "lb-health",
            "lb-transport",
            "lb-hooks",
            "lb-telemetry",
            "lb-resolver-static",
            "lb-resolver-dns",
            "lb-resolver-consul",
            "lb-resolver-etcd",
            "lb-resolver-kube",
        ],
    ),
    ("lb-sim", &["lb-core"]),
    // Counts picks, and is built alone.
    ("lb-guard", &["lb-core"]),
    ("evenkeel", LIBRARIES),
    // The command is a user like any other.
    ("evenkeel-cli", &["evenkeel"]),
    ("lb-testkit", LIBRARIES),
    // For benchmarks, and like the testkit only ever a dev-dependency: it measures whatever it is given and knows none of it.
    ("lb-bench", &[]),
    ("xtask", &[]),
];

const BUILDER: &[&str] = &[
    "lb-core",
    "lb-transport",
    "lb-health",
    "lb-resolver-static",
    "lb-resolver-dns",
    "lb-resolver-consul",
    "lb-resolver-etcd",
    "lb-resolver-kube",
    "lb-orca",
];

/// Everything a user can depend on but the facade, which no library imports.
const LIBRARIES: &[&str] = &[
    "lb-core",
    "lb-transport",
    "lb-tonic",
    "lb-health",
    "lb-resolver-static",
    "lb-resolver-dns",
    "lb-resolver-compose",
    "lb-resolver-consul",
    "lb-resolver-etcd",
    "lb-resolver-kube",
    "lb-config",
    "lb-orca",
    "lb-server",
    "lb-telemetry",
    "lb-admin",
    "lb-hooks",
    "lb-sim",
];

/// What each package must never reach, however indirectly. A name stands for itself and for everything that begins with it and a dash or an underscore.
const NEVER_REACHES: &[(&str, &[&str])] = &[
    (
        "lb-core",
        &[
            "tokio",
            "tonic",
            "hyper",
            "h2",
            "tower",
            "rustls",
            "rand",
            "fastrand",
            "getrandom",
            "parking_lot",
            "hickory",
            "kube",
            "k8s-openapi",
            "etcd-client",
            "reqwest",
            "consul",
            "axum",
            "prost",
            "opentelemetry",
            "prometheus",
        ],
    ),
    ("lb-transport", &["tonic", "hyper", "tower"]),
    ("xtask", &["tokio", "tonic"]),
];

/// Package by package, the names of those it depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_package_enters_a_room_it_may_not() {
    let (graph, members) = read(&metadata());
    assert!(members.contains("lb-core") && graph["evenkeel"].contains("lb-tonic"), "the graph was not read: {members:?}");
    let problems = problems(&graph, &members);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_checker_sees_a_forbidden_edge() {
    let found = |edges: &[(&str, &str)]| {
        let (mut graph, mut members) = (Graph::new(), BTreeSet::new());
        for (from, to) in edges {
            graph.entry((*from).into()).or_default().insert((*to).into());
            members.extend(
                [from, to].into_iter().filter(|name| name.starts_with("lb-") || **name == "evenkeel").map(|name| (*name).into()),
            );
        }
        problems(&graph, &members)
    };
    assert_eq!(found(&[("evenkeel", "lb-tonic"), ("lb-tonic", "lb-core"), ("lb-core", "http")]), Vec::<String>::new());
    assert_eq!(found(&[("lb-resolver-dns", "lb-tonic")]), ["lb-resolver-dns may not use lb-tonic"]);
    assert_eq!(found(&[("lb-tonic", "lb-testkit")]), ["lb-tonic may not use lb-testkit"]);
    assert_eq!(found(&[("lb-tonic", "evenkeel")]), ["lb-tonic may not use evenkeel"]);
    assert_eq!(found(&[("lb-novel", "lb-core")]), ["lb-novel has no row in MAY_USE"]);
    assert_eq!(
        found(&[("lb-core", "a"), ("a", "tokio-util"), ("tokio-util", "tokio")]),
        [
            "lb-core must never reach tokio (lb-core → a → tokio-util → tokio)",
            "lb-core must never reach tokio-util (lb-core → a → tokio-util)",
        ]
    );
    assert_eq!(found(&[("lb-core", "randomize")]), Vec::<String>::new(), "only whole words count");
}

#[test]
fn dev_dependencies_do_not_count() {
    let dep = |name: &str, kind: Value| serde_json::json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
    let packages = ["us", "n", "b", "d"].map(|id| serde_json::json!({ "id": id, "name": id }));
    let metadata = serde_json::json!({
        "workspace_members": ["us"],
        "packages": packages,
        "resolve": { "nodes": [{ "id": "us", "deps": [dep("n", Value::Null), dep("b", "build".into()), dep("d", "dev".into())] }] },
    });
    let (graph, members) = read(&metadata);
    assert_eq!(graph["us"], BTreeSet::from(["n".into(), "b".into()]));
    assert_eq!(members, BTreeSet::from(["us".into()]));
}

fn problems(graph: &Graph, members: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (package, used) in graph.iter().filter(|(package, _)| members.contains(*package)) {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == package) else {
            found.push(format!("{package} has no row in MAY_USE"));
            continue;
        };
        let forbidden = used.iter().filter(|name| members.contains(*name) && !allowed.contains(&name.as_str()));
        found.extend(forbidden.map(|name| format!("{package} may not use {name}")));
    }
    for (package, banned) in NEVER_REACHES {
        for (name, path) in reached(graph, package) {
            if banned.iter().any(|ban| name == *ban || name.strip_prefix(ban).is_some_and(|rest| rest.starts_with(['-', '_']))) {
                found.push(format!("{package} must never reach {name} ({path})"));
            }
        }
    }
    found
}

/// Everything reached from `start`, each with a shortest way to it.
fn reached(graph: &Graph, start: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([(start.to_owned(), start.to_owned())]);
    while let Some((name, path)) = queue.pop_front() {
        for next in graph.get(&name).into_iter().flatten().filter(|next| *next != start) {
            if !found.contains_key(next) {
                let longer = format!("{path} → {next}");
                found.insert(next.clone(), longer.clone());
                queue.push_back((next.clone(), longer));
            }
        }
    }
    found
}

fn read(metadata: &Value) -> (Graph, BTreeSet<String>) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let counts = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
    let mut graph = Graph::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let deps = list(&node["deps"]).into_iter().filter(counts).map(|dep| names[&text(&dep["pkg"])].clone());
        // Two versions of one package share a row: whichever brings the edge, it is there.
        graph.entry(names[&text(&node["id"])].clone()).or_default().extend(deps);
    }
    let members = list(&metadata["workspace_members"]).iter().map(|id| names[&text(id)].clone()).collect();
    (graph, members)
}

/// For this platform only, and without the network first: another platform's packages may never have been downloaded.
fn metadata() -> Value {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(version.stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let run = |more: &[&str]| {
        let args = ["metadata", "--format-version", "1", "--all-features", "--filter-platform", host];
        Command::new(env!("CARGO")).args(args).args(more).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs")
    };
    let output = Some(run(&["--offline"])).filter(|output| output.status.success()).unwrap_or_else(|| run(&[]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}
