// Names and texts of error codes; they work before cuInit and after a lost connection.
#include "driver/error_names.h"

#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuGetErrorName(CUresult error, const char** name) {
  return getErrorName(error, name);
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  return getErrorString(error, text);
}

}  // namespace farwarp::client::calls
