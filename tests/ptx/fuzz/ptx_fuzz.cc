// libFuzzer target: the parser and the decoder take any bytes. Start it on a folder of PTX files,
// for example: ptx_fuzz -max_len=65536 corpus/
#include <cstddef>
#include <cstdint>

#include "gpud/device/cpu/ptx/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farwarp::ptx::checkText({reinterpret_cast<const char*>(data), size});
  return 0;
}
