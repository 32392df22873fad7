// Between the plain values of hello.h and the generated types of farwarp.capnp.
//
// The read functions check what a peer sent against limits.h; false with a sentence in `error`.
#pragma once

#include <string>

#include "protocol/farwarp.capnp.h"
#include "protocol/hello.h"
#include "protocol/kernel_timeline.h"

namespace farwarp::wire {

void writeHello(const ClientHello& from, rpc::ClientHello::Builder to);
void writeHello(const ServerHello& from, rpc::ServerHello::Builder to);
void writeStats(const SessionStats& from, rpc::SessionStats::Builder to);
void writeTimeline(const KernelTimeline& from, rpc::KernelTimeline::Builder to);

[[nodiscard]] bool readHello(rpc::ClientHello::Reader from, ClientHello& to, std::string& error);
[[nodiscard]] bool readHello(rpc::ServerHello::Reader from, ServerHello& to, std::string& error);
[[nodiscard]] bool readStats(rpc::SessionStats::Reader from, SessionStats& to, std::string& error);
[[nodiscard]] bool readTimeline(rpc::KernelTimeline::Reader from, KernelTimeline& to,
                                std::string& error);

}  // namespace farwarp::wire
