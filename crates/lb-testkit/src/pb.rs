//! The generated echo service: `echo_client::EchoClient`, `echo_server::Echo` and the messages.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]

tonic::include_proto!("evenkeel.echo.v1");
