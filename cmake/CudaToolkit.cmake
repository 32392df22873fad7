# Where the CUDA toolkit is: CUDA_HOME, nvcc on the PATH, the usual place, or the copy that scripts/setup
# installs below the build folder; the first one that suits. This is the only place that knows the order.
#
# As a script, `cmake -P cmake/CudaToolkit.cmake` prints the toolkit's folder, or fails and says why each
# candidate does not suit. scripts/setup asks in this way.

set(FARWARP_CUDA_OWN_COPY "${CMAKE_CURRENT_LIST_DIR}/../build/cuda")
get_filename_component(FARWARP_CUDA_OWN_COPY "${FARWARP_CUDA_OWN_COPY}" ABSOLUTE)

# Sets `reason` to why `home` cannot be used, or to "" when it can.
function(farwarp_judge_cuda_toolkit home reason)
  foreach(file include/cuda.h include/cuda_runtime.h bin/nvcc lib64/libcudart_static.a)
    if(NOT EXISTS "${home}/${file}")
      set(${reason} "${home} has no ${file}." PARENT_SCOPE)
      return()
    endif()
  endforeach()
  file(STRINGS "${home}/include/cuda.h" version REGEX "^#define CUDA_VERSION +[0-9]+" LIMIT_COUNT 1)
  string(REGEX REPLACE "[^0-9]" "" version "${version}")
  if(NOT version MATCHES "^13[0-9][0-9][0-9]$")
    set(${reason} "${home} has CUDA_VERSION ${version}; it must be from 13000 to 13999." PARENT_SCOPE)
    return()
  endif()
  set(${reason} "" PARENT_SCOPE)
endfunction()

# Sets `home` to the toolkit's folder, or to "" and `reasons` to a list of sentences.
function(farwarp_find_cuda_toolkit home reasons)
  set(candidates "")
  if(NOT "$ENV{CUDA_HOME}" STREQUAL "")
    list(APPEND candidates "$ENV{CUDA_HOME}")
  endif()
  find_program(nvcc nvcc NO_CACHE)
  if(nvcc)
    get_filename_component(bin "${nvcc}" REALPATH)
    get_filename_component(bin "${bin}" DIRECTORY)
    get_filename_component(on_path "${bin}" DIRECTORY)
    list(APPEND candidates "${on_path}")
  endif()
  list(APPEND candidates /usr/local/cuda "${FARWARP_CUDA_OWN_COPY}")
  list(REMOVE_DUPLICATES candidates)

  set(found "")
  set(why "")
  foreach(candidate IN LISTS candidates)
    farwarp_judge_cuda_toolkit("${candidate}" reason)
    if(reason STREQUAL "")
      set(found "${candidate}")
      break()
    endif()
    list(APPEND why "${reason}")
  endforeach()
  set(${home} "${found}" PARENT_SCOPE)
  set(${reasons} "${why}" PARENT_SCOPE)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  farwarp_find_cuda_toolkit(home reasons)
  if(home STREQUAL "")
    list(JOIN reasons "\n  " reasons)
    message(FATAL_ERROR "No CUDA 13 toolkit was found:\n  ${reasons}")
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} -E echo "${home}")
endif()
