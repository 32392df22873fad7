extern "C" __attribute__((visibility("default"))) int farwarp_runpath_inner() {
  return 1;
}
