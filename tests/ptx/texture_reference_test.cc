// Goal: a kernel that names a texture or a surface by a variable reads and writes what the launch
// has under the variable's address; a reference that is not bound is an error, and references are
// not variables that a program can read. Method: small kernels with .texref and .surfref variables
// of several texts, and textures in memory whose texels tell where they are.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

std::shared_ptr<Texture> textureAt(const float* texels, uint32_t width, uint32_t height,
                                   bool is_surface) {
  auto texture = std::make_shared<Texture>();
  texture->is_surface = is_surface;
  texture->levels.push_back(
      {reinterpret_cast<uint64_t>(texels), width, height, 1, width * 4, width * height * 4});
  return texture;
}

constexpr const char* kText = R"(
.global .texref image;
.visible .global .surfref target;
.extern .global .texref elsewhere;
.visible .entry k(.param .u64 p_out)
{
  .reg .b32 %r<8>; .reg .f32 %f<8>; .reg .b64 %d<8>;
  ld.param.u64 %d0, [p_out]; mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 16; add.u64 %d1, %d1, %d0;
  mov.u32 %r1, 1;
  tex.2d.v4.f32.s32 {%f0, %f1, %f2, %f3}, [image, {%r0, %r1}];
  mov.u64 %d2, elsewhere;
  tex.2d.v4.f32.s32 {%f1, %f4, %f5, %f6}, [%d2, {%r0, %r1}];
  txq.width.b32 %r2, [image];
  suq.height.b32 %r3, [target];
  st.global.v2.f32 [%d1], {%f0, %f1}; st.global.v2.b32 [%d1+8], {%r2, %r3};
  shl.b32 %r4, %r0, 2; add.f32 %f0, %f0, %f1;
  sust.b.2d.b32.trap [target, {%r4, %r1}], %f0;
  ret;
}
)";

TEST(TextureReference, IsNamedByItsVariable) {
  TestDevice device;
  std::string main = header() + kText;
  std::string other = header() + ".visible .global .texref elsewhere;\n";
  const LinkInput inputs[] = {{main, "main"}, {other, "other"}};
  CompileLog log;
  auto program = Program::link(inputs, {}, log);
  ASSERT_NE(program, nullptr) << log.text;
  EXPECT_EQ(program->findVariable("image"), -1) << "no variable that programs copy";
  EXPECT_EQ(program->findVariable("image", ReferenceKind::surface), -1);
  const int image = program->findVariable("image", ReferenceKind::texture);
  const int target = program->findVariable("target", ReferenceKind::surface);
  const int elsewhere = program->findVariable("elsewhere", ReferenceKind::texture);
  ASSERT_TRUE(image >= 0 && target >= 0 && elsewhere >= 0);
  std::vector<uint64_t> addresses;
  for (const VariableInfo& v : program->variables()) {
    addresses.push_back(reinterpret_cast<uint64_t>(device.allocateArray<char>(v.size)));
  }
  LoadedProgram loaded(program, addresses);
  loaded.initialise();
  auto* texels = device.allocateArray<float>(64);
  for (int k = 0; k < 32; ++k) texels[k] = static_cast<float>(k);
  auto* stored = device.allocateArray<float>(32);
  auto* out = device.allocateArray<uint32_t>(4 * 8);
  TextureTable table;
  table[loaded.address(static_cast<size_t>(image))] = textureAt(texels, 8, 4, false);
  table[loaded.address(static_cast<size_t>(elsewhere))] = textureAt(texels + 16, 8, 2, false);
  table[loaded.address(static_cast<size_t>(target))] = textureAt(stored, 8, 4, true);
  LaunchShape shape;
  shape.block = {8};
  uint64_t param = reinterpret_cast<uint64_t>(out);
  shape.params = reinterpret_cast<const std::byte*>(&param);
  shape.param_bytes = 8;
  shape.textures = &table;
  const Kernel* kernel = program->findKernel("k");
  ASSERT_NE(kernel, nullptr);
  LaunchResult r = run(*kernel, loaded, shape, device);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t l = 0; l < 8; ++l) {
    EXPECT_EQ(out[4 * l], std::bit_cast<uint32_t>(static_cast<float>(8 + l)));
    EXPECT_EQ(out[4 * l + 1], std::bit_cast<uint32_t>(static_cast<float>(24 + l)));
    EXPECT_EQ(out[4 * l + 2], 8u);
    EXPECT_EQ(out[4 * l + 3], 4u);
    EXPECT_EQ(stored[8 + l], static_cast<float>(32 + 2 * l));
  }
  table.erase(loaded.address(static_cast<size_t>(elsewhere)));
  EXPECT_EQ(run(*kernel, loaded, shape, device).status, LaunchStatus::illegal_address);
}

TEST(TextureReference, WhatIsNoneIsRefused) {
  const char* kWrong[] = {
      ".global .surfref s; .visible .entry k() { .reg .f32 %f<4>; .reg .b32 %r;\n"
      "tex.1d.v4.f32.s32 {%f0,%f1,%f2,%f3}, [s, {%r}]; ret; }",
      ".global .texref t; .visible .entry k() { .reg .b32 %r<2>;\n"
      "suld.b.1d.b32.trap %r0, [t, {%r1}]; ret; }",
      ".global .b64 t; .visible .entry k() { .reg .f32 %f<4>; .reg .b32 %r;\n"
      "tex.1d.v4.f32.s32 {%f0,%f1,%f2,%f3}, [t, {%r}]; ret; }",
      ".visible .entry k() { .shared .texref t; ret; }",
      ".global .pred p[4] = {1, 0, 1, 0}; .visible .entry k() { ret; }",
      ".visible .entry k() { .reg .b32 %r<3>; add.u32 %r0, -%r1, %r2; ret; }",
      ".visible .entry k() { .reg .b32 %r<3>; add.u32 %r0, !%r1, %r2; ret; }",
  };
  for (const char* text : kWrong) {
    CompileLog log;
    std::string whole = header() + text;
    EXPECT_EQ(Program::compile(whole, log), nullptr) << text;
    EXPECT_EQ(log.status, CompileStatus::invalid_ptx) << text << ": " << log.text;
  }
}

}  // namespace
}  // namespace farwarp::ptx
