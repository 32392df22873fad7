// Objects of the program whose destructor runs when the last reference of the program and of graphs
// is gone.
#pragma once

#include <cuda.h>

#include <memory>

namespace farwarp::graph {

// Each shared pointer is not a reference in CUDA's sense: those are counted in `count`, and the
// destructor runs where the last one is given back.
class UserObject {
 public:
  UserObject(CUhostFn destroy, void* data, unsigned count)
      : count(count), destroy_(destroy), data_(data) {}
  // The graphs that have it are gone as well.
  ~UserObject() { destroy_(data_); }
  UserObject(const UserObject&) = delete;
  UserObject& operator=(const UserObject&) = delete;

  uint64_t count;  // references of the program
  // Graphs know the object by it even when the program has no reference left.
  CUuserObject handle = nullptr;

 private:
  const CUhostFn destroy_;
  void* const data_;
};

}  // namespace farwarp::graph
