# Libraries of Debian 12 that the project links, as imported targets.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(CapnProto REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(TOMLPP REQUIRED IMPORTED_TARGET tomlplusplus)
# The interpreter for codegen: any python3 >= 3.11 that has Jinja2.
find_program(FARWARP_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)

# OpenSSL as the system has it; a library with the property FARWARP_OWN_OPENSSL gets a copy inside itself.
# A program that loads our libraries may bring an OpenSSL of another version under the same file name, and
# the loader would give it ours.
find_library(FARWARP_SSL_ARCHIVE libssl.a REQUIRED)
find_library(FARWARP_CRYPTO_ARCHIVE libcrypto.a REQUIRED)
set(_own "$<BOOL:$<TARGET_PROPERTY:FARWARP_OWN_OPENSSL>>")
add_library(FarwarpOpenSsl INTERFACE)
target_link_libraries(FarwarpOpenSsl INTERFACE
  "$<${_own}:${FARWARP_SSL_ARCHIVE};${FARWARP_CRYPTO_ARCHIVE};${CMAKE_DL_LIBS}>"
  "$<$<NOT:${_own}>:OpenSSL::SSL;OpenSSL::Crypto>")
