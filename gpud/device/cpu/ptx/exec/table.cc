// The table of one instruction set's handlers.
#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {

extern const Executors kExecutors;
const Executors kExecutors = {
    integerHandler, floatHandler, compareHandler,   convertHandler,
    loadHandler,    storeHandler, resolveAddresses,
};

}  // namespace farwarp::ptx::FARWARP_LEVEL
