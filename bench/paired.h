// Measures two ways of doing the same beside each other: short slices of one and of the other take
// turns, so that both meet the same machine.
#pragma once

#include <pthread.h>

#include <functional>
#include <string>
#include <vector>

namespace farwarp::bench {

// CPU time of something since it began, in seconds.
using CpuClock = std::function<double()>;
CpuClock threadCpu();           // of the calling thread
CpuClock threadCpu(pthread_t);  // of another thread of this process, which must outlive the clock
CpuClock processCpu(int pid);   // of one process; stands still when it has ended

// Keep a thread, or all threads that a process has now and will have, on the n-th core that this
// process may use. Do nothing when there is none.
void pinThread(pthread_t thread, int n);
void pinProcess(int pid, int n);
void unpinThread(pthread_t thread);

struct Side {
  // Does `count` operations.
  std::function<void(int count)> run;
  CpuClock near_cpu;  // of the caller
  CpuClock far_cpu;   // of the other end
};

// Medians over the slices, per operation.
struct Figures {
  double wall_s = 0;
  double near_cpu_s = 0;
  double far_cpu_s = 0;
};

struct Comparison {
  Figures raw, own;
  double ratio = 0;        // median over the pairs of slices: own time / raw time
  double ratio_least = 0;  // quartiles, which tell how steady the machine was
  double ratio_greatest = 0;
  // Least over the pairs of CPU time, own / raw: noise only adds to it.
  double near_cpu_least = 0, cpu_least = 0;  // of the caller; of both ends
  int pairs = 0;
};

struct Effort {
  int pairs = 15;
  double slice_s = 0.04;  // at least this long; one operation may take longer
};

Comparison compare(const Side& raw, const Side& own, const Effort& effort);
// One side alone.
Figures measure(const Side& own, const Effort& effort);

double median(std::vector<double> values);

}  // namespace farwarp::bench
