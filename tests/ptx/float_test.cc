// Goal: f32 and f64 arithmetic is exactly rounded in all modes, keeps or flushes subnormals as
// told, and approximations stay within the documented errors. Method: kernels over pairs of edge
// and random values, compared with MPFR in the format's precision and exponent range.
#include <mpfr.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr int kPrecision = 24, kLeast = -148, kMost = 128;
  static constexpr const char* kName = "f32";
};
template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr int kPrecision = 53, kLeast = -1073, kMost = 1024;
  static constexpr const char* kName = "f64";
};

using Operation = std::function<int(mpfr_ptr, mpfr_srcptr, mpfr_srcptr, mpfr_srcptr, mpfr_rnd_t)>;

template <class T>
T exact(const Operation& operation, T a, T b, T c, mpfr_rnd_t rounding) {
  mpfr_set_emin(Format<T>::kLeast);
  mpfr_set_emax(Format<T>::kMost);
  mpfr_t x, y, z, r;
  for (mpfr_ptr v : {x, y, z, r}) mpfr_init2(v, Format<T>::kPrecision);
  mpfr_set_d(x, a, MPFR_RNDN);
  mpfr_set_d(y, b, MPFR_RNDN);
  mpfr_set_d(z, c, MPFR_RNDN);
  int inexact = operation(r, x, y, z, rounding);
  mpfr_subnormalize(r, inexact, rounding);
  T result = static_cast<T>(mpfr_get_d(r, MPFR_RNDN));
  for (mpfr_ptr v : {x, y, z, r}) mpfr_clear(v);
  return result;
}

