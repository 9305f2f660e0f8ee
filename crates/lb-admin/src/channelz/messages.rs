//! The messages of `grpc.channelz.v1`, field by field as their definition has them; what a client's end never has is left out.
//!
//! Written by hand, so that nobody who builds this needs a compiler for definitions; tests compile `proto/grpc/channelz/v1/channelz.proto`
//! and read what is sent with its code.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Enumeration, Message, Oneof};

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl From<SystemTime> for Timestamp {
    /// A clock before 1970 shows 1970.
    fn from(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() as i32 }
    }
}

/// `google.protobuf.Int64Value`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Int64Value {
    #[prost(int64, tag = "1")]
    pub(super) value: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Channel {
    #[prost(message, optional, tag = "1")]
    pub(super) r#ref: Option<ChannelRef>,
    #[prost(message, optional, tag = "2")]
    pub(super) data: Option<ChannelData>,
    #[prost(message, repeated, tag = "4")]
    pub(super) subchannel_ref: Vec<SubchannelRef>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Subchannel {
    #[prost(message, optional, tag = "1")]
    pub(super) r#ref: Option<SubchannelRef>,
    #[prost(message, optional, tag = "2")]
    pub(super) data: Option<ChannelData>,
    #[prost(message, repeated, tag = "5")]
    pub(super) socket_ref: Vec<SocketRef>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ChannelRef {
    #[prost(int64, tag = "1")]
    pub(super) channel_id: i64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SubchannelRef {
    #[prost(int64, tag = "7")]
    pub(super) subchannel_id: i64,
    #[prost(string, tag = "8")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SocketRef {
    #[prost(int64, tag = "3")]
    pub(super) socket_id: i64,
    #[prost(string, tag = "4")]
    pub(super) name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct ChannelConnectivityState {
    #[prost(enumeration = "State", tag = "1")]
    pub(super) state: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum State {
    Unknown = 0,
    Idle = 1,
    Connecting = 2,
    Ready = 3,
    TransientFailure = 4,
    Shutdown = 5,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChannelData {
    #[prost(message, optional, tag = "1")]
    pub(super) state: Option<ChannelConnectivityState>,
    #[prost(string, tag = "2")]
    pub(super) target: String,
    #[prost(message, optional, tag = "3")]
    pub(super) trace: Option<ChannelTrace>,
    #[prost(int64, tag = "4")]
    pub(super) calls_started: i64,
    #[prost(int64, tag = "5")]
    pub(super) calls_succeeded: i64,
    #[prost(int64, tag = "6")]
    pub(super) calls_failed: i64,
    #[prost(message, optional, tag = "7")]
    pub(super) last_call_started_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChannelTrace {
    #[prost(int64, tag = "1")]
    pub(super) num_events_logged: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) creation_timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "3")]
    pub(super) events: Vec<ChannelTraceEvent>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChannelTraceEvent {
    #[prost(string, tag = "1")]
    pub(super) description: String,
    #[prost(enumeration = "TraceSeverity", tag = "2")]
    pub(super) severity: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "5")]
    pub(super) subchannel_ref: Option<SubchannelRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum TraceSeverity {
    Unknown = 0,
    Info = 1,
    Warning = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Socket {
    #[prost(message, optional, tag = "1")]
    pub(super) r#ref: Option<SocketRef>,
    #[prost(message, optional, tag = "2")]
    pub(super) data: Option<SocketData>,
    #[prost(message, optional, tag = "3")]
    pub(super) local: Option<Address>,
    #[prost(message, optional, tag = "4")]
    pub(super) remote: Option<Address>,
    #[prost(message, optional, tag = "5")]
    pub(super) security: Option<Security>,
    #[prost(string, tag = "6")]
    pub(super) remote_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SocketData {
    #[prost(int64, tag = "1")]
    pub(super) streams_started: i64,
    #[prost(int64, tag = "2")]
    pub(super) streams_succeeded: i64,
    #[prost(int64, tag = "3")]
    pub(super) streams_failed: i64,
    #[prost(int64, tag = "4")]
    pub(super) messages_sent: i64,
    #[prost(int64, tag = "5")]
    pub(super) messages_received: i64,
    #[prost(int64, tag = "6")]
    pub(super) keep_alives_sent: i64,
    #[prost(message, optional, tag = "7")]
    pub(super) last_local_stream_created_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "9")]
    pub(super) last_message_sent_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "10")]
    pub(super) last_message_received_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "11")]
    pub(super) local_flow_control_window: Option<Int64Value>,
    #[prost(message, optional, tag = "12")]
    pub(super) remote_flow_control_window: Option<Int64Value>,
    #[prost(message, repeated, tag = "13")]
    pub(super) option: Vec<SocketOption>,
    #[prost(uint32, tag = "15")]
    pub(super) peer_max_concurrent_streams: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SocketOption {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Address {
    #[prost(oneof = "AddressKind", tags = "1, 2, 3")]
    pub(super) address: Option<AddressKind>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(super) enum AddressKind {
    #[prost(message, tag = "1")]
    Tcpip(TcpIpAddress),
    #[prost(message, tag = "2")]
    Uds(UdsAddress),
    #[prost(message, tag = "3")]
    Other(OtherAddress),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TcpIpAddress {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ip_address: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub(super) port: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct UdsAddress {
    #[prost(string, tag = "1")]
    pub(super) filename: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OtherAddress {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Security {
    /// The one model there is here.
    #[prost(message, optional, tag = "1")]
    pub(super) tls: Option<Tls>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Tls {
    #[prost(string, tag = "1")]
    pub(super) standard_name: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) remote_certificate: Vec<u8>,
}

/// `GetTopChannelsRequest` and `GetServersRequest`, which are alike.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct ListRequest {
    #[prost(int64, tag = "1")]
    pub(super) start: i64,
    #[prost(int64, tag = "2")]
    pub(super) max_results: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetTopChannelsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) channel: Vec<Channel>,
    #[prost(bool, tag = "2")]
    pub(super) end: bool,
}

/// There are no servers here.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct GetServersResponse {
    #[prost(bool, tag = "2")]
    pub(super) end: bool,
}

/// Each request for one thing, `GetServerSocketsRequest` too: its number is the first field of all of them.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct OneRequest {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

/// An answer that never comes: there is no such thing here.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Never {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetChannelResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) channel: Option<Channel>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSubchannelResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) subchannel: Option<Subchannel>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSocketResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) socket: Option<Socket>,
}
