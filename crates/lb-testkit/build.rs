//! Compiles the echo service, and channelz' client, with a compiler written in Rust, so that nobody needs protoc.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let echo = protox::compile(["evenkeel/echo/v1/echo.proto"], [&root])?;
    tonic_prost_build::configure().bytes(".").build_transport(false).compile_fds(echo)?;
    let channelz = protox::compile(["grpc/channelz/v1/channelz.proto"], [&root])?;
    tonic_prost_build::configure().build_transport(false).build_server(false).compile_fds(channelz)?;
    Ok(())
}
