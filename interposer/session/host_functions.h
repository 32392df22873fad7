// Functions of the program that streams call: cuLaunchHostFunc, cuStreamAddCallback, host nodes of
// graphs.
//
// The stream belongs to gpud, so the program's function gets a number. When the stream reaches it,
// gpud names the number and holds the stream back until the function has run here, on a thread of
// its own: one function at a time, as CUDA permits. The thread exists from the first function on,
// and reads the connection only as long as a function is on its way.
#pragma once

#include <cuda.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "protocol/client_connection.h"

namespace farwarp::client {

class Client;

class HostFunctions {
 public:
  explicit HostFunctions(Client& client) : client_(client) {}

  // `status`: of the stream's context, for a stream callback; CUDA_SUCCESS otherwise.
  using Body = std::function<void(CUresult status)>;

  // How often gpud may call a function.
  enum class Runs {
    once,       // a function in a stream
    every_time  // a node of a graph, until forget()
  };

  // Gives `body` a number, which is then sent to gpud. `context`: the function goes with it.
  // CUDA_ERROR_OUT_OF_MEMORY at kHostFunctionsMax, or when there can be no thread.
  [[nodiscard]] CUresult add(CUcontext context, Runs runs, Body body, uint64_t& number);
  // The number was not sent after all, or the graph of the node is gone.
  void forget(uint64_t number);
  // The context is over: its functions will not be called any more.
  void contextEnds(CUcontext context);

  // True while a function is in a stream and has not run: what the host will see, or show the
  // device, is not settled.
  bool pending() const { return once_.load(std::memory_order_acquire) != 0; }

  // For a function of our own, on the thread: copies to the device and waits until it is there.
  // Streams that wait for the function do not hold the copy back.
  [[nodiscard]] CUresult copyNow(CUcontext context, CUdeviceptr to, const void* from, size_t bytes);

  // The contexts with such functions.
  std::vector<CUcontext> contexts();

  // True on the thread, inside a function of the program: it may not make CUDA calls that need the
  // device.
  static bool inside();

 private:
  struct Entry {
    CUcontext context;
    Runs runs;
    Body body;
  };
  CUresult startThreadLocked();
  static void* threadMain(void* self);
  void run();
  void runOne(const wire::HostFunctionCall& call);
  void removeLocked(std::unordered_map<uint64_t, Entry>::iterator entry);

  Client& client_;
  std::atomic<size_t> once_{0};  // entries that run once
  std::mutex mutex_;             // guards the rest; a leaf lock
  std::condition_variable added_;
  std::unordered_map<uint64_t, Entry> entries_;
  uint64_t next_ = 1;
  bool thread_ = false;
  std::unordered_map<CUcontext, CUstream>
      copy_streams_;  // used on the thread, erased with contexts
};

}  // namespace farwarp::client
