//! The messages of `proto/evenkeel/echo/v1/echo.proto`, as far as a client needs them, and how the `grpc` crate sees them.

use bytes::{Buf, Bytes};
use grpc::core::{RecvMessage, SendMessage};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EchoRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EchoReply {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) server: String,
    #[prost(uint64, tag = "3")]
    pub(crate) calls: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) received: u32,
}

pub(crate) struct Sent(pub(crate) EchoRequest);

#[derive(Default)]
pub(crate) struct Received(pub(crate) EchoReply);

impl SendMessage for Sent {
    fn encode(&self) -> Result<Box<dyn Buf + Send + Sync>, String> {
        Ok(Box::new(Bytes::from(self.0.encode_to_vec())))
    }
}

impl RecvMessage for Received {
    fn decode(&mut self, data: &mut dyn Buf) -> Result<(), String> {
        self.0 = EchoReply::decode(data).map_err(|error| error.to_string())?;
        Ok(())
    }
}
