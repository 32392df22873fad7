#include "interposer/session/thread_state.h"

#include <pthread.h>

#include <mutex>
#include <unordered_set>

namespace farwarp::client {
namespace {

// A plain pointer: a thread_local with a destructor would be gone before late calls of the thread.
thread_local ThreadState* current_state = nullptr;

// All threads, for the figures at exit. Never destroyed.
struct Threads {
  std::mutex mutex;  // guards everything below; a leaf lock
  std::unordered_set<ThreadState*> alive;
  uint64_t calls_of_ended = 0;
  uint32_t next_number = 1;
  pthread_key_t key;
};

void endThread(void* state);

Threads& threads() {
  static Threads* const all = [] {
    auto* made = new Threads;
    pthread_key_create(&made->key, endThread);
    return made;
  }();
  return *all;
}

void endThread(void* state) {
  auto* ended = static_cast<ThreadState*>(state);
  {
    Threads& all = threads();
    std::lock_guard lock(all.mutex);
    all.alive.erase(ended);
    all.calls_of_ended += ended->calls.load(std::memory_order_relaxed);
  }
  current_state = nullptr;
  delete ended;
}

ThreadState* startThread() {
  auto* state = new ThreadState;
  Threads& all = threads();
  {
    std::lock_guard lock(all.mutex);
    state->number = all.next_number++;
    all.alive.insert(state);
  }
  pthread_setspecific(all.key, state);
  current_state = state;
  return state;
}

}  // namespace

ThreadState& threadState() {
  ThreadState* state = current_state;
  return state != nullptr ? *state : *startThread();
}

uint64_t callsOfAllThreads() {
  Threads& all = threads();
  std::lock_guard lock(all.mutex);
  uint64_t calls = all.calls_of_ended;
  for (const ThreadState* state : all.alive) calls += state->calls.load(std::memory_order_relaxed);
  return calls;
}

}  // namespace farwarp::client
