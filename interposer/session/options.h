// What the environment tells the client library.
#pragma once

#include <string>

namespace farwarp::client {

struct Options {
  std::string server;    // FARWARP_SERVER: HOST:PORT or unix:PATH; empty when not set
  std::string log_path;  // FARWARP_LOG: file that gets a line per event, or "stderr"; empty: no log
  std::string trace_path;   // FARWARP_TRACE: file that records every call; empty: none
  bool stats = false;       // FARWARP_STATS: anything but "", "0", "no" prints figures at exit
  bool insecure = false;    // FARWARP_INSECURE, in the same way: TCP without TLS
  std::string ca_file;      // FARWARP_CA: PEM file of the authority that signed gpud's certificate
  std::string compression;  // FARWARP_COMPRESSION: auto, off or on; empty: auto
  std::string fingerprint;  // FARWARP_FINGERPRINT: of that authority's or of gpud's certificate
};

// Reads the environment. Call once, before the first connection.
Options readOptions();

// Why `server` is not an address of a gpud, as a sentence; empty when it is one.
std::string whyNotServer(const std::string& server);

}  // namespace farwarp::client
