//! The generated client of gRPC's channelz, `channelz_client::ChannelzClient`, and its messages: what a standard tool sees.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]

tonic::include_proto!("grpc.channelz.v1");
