// A KJ event loop without a thread of its own: whoever calls runs it, one at a time.
//
// Leader and followers: of the threads that wait, one (the leader) polls the socket, without the
// lock, and runs the loop when something came; it wakes each other waiter (follower) whose
// condition came true, and hands over when its own has. A thread that only sends enters the loop,
// and leaves at once.
//
// There is no libuv loop here on purpose: one socket needs none, and a libuv loop would put an
// epoll set, pipes and fork handlers into a process that is not ours.
#pragma once

#include <kj/async.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "protocol/message_stream.h"

namespace farwarp::wire {

// A callable that is not kept.
template <typename>
class FunctionRef;
template <typename Result>
class FunctionRef<Result()> {
 public:
  template <typename Function>
  FunctionRef(const Function& function)  // NOLINT: callables convert
      : object_(&function),
        call_([](const void* object) { return (*static_cast<const Function*>(object))(); }) {}
  Result operator()() const { return call_(object_); }

 private:
  const void* object_;
  Result (*call_)(const void*);
};

class SharedLoop {
 public:
  using Work = FunctionRef<void()>;
  using Condition = FunctionRef<bool()>;
  using Lock = std::unique_lock<std::mutex>;
  using Clock = std::chrono::steady_clock;
  using Deadline = std::optional<Clock::time_point>;

  // `spin_us`: how long a leader polls busily before it sleeps.
  explicit SharedLoop(int spin_us);
  ~SharedLoop();
  SharedLoop(const SharedLoop&) = delete;
  SharedLoop& operator=(const SharedLoop&) = delete;

  OutputFlushers& flushers() { return port_.flushers; }
  // The stream to read from, or null; under the lock.
  void setStream(MessageStream* stream, int fd);

  // The lock guards everything in the loop. Lock order: no other lock is taken under it.
  Lock lock() { return Lock(mutex_); }
  Lock tryLock() { return Lock(mutex_, std::try_to_lock); }

  // Runs `work` inside the loop and turns the loop until nothing is left to do. When the calling
  // thread is inside another event loop of the same Cap'n Proto library, a helper thread does it.
  // `work` must not throw.
  void run(Lock& lock, Work work);

  // Waits until `done` holds (it is asked under the lock). False at the deadline. A wait for
  // `output` ends by what is written; it does not wake up for each message that comes meanwhile,
  // and reads only for others and when the peer has said its last word.
  enum class For { input, output };
  bool waitUntil(Lock& lock, Condition done, For what = For::input, Deadline deadline = {});

  // Reads what came if nobody else does; never sleeps.
  void tick(Lock& lock);

  // Called under the lock after the loop ran; here the owner looks at the stream's state.
  void onTurn(std::function<void()> callback) { on_turn_ = std::move(callback); }

  // In a forked child, without the lock: closes this process's copy of the wake-up descriptor.
  void abandonAfterFork();

 private:
  class Port final : public kj::EventPort {
   public:
    bool wait() override;
    bool poll() override;
    void wake() const override {}
    OutputFlushers flushers;
  };

  struct Waiter {
    Condition done;
    bool needs_input;
    std::condition_variable wake{};
    bool leads = false;
    bool woken = false;
  };

  void lead(Lock& lock, Waiter& self, Deadline deadline);
  void pollUnlocked(Lock& lock, Deadline deadline);
  bool leaderMustLookAgain() const;
  bool anyoneNeedsInput() const;
  void readTurn(Lock& lock);
  void wakeFinished();
  void kickLeader();
  void runOnHelper(Work work);
  void helperMain();

  std::mutex mutex_;
  Port port_;
  kj::EventLoop loop_;
  MessageStream* stream_ = nullptr;
  int fd_ = -1;
  const int wake_fd_;
  const int spin_us_;
  std::function<void()> on_turn_;
  std::vector<Waiter*> waiters_;
  Waiter* leader_ = nullptr;
  bool leader_polls_ = false, leader_polls_read_ = false, leader_polls_write_ = false;
  bool leader_kicked_ = false;

  // The helper, made when first needed. Guarded by helper_mutex_, which is taken under mutex_.
  std::mutex helper_mutex_;
  std::condition_variable helper_wake_;
  std::thread helper_;
  const Work* helper_work_ = nullptr;
  bool helper_stop_ = false;
};

}  // namespace farwarp::wire
