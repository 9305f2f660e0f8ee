//! gRPC's channelz: channels, subchannels and sockets for standard tools, from the channels of [`Services`](crate::Services).