uint64_t seed() {
  const char* given = std::getenv("FARWARP_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
}

template <class T>
std::vector<T> values(std::mt19937_64& random) {
  using L = std::numeric_limits<T>;
  std::vector<T> list = {0,
                         T(-0.0),
                         1,
                         -1,
                         T(1.5),
                         T(0.1),
                         T(-3),
                         2,
                         L::min(),
                         -L::min(),
                         L::denorm_min(),
                         L::min() / 2,
                         -L::denorm_min(),
                         L::max(),
                         L::lowest(),
                         L::infinity(),
                         -L::infinity(),
                         L::quiet_NaN(),
                         L::epsilon(),
                         1 + L::epsilon(),
                         1 - L::epsilon() / 2};
  while (list.size() < 48) {
    list.push_back(std::bit_cast<T>(static_cast<typename Format<T>::Bits>(random())));
  }
  while (list.size() < 64)
    list.push_back(static_cast<T>(std::ldexp(double(random() >> 11), int(random() % 40) - 60)));
  return list;
}

template <class T>
bool same(T got, T want) {
  if (want != want)
    return got != got && (sizeof(T) == 8 || std::bit_cast<uint32_t>(float(got)) == 0x7fffffff);
  return std::memcmp(&got, &want, sizeof(T)) == 0;
}

// Runs `instruction` over %d, %a, %b, %c for all pairs; `want` gives the expected value.
template <class T>
void check(const std::string& instruction, int level, const std::function<T(T, T, T)>& want,
           const std::function<bool(T, T)>& equal = same<T>) {
  uint64_t start = seed();
  SCOPED_TRACE(instruction + ", seed " + std::to_string(start) + ", level " +
               std::to_string(level));
  std::mt19937_64 random(start);
  std::vector<T> list = values<T>(random);
  std::string type = Format<T>::kName, size = std::to_string(sizeof(T));
  std::string registers = ".reg ." + type + " %a, %b, %c, %d;", body;
  for (int n = 0; n < 3; ++n) {
    body += "mad.wide.u32 %at, %tidx, " + size + ", %in" + std::to_string(n) + "; ld.global." +
            type + " %" + "abc"[n] + ", [%at];\n";
  }
  body += instruction + "\nmad.wide.u32 %at, %tidx, " + size + ", %out; st.global." + type +
          " [%at], %d;";
  TestDevice device;
  TestModule module(device, kernelText(registers, body, 3), level);
  ASSERT_TRUE(module);
  size_t count = list.size() * list.size();
  T *a = device.allocateArray<T>(count), *b = device.allocateArray<T>(count);
  T *c = device.allocateArray<T>(count), *out = device.allocateArray<T>(count);
  for (size_t k = 0; k < count; ++k) {
    a[k] = list[k % list.size()];
    b[k] = list[k / list.size()];
    c[k] = list[random() % list.size()];
  }
  LaunchResult result =
      module.launch("k", {static_cast<uint32_t>(count / 64)}, {64}, 0, out, a, b, c);
  ASSERT_EQ(result.status, LaunchStatus::ok) << result.detail.message;
  for (size_t k = 0; k < count; ++k) {
    T expected = want(a[k], b[k], c[k]);
    ASSERT_TRUE(equal(out[k], expected)) << std::hexfloat << "a " << a[k] << " b " << b[k] << " c "
                                         << c[k] << " got " << out[k] << " want " << expected;
  }
}

class Float : public testing::TestWithParam<int> {};

constexpr std::pair<const char*, mpfr_rnd_t> kModes[] = {
    {"rn", MPFR_RNDN}, {"rz", MPFR_RNDZ}, {"rm", MPFR_RNDD}, {"rp", MPFR_RNDU}};
const std::pair<const char*, Operation> kOperations[] = {
    {"add", [](auto r, auto a, auto b, auto, auto m) { return mpfr_add(r, a, b, m); }},
    {"sub", [](auto r, auto a, auto b, auto, auto m) { return mpfr_sub(r, a, b, m); }},
    {"mul", [](auto r, auto a, auto b, auto, auto m) { return mpfr_mul(r, a, b, m); }},
    {"div", [](auto r, auto a, auto b, auto, auto m) { return mpfr_div(r, a, b, m); }},
    {"fma", [](auto r, auto a, auto b, auto c, auto m) { return mpfr_fma(r, a, b, c, m); }},
    {"sqrt", [](auto r, auto a, auto, auto, auto m) { return mpfr_sqrt(r, a, m); }},
};

template <class T>
void checkRounding(int level) {
  for (const auto& [name, operation] : kOperations) {
    for (const auto& [mode, rounding] : kModes) {
      std::string operands = std::string(name) == "sqrt"  ? " %d, %a;"
                             : std::string(name) == "fma" ? " %d, %a, %b, %c;"
                                                          : " %d, %a, %b;";
      const Operation& op = operation;
      mpfr_rnd_t how = rounding;
      check<T>(std::string(name) + "." + mode + "." + Format<T>::kName + operands, level,
               [&op, how](T a, T b, T c) { return exact<T>(op, a, b, c, how); });
    }
  }
}

TEST_P(Float, SinglePrecisionIsExactlyRounded) {
  checkRounding<float>(GetParam());
}
TEST_P(Float, DoublePrecisionIsExactlyRounded) {
  checkRounding<double>(GetParam());
}

float flushed(float v) {
  return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}

TEST_P(Float, FtzFlushesInputsAndResults) {
  check<float>("add.ftz.f32 %d, %a, %b;", GetParam(), [](float a, float b, float) {
    return flushed(exact<float>(kOperations[0].second, flushed(a), flushed(b), 0, MPFR_RNDN));
  });
  check<float>("mul.rz.ftz.f32 %d, %a, %b;", GetParam(), [](float a, float b, float) {
    return flushed(exact<float>(kOperations[2].second, flushed(a), flushed(b), 0, MPFR_RNDZ));
  });
}

TEST_P(Float, SatClampsAndTurnsNanIntoZero) {
  check<float>("fma.rn.sat.f32 %d, %a, %b, %c;", GetParam(), [](float a, float b, float c) {
    float r = exact<float>(kOperations[4].second, a, b, c, MPFR_RNDN);
    return r > 0 ? std::min(r, 1.0f) : 0.0f;
  });
}

TEST_P(Float, MinimumAndMaximumPreferNumbers) {
  auto least = [](float a, float b) {
    if (a != a) return b;
    if (b != b) return a;
    return a < b || (a == b && std::signbit(a)) ? a : b;
  };
  check<float>("min.f32 %d, %a, %b;", GetParam(),
               [&](float a, float b, float) { return least(a, b); });
  check<float>("max.f32 %d, %a, %b;", GetParam(),
               [&](float a, float b, float) { return -least(-a, -b); });
  check<float>("min.NaN.f32 %d, %a, %b;", GetParam(), [&](float a, float b, float) {
    return a != a || b != b ? std::nanf("") : least(a, b);
  });
  check<float>("max.NaN.xorsign.abs.f32 %d, %a, %b;", GetParam(), [&](float a, float b, float) {
    if (a != a || b != b) return std::nanf("");
    float most = -least(-std::fabs(a), -std::fabs(b));
    return std::signbit(a) != std::signbit(b) ? -most : most;
  });
  check<float>("min.abs.f32 %d, %a, %b, %c;", GetParam(), [&](float a, float b, float c) {
    return least(least(std::fabs(a), std::fabs(b)), std::fabs(c));
  });
}

// Relative error against the exact function, where the result is neither zero nor out of range.
void checkApproximate(const char* instruction, int level, double relative, double absolute,
                      double (*function)(double), double least, double most) {
  check<float>(
      instruction, level, [](float a, float, float) { return a; },
      [](float, float) { return true; });  // runs for every value without error
  TestDevice device;
  std::string body = std::string("mad.wide.u32 %at, %tidx, 4, %in0; ld.global.f32 %a, [%at];\n") +
                     instruction + "\nmad.wide.u32 %at, %tidx, 4, %out; st.global.f32 [%at], %d;";
  TestModule module(device, kernelText(".reg .f32 %a, %d;", body), level);
  ASSERT_TRUE(module);
  constexpr uint32_t kCount = 8192;
  float *in = device.allocateArray<float>(kCount), *out = device.allocateArray<float>(kCount);
  for (uint32_t k = 0; k < kCount; ++k)
    in[k] = static_cast<float>(least + (most - least) * k / kCount);
  ASSERT_EQ(module.launch("k", {kCount / 128}, {128}, 0, out, in).status, LaunchStatus::ok);
  for (uint32_t k = 0; k < kCount; ++k) {
    double want = function(in[k]), error = std::abs(out[k] - want);
    ASSERT_TRUE(error <= absolute || error <= relative * std::abs(want))
        << instruction << " x " << in[k] << " got " << out[k] << " want " << want;
  }
}

TEST_P(Float, ApproximationsStayWithinTheirBounds) {
  int level = GetParam();
  double ulp = std::ldexp(1, -23);
  checkApproximate(
      "ex2.approx.f32 %d, %a;", level, 4 * ulp / 2, 0, [](double x) { return std::exp2(x); }, -100,
      100);
  checkApproximate(
      "lg2.approx.f32 %d, %a;", level, 2 * ulp, 2 * ulp, [](double x) { return std::log2(x); },
      1e-3, 50);
  checkApproximate(
      "sin.approx.f32 %d, %a;", level, 0, std::exp2(-20.5), [](double x) { return std::sin(x); },
      -3.14159, 3.14159);
  checkApproximate(
      "cos.approx.f32 %d, %a;", level, 0, std::exp2(-20.5), [](double x) { return std::cos(x); },
      -3.14159, 3.14159);
  checkApproximate(
      "rcp.approx.f32 %d, %a;", level, ulp, 0, [](double x) { return 1 / x; }, 1e-3, 1e3);
  checkApproximate(
      "rsqrt.approx.f32 %d, %a;", level, 1.1 * ulp, 0, [](double x) { return 1 / std::sqrt(x); },
      1e-3, 1e3);
  checkApproximate(
      "tanh.approx.f32 %d, %a;", level, std::ldexp(1, -11), 0,
      [](double x) { return std::tanh(x); }, -6, 6.01);
}

INSTANTIATE_TEST_SUITE_P(Levels, Float, testing::Values(0, 2));

}  // namespace
}  // namespace farwarp::ptx
