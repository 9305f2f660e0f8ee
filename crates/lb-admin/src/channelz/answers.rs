//! What is answered, method by method. Pure looking: nothing here waits.

use std::net::IpAddr;

use lb_core::{Address, ConnectivityState, EndpointKey};
use lb_tonic::{SocketInfo, SocketRef, Subchannel};
use prost::Message as _;
use tonic::Status;

use super::registry::{Registry, Shown};
use super::trace::cut;
use super::{id, messages as m};

/// How many channels a page has if the client does not say. gRPC's own servers have as many.
const PAGE: usize = 100;

/// The most bytes of one page, whatever the client says: half of what clients take by default. A channel of its own may be larger.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Channels with more subchannels than this have them listed without names, so that the list stays within what clients take.
const MOST_NAMES: usize = 10_000;

pub(super) fn top_channels(registry: &Registry, request: m::ListRequest) -> Result<m::GetTopChannelsResponse, Status> {
    let (start, most) = page(request)?;
    let (mut answer, mut bytes) = (m::GetTopChannelsResponse { channel: Vec::new(), end: true }, 0);
    for shown in registry.from(start) {
        if answer.channel.len() == most {
            answer.end = false;
            break;
        }
        let channel = channel_message(&shown);
        bytes += channel.encoded_len();
        if bytes > MOST_BYTES && !answer.channel.is_empty() {
            answer.end = false;
            break;
        }
        answer.channel.push(channel);
    }
    Ok(answer)
}

pub(super) fn servers(_: &Registry, request: m::ListRequest) -> Result<m::GetServersResponse, Status> {
    page(request)?;
    Ok(m::GetServersResponse { end: true })
}

pub(super) fn server(_: &Registry, request: m::OneRequest) -> Result<m::Never, Status> {
    Err(not_found("server", request.id))
}

pub(super) fn channel(registry: &Registry, request: m::OneRequest) -> Result<m::GetChannelResponse, Status> {
    let shown = find(request.id, |serial| registry.channel(serial)).ok_or_else(|| not_found("channel", request.id))?;
    Ok(m::GetChannelResponse { channel: Some(channel_message(&shown)) })
}

pub(super) fn subchannel(registry: &Registry, request: m::OneRequest) -> Result<m::GetSubchannelResponse, Status> {
    let found = find(request.id, |serial| registry.subchannel(serial));
    let (shown, subchannel) = found.ok_or_else(|| not_found("subchannel", request.id))?;
    Ok(m::GetSubchannelResponse { subchannel: Some(subchannel_message(request.id, &shown, &subchannel)) })
}

pub(super) fn socket(registry: &Registry, request: m::OneRequest) -> Result<m::GetSocketResponse, Status> {
    let socket = find(request.id, |serial| registry.socket(serial)).ok_or_else(|| not_found("socket", request.id))?;
    Ok(m::GetSocketResponse { socket: Some(socket_message(socket.info())) })
}

/// Where a page begins and how many it may have.
fn page(request: m::ListRequest) -> Result<(u64, usize), Status> {
    let refused =
        |field: &str, value: i64| Status::invalid_argument(format!("{field}: {value} is not allowed; it must be 0 or more"));
    let start = u64::try_from(request.start).map_err(|_| refused("start id", request.start))?;
    let most = usize::try_from(request.max_results).map_err(|_| refused("max_results", request.max_results))?;
    Ok((start, if most == 0 { PAGE } else { most }))
}

/// Numbers that are not above 0 are nobody's.
fn find<T>(id: i64, look: impl FnOnce(u64) -> Option<T>) -> Option<T> {
    u64::try_from(id).ok().filter(|serial| *serial > 0).and_then(look)
}

fn not_found(what: &str, id: i64) -> Status {
    Status::not_found(format!("there is no {what} {id}"))
}

fn channel_message(shown: &Shown) -> m::Channel {
    let subchannels = shown.channel.subchannels();
    let numbers = shown.record.numbers(&subchannels);
    let named = subchannels.len() <= MOST_NAMES;
    let child = |(serial, subchannel): (u64, &Subchannel)| {
        let name = if named { name(&subchannel.key) } else { String::new() };
        m::SubchannelRef { subchannel_id: id(serial), name }
    };
    let target = shown.channel.target();
    // Ended calls before begun ones: never more of the former.
    let (succeeded, failed) = (shown.calls.succeeded(), shown.calls.failed());
    let started = shown.calls.started();
    m::Channel {
        r#ref: Some(m::ChannelRef { channel_id: id(shown.serial), name: target.to_owned() }),
        data: Some(m::ChannelData {
            state: Some(state(shown.channel.state())),
            target: target.to_owned(),
            trace: Some(shown.record.trace()),
            calls_started: id(started),
            calls_succeeded: id(succeeded),
            calls_failed: id(failed),
            last_call_started_timestamp: shown.calls.last_started_at().map(Into::into),
        }),
        subchannel_ref: numbers.into_iter().zip(&subchannels).map(child).collect(),
    }
}

