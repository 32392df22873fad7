// Preloaded into a sample with shared cudart: every launch succeeds and executes nothing.
#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int __cudaLaunchKernel() {
  return 0;
}
EXPORTED int cudaLaunchCooperativeKernel() {
  return 0;
}
