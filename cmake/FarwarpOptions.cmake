# Warnings, sanitizers and the linker, the same for every target.
add_compile_options(-Wall -Wextra -Wno-unused-parameter -fno-omit-frame-pointer)
add_compile_definitions(__CUDA_API_VERSION_INTERNAL)  # cuda.h declares every version by its own name

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>)
endif()

if(FARWARP_SANITIZE)
  # Lines are all that a report needs, and a third of the time to compile is saved.
  add_compile_options(-fsanitize=${FARWARP_SANITIZE} -fno-sanitize-recover=all -O1 -g1)
  add_link_options(-fsanitize=${FARWARP_SANITIZE})
endif()

find_program(FARWARP_LLD NAMES ld.lld-14 ld.lld)
if(FARWARP_LLD AND NOT FARWARP_SANITIZE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    add_link_options(-fuse-ld=${FARWARP_LLD})
  endif()
endif()
