// Arguments of the questions about atomic operations between processors.
#pragma once

#include <cuda.h>

#include <algorithm>

namespace farwarp {

// False when there are none, or one that is no CUatomicOperation.
inline bool areAtomicOperations(const CUatomicOperation* operations, unsigned count) {
  return operations != nullptr && count != 0 &&
         std::all_of(operations, operations + count, [](CUatomicOperation operation) {
           const auto number = static_cast<unsigned>(operation);
           return number < static_cast<unsigned>(CU_ATOMIC_OPERATION_MAX);
         });
}

}  // namespace farwarp
