// A program that finds out itself whether its result is right, as the programs of others do that
// third_party.py runs. The argument says how it behaves: "right", "wrong", "silent", "late" or
// "process".
#include <unistd.h>

#include <cstdio>
#include <string>

#define COUNT 40  // a test changes it, as the sizes of others' programs are changed

__global__ void square(int* values) {
  values[threadIdx.x] *= values[threadIdx.x];
}

int main(int count, char** words) {
  const std::string behaviour = count > 1 ? words[1] : "right";
  constexpr int kCount = COUNT;
  int values[kCount], *device = nullptr;
  for (int i = 0; i < kCount; ++i) values[i] = i;
  cudaMalloc(&device, sizeof(values));
  cudaMemcpy(device, values, sizeof(values), cudaMemcpyDefault);
  square<<<1, kCount>>>(device);
  cudaMemcpy(values, device, sizeof(values), cudaMemcpyDefault);
  cudaFree(device);
  bool right = behaviour != "wrong";
  for (int i = 0; i < kCount; ++i) right = right && values[i] == i * i;

  if (behaviour == "late") pause();
  if (behaviour == "process") std::printf("The process is %d.\n", static_cast<int>(getpid()));
  if (behaviour != "silent")
    std::printf("The %d squares are %s.\n", kCount, right ? "right" : "WRONG");
  return 0;
}
