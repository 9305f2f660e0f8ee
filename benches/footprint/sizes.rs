//! How large a small program is with each feature, and how long it takes to build it from nothing.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lb_bench::{Bars, Column, Spread, Suite, Table, cpu_time_of_children};
use serde_json::json;

type Failure = Box<dyn Error + Send + Sync>;

/// A program: its name, the features of this package (none is tonic alone), and what it does with them, so that the linker keeps it.
struct Program {
    name: &'static str,
    features: Option<&'static [&'static str]>,
    uses: &'static str,
}

const CONFIG: &str = "let sources = evenkeel::config::Config::sources().file(&target);\n\
    println!(\"{}\", evenkeel::config::Channels::build(sources.load()?)?.get(\"a\").is_some());";
const HOOKS: &str = "println!(\"{:?}\", evenkeel::hooks::HttpBackend::new(&target)?);";
const METRICS: &str = "let prometheus = evenkeel::telemetry::Prometheus::new(evenkeel::telemetry::MetricsConfig::new())?;\n\
    let metrics = prometheus.metrics();\n\
    let channel = builder.observer(metrics.observer(\"a\")).call_observer(metrics.calls(\"a\")).build()?;\n\
    metrics.watch(&channel);\n\
    println!(\"{}\", prometheus.text()?);";
const SERVER: &str = "println!(\"{:?}\", evenkeel::server::LoadReportLayer::new(evenkeel::server::LoadRecorder::new()));";
const ADMIN: &str = "let channel = builder.build()?;\n\
    println!(\"{}\", evenkeel::admin::Admin::builder().service(\"a\", &channel).serve().await?.local_addr());";
const TLS: &str = "let channel = builder.tls(evenkeel::transport::ClientTls::ca_certificate(target)).build()?;";
const PLAIN: &str = "let channel = builder.build()?;";

const PROGRAMS: [Program; 14] = [
    Program { name: "tonic alone", features: None, uses: "" },
    ours("no features", &[], PLAIN),
    ours("default", &["dns"], PLAIN),
    ours("tls-ring", &["tls-ring"], TLS),
    ours("consul", &["consul"], PLAIN),
    ours("etcd", &["etcd"], PLAIN),
    ours("kubernetes", &["kubernetes"], PLAIN),
    ours("config-yaml", &["config-yaml"], CONFIG),
    ours("hooks", &["hooks"], HOOKS),
    ours("prometheus", &["prometheus"], METRICS),
    ours("server", &["server"], SERVER),
    ours("admin", &["admin"], ADMIN),
    ours("tonic-endpoint", &["tonic-endpoint"], PLAIN),
    ours("nearly all", &ALL, ADMIN),
];

/// All but a second cryptography and roots.
const ALL: [&str; 12] = [
    "dns",
    "tls-ring",
    "tls-webpki-roots",
    "consul",
    "etcd",
    "kubernetes",
    "config-yaml",
    "hooks",
    "prometheus",
    "server",
    "admin",
    "channelz",
];

const fn ours(name: &'static str, features: &'static [&'static str], uses: &'static str) -> Program {
    Program { name, features: Some(features), uses }
}

/// All, or those named, separated by semicolons.
pub(crate) fn measure(suite: &mut Suite, named: &[String]) -> Result<(), Failure> {
    let wanted: Vec<&str> = named.iter().flat_map(|names| names.split(';')).map(str::trim).collect();
    if let Some(unknown) = wanted.iter().find(|name| PROGRAMS.iter().all(|program| program.name != **name)) {
        let known: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
        return Err(format!("no program is called {unknown:?}; there are {}", known.join("; ")).into());
    }
    let columns =
        [Column::left("program with"), Column::right("size MB"), Column::right("crates"), Column::right("CPU s to build")];
    let (mut table, mut bars) = (Table::new(columns), Bars::new("Size of a program that makes one call", "MB"));
    for program in PROGRAMS.iter().filter(|program| wanted.is_empty() || wanted.contains(&program.name)) {
        eprintln!("{} …", program.name);
        let built = program.build()?;
        eprintln!(
            "{}: {:.1} MB, {} crates, {:.0} s of CPU",
            program.name,
            built.megabytes(),
            built.crates,
            built.time.as_secs_f64()
        );
        let (size, time) = (built.megabytes(), built.time.as_secs_f64());
        table.push([program.name.into(), format!("{size:.2}"), built.crates.to_string(), format!("{time:.0}")])?;
        bars.push(program.name, Spread::of([size])?);
        suite.fact(program.name, json!({ "bytes": built.bytes, "crates": built.crates, "cpu_seconds": time }));
    }
    suite.note("Release, stripped of symbols; built once from nothing. The time is the CPU time of the compiler and all that it ran, on all cores together.");
    suite.table(&table);
    suite.plot(bars);
    Ok(())
}

struct Built {
    bytes: u64,
    crates: usize,
    /// CPU time of all processes that took part.
    time: Duration,
}

impl Built {
    fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }
}

