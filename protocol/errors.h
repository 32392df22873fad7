// What can go wrong between client and gpud, and the one table that maps it to CUDA's results.
#pragma once

#include <cuda.h>

#include <string>

namespace farwarp::wire {

enum class [[nodiscard]] Trouble : uint8_t{
    none = 0,
    badEndpoint,        // the server's address cannot be parsed
    unreachable,        // nothing listens there, no route, no such name
    timedOut,           // no answer in time while connecting
    notGpud,            // something else answered
    versionRefused,     // another protocol or spec version
    untrusted,          // its certificate is not one that the user trusts
    busy,               // the server has all the sessions it allows
    draining,           // the server takes no new sessions
    refused,            // the server refused this session and said why
    connectionLost,     // the peer went away or the network failed
    protocolViolation,  // the peer sent nonsense
    sessionEnded,       // gpud ended the session and said why
    callFailed,         // one request failed in gpud; the session lives
    tooLarge,           // a request is over a limit of limits.h
    forked,             // this process is a child of the one that opened the session
    outOfMemory,        // this process has no memory for the request
    internal,           // a bug of ours
};

// One word for logs, such as "connection lost".
const char* troubleName(Trouble trouble);

// The result that a driver call returns for `trouble`. CUDA_SUCCESS only for `none`.
CUresult toCudaResult(Trouble trouble);

// Why a connection could not be opened, or ended.
struct ConnectionError {
  Trouble kind = Trouble::none;
  std::string sentence;  // full sentences: names the server and says what to do
};

}  // namespace farwarp::wire
