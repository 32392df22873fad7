# The CUDA toolkit. Only its headers are needed to build; nvcc builds the sample programs.
include(CudaToolkit)
farwarp_find_cuda_toolkit(FARWARP_CUDA_HOME _reasons)
if(FARWARP_CUDA_HOME STREQUAL "")
  list(JOIN _reasons "\n  " _reasons)
  message(FATAL_ERROR "No CUDA 13 toolkit was found:\n  ${_reasons}\nRun scripts/setup, which installs "
                      "one below build/cuda, or set CUDA_HOME to one.")
endif()
set(FARWARP_NVCC "${FARWARP_CUDA_HOME}/bin/nvcc")
message(STATUS "CUDA toolkit: ${FARWARP_CUDA_HOME}")
include_directories(SYSTEM "${FARWARP_CUDA_HOME}/include")