fn subchannel_message(id: i64, shown: &Shown, subchannel: &Subchannel) -> m::Subchannel {
    let name = name(&subchannel.key);
    let sockets: Vec<SocketInfo> = subchannel.sockets().iter().map(SocketRef::info).collect();
    let stats = &subchannel.stats;
    let (succeeded, failed) = (stats.succeeded(), stats.failed() + stats.cancelled());
    let last = sockets.iter().filter_map(|socket| socket.last_stream_at).max();
    m::Subchannel {
        r#ref: Some(m::SubchannelRef { subchannel_id: id, name: name.clone() }),
        data: Some(m::ChannelData {
            state: Some(state(subchannel.state)),
            target: name,
            trace: shown.record.trace_of(&subchannel.key),
            calls_started: super::id(u64::from(stats.in_flight()) + succeeded + failed),
            calls_succeeded: super::id(succeeded),
            calls_failed: super::id(failed),
            last_call_started_timestamp: last.map(Into::into),
        }),
        socket_ref: sockets.iter().map(socket_ref).collect(),
    }
}

/// An endpoint's name as far as it is shown: registries may say what they like.
fn name(key: &EndpointKey) -> String {
    cut(key).into()
}

fn socket_ref(info: &SocketInfo) -> m::SocketRef {
    let text = |address: &Option<Address>| address.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    m::SocketRef { socket_id: id(info.serial), name: format!("{} -> {}", text(&info.local), text(&info.remote)) }
}

fn socket_message(info: SocketInfo) -> m::Socket {
    let options = info.options.iter().map(|(name, value)| m::SocketOption { name: (*name).to_owned(), value: value.clone() });
    let window = |bytes: Option<i64>| bytes.map(|value| m::Int64Value { value });
    let data = m::SocketData {
        streams_started: id(info.streams_started),
        streams_succeeded: id(info.streams_succeeded),
        streams_failed: id(info.streams_failed),
        messages_sent: id(info.messages_sent),
        messages_received: id(info.messages_received),
        keep_alives_sent: id(info.keepalives_sent),
        last_local_stream_created_timestamp: info.last_stream_at.map(Into::into),
        last_message_sent_timestamp: info.last_sent_at.map(Into::into),
        last_message_received_timestamp: info.last_received_at.map(Into::into),
        local_flow_control_window: window(info.send_window),
        remote_flow_control_window: window(info.receive_window),
        option: options.collect(),
        peer_max_concurrent_streams: info.max_streams.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX)),
    };
    m::Socket {
        r#ref: Some(socket_ref(&info)),
        data: Some(data),
        local: info.local.as_ref().map(address),
        remote: info.remote.as_ref().map(address),
        security: info.security.map(|security| m::Security {
            tls: Some(m::Tls {
                standard_name: security.cipher_suite,
                remote_certificate: security.remote_certificate.unwrap_or_default(),
            }),
        }),
        remote_name: info.authority,
    }
}

fn address(address: &Address) -> m::Address {
    let kind = match address {
        Address::Tcp(address) => {
            let ip_address = match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            m::AddressKind::Tcpip(m::TcpIpAddress { ip_address, port: address.port().into() })
        }
        Address::Unix(path) => m::AddressKind::Uds(m::UdsAddress { filename: path.to_string_lossy().into_owned() }),
        other => m::AddressKind::Other(m::OtherAddress { name: other.to_string() }),
    };
    m::Address { address: Some(kind) }
}

fn state(state: ConnectivityState) -> m::ChannelConnectivityState {
    let state = match state {
        ConnectivityState::Idle => m::State::Idle,
        ConnectivityState::Connecting => m::State::Connecting,
        ConnectivityState::Ready => m::State::Ready,
        ConnectivityState::TransientFailure => m::State::TransientFailure,
        ConnectivityState::Shutdown => m::State::Shutdown,
    };
    m::ChannelConnectivityState { state: state.into() }
}
