"""Looks at a channelz server with gRPC's own client, and prints what it sees as JSON."""

import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_channelz.v1 import channelz_pb2 as pb
from grpc_channelz.v1 import channelz_pb2_grpc

TIMEOUT = 20


def seen(message):
    """The message as data. Every field must be one that the definition has."""
    strange = strangers(message)
    assert not strange, f"fields that nobody knows, in {strange}"
    return MessageToDict(message, preserving_proto_field_name=True)


def strangers(message):
    found = [message.DESCRIPTOR.full_name] if len(UnknownFieldSet(message)) else []
    for field, value in message.ListFields():
        if field.message_type:
            for part in value if field.is_repeated else [value]:
                found += strangers(part)
    return found


def code(call, request):
    try:
        call(request, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def main(address):
    with grpc.insecure_channel(address) as transport:
        stub = channelz_pb2_grpc.ChannelzStub(transport)
        channels, subchannels, sockets, start, pages = [], [], [], 0, 0
        while True:
            page = stub.GetTopChannels(pb.GetTopChannelsRequest(start_channel_id=start, max_results=1), timeout=TIMEOUT)
            pages += 1
            channels += page.channel
            if page.end:
                break
            start = page.channel[-1].ref.channel_id + 1
        for channel in channels:
            assert stub.GetChannel(pb.GetChannelRequest(channel_id=channel.ref.channel_id), timeout=TIMEOUT).channel.ref == channel.ref
            for child in channel.subchannel_ref:
                request = pb.GetSubchannelRequest(subchannel_id=child.subchannel_id)
                subchannels.append(stub.GetSubchannel(request, timeout=TIMEOUT).subchannel)
        for subchannel in subchannels:
            for child in subchannel.socket_ref:
                sockets.append(stub.GetSocket(pb.GetSocketRequest(socket_id=child.socket_id), timeout=TIMEOUT).socket)
        servers = stub.GetServers(pb.GetServersRequest(), timeout=TIMEOUT)
        missing = {
            "GetChannel": code(stub.GetChannel, pb.GetChannelRequest(channel_id=1 << 40)),
            "GetSubchannel": code(stub.GetSubchannel, pb.GetSubchannelRequest(subchannel_id=-1)),
            "GetSocket": code(stub.GetSocket, pb.GetSocketRequest(socket_id=0)),
            "GetServer": code(stub.GetServer, pb.GetServerRequest(server_id=1)),
            "GetServerSockets": code(stub.GetServerSockets, pb.GetServerSocketsRequest(server_id=1)),
            "GetTopChannels": code(stub.GetTopChannels, pb.GetTopChannelsRequest(max_results=-1)),
        }
        print(json.dumps({
            "pages": pages,
            "channels": [seen(channel) for channel in channels],
            "subchannels": [seen(subchannel) for subchannel in subchannels],
            "sockets": [seen(socket) for socket in sockets],
            "servers": {"count": len(servers.server), "end": servers.end},
            "missing": missing,
        }))


main(sys.argv[1])