impl Program {
    fn build(&self) -> Result<Built, Failure> {
        let directory = directory()?.join(self.name.replace(' ', "-"));
        fs::create_dir_all(directory.join("src"))?;
        fs::write(directory.join("Cargo.toml"), self.manifest())?;
        fs::write(directory.join("src/main.rs"), self.source())?;
        fs::copy(root().join("Cargo.lock"), directory.join("Cargo.lock"))?;
        cargo(&directory, &["fetch", "--quiet"])?;
        let before = cpu_time_of_children()?;
        cargo(&directory, &["build", "--release", "--quiet"])?;
        let time = cpu_time_of_children()?.saturating_sub(before);
        let bytes = fs::metadata(directory.join("target/release/small"))?.len();
        let libraries = fs::read_dir(directory.join("target/release/deps"))?.flatten();
        let crates = libraries.filter(|file| file.path().extension().is_some_and(|extension| extension == "rlib")).count();
        // Half a gigabyte.
        fs::remove_dir_all(directory.join("target"))?;
        Ok(Built { bytes, crates, time })
    }

    fn manifest(&self) -> String {
        let mut text =
            String::from("[workspace]\n[package]\nname = \"small\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n");
        text += "[profile.release]\nstrip = true\n[dependencies]\ntokio = { version = \"1\", features = [\"macros\", \"rt\"] }\n";
        let channel = if self.features.is_none() { ", \"channel\"" } else { "" };
        let _ = writeln!(text, "tonic = {{ version = \"0.14\", default-features = false, features = [\"codegen\"{channel}] }}");
        text += "tonic-prost = \"0.14\"\n";
        if let Some(features) = self.features {
            let _ = writeln!(text, "evenkeel = {{ path = {:?}, default-features = false, features = {features:?} }}", root());
        }
        text
    }

    /// One unary call with tonic's codec, over a target from the command line.
    fn source(&self) -> String {
        let channel = match self.features {
            None => "let channel = tonic::transport::Endpoint::from_shared(target)?.connect_lazy();".to_owned(),
            Some(_) => {
                let builder = "let builder = evenkeel::LbChannel::builder(target.clone());";
                let missing = if self.uses.contains("let channel") { "" } else { PLAIN };
                format!("{builder}\n{}\n{missing}", self.uses)
            }
        };
        format!(
            "#[tokio::main(flavor = \"current_thread\")]\nasync fn main() -> Result<(), Box<dyn std::error::Error>> {{\n\
             let target = std::env::args().nth(1).ok_or(\"a target\")?;\n{channel}\n\
             let mut grpc = tonic::client::Grpc::new(channel);\ngrpc.ready().await?;\n\
             let path = tonic::codegen::http::uri::PathAndQuery::from_static(\"/a.B/C\");\n\
             let codec = tonic_prost::ProstCodec::<(), ()>::default();\n\
             println!(\"{{:?}}\", grpc.unary(tonic::Request::new(()), path, codec).await?);\nOk(())\n}}\n"
        )
    }
}

/// With the settings of this workspace, such as the version of Kubernetes, but a target directory of its own.
fn cargo(directory: &Path, words: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(directory).env("CARGO_TARGET_DIR", directory.join("target")).stdin(Stdio::null());
    let status = command.args(["--config".as_ref(), root().join(".cargo/config.toml").as_os_str()]).args(words).status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {}: {status}", words.join(" ")).into()) }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `target/bench/sizes`, where this program was built.
fn directory() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file()).ok_or("not built by cargo")?;
    Ok(target.join("bench/sizes"))
}
