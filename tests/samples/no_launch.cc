// Preloaded into a sample with shared cudart: every launch succeeds and executes nothing.
extern "C" __attribute__((visibility("default"))) int __cudaLaunchKernel() { return 0; }
