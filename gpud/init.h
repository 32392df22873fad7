// gpud init: makes the authority and the certificate that gpud needs to speak TLS.
#pragma once

namespace farwarp {

// `argv[0]` is "init". Prints the one line that a client needs on stdout; the rest goes to stderr.
// Returns the exit status: 0, 1 when something failed, 2 for wrong usage.
int runInit(int argc, char** argv);

}  // namespace farwarp
