// Goal: waits run at the same time up to the limit, the rest queues, and nothing is lost. Method:
// waits that block on a latch which only opens when the right number of them is inside.
#include "gpud/worker/wait_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace farwarp::worker {
namespace {

TEST(WaitPool, WaitsAtTheSameTime) {
  std::latch all_inside(4);
  std::atomic<int> done{0};
  {
    WaitPool pool(4);
    for (int i = 0; i < 4; ++i) {
      pool.run([&] {
        all_inside.arrive_and_wait();  // hangs unless four threads wait together
        ++done;
      });
    }
  }
  EXPECT_EQ(done, 4);
}

TEST(WaitPool, QueuesBeyondTheLimit) {
  std::atomic<int> inside{0}, most{0}, done{0};
  {
    WaitPool pool(2);
    for (int i = 0; i < 100; ++i) {
      pool.run([&] {
        const int now = ++inside;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        --inside;
        ++done;
      });
    }
    EXPECT_LE(pool.threads(), 2u);
  }
  EXPECT_EQ(done, 100);
  EXPECT_LE(most, 2);
}

}  // namespace
}  // namespace farwarp::worker
