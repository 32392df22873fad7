// The first steps of every connection to a gpud: socket, preambles, TLS.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "protocol/byte_channel.h"
#include "protocol/endpoint.h"
#include "protocol/errors.h"
#include "protocol/preamble.h"
#include "protocol/tls.h"

namespace farwarp::wire {

// How long something may take. `allowed` is for sentences.
struct TimeLimit {
  explicit TimeLimit(std::chrono::milliseconds time)
      : allowed(time), deadline(std::chrono::steady_clock::now() + time) {}
  std::chrono::milliseconds allowed;
  std::chrono::steady_clock::time_point deadline;
};

// Connects, exchanges preambles, and shakes hands with `tls` unless that is null. `name`: the
// server as the user wrote it. `preamble`: what this side says; its TLS flag is set here. Null with
// `error` filled otherwise.
std::unique_ptr<ByteChannel> openChannel(const Endpoint& endpoint, const std::string& name,
                                         const ClientPreamble& preamble, TlsClient* tls,
                                         const TimeLimit& limit, ConnectionError& error);

}  // namespace farwarp::wire
