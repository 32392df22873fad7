// Reads one image through textures of several kinds and writes through a surface: a plain texture,
// one with layers, a cube, a volume, and mipmaps that a kernel makes from level to level.
//
// usage: textures [SIZE]
#include <vector>

#include "sample.h"

constexpr int kTile = 16;
constexpr int kLayers = 3;

struct Image {
  cudaArray_t array = nullptr;
  cudaTextureObject_t texture = 0;
};

__device__ int column() {
  return blockIdx.x * blockDim.x + threadIdx.x;
}
__device__ int row() {
  return blockIdx.y * blockDim.y + threadIdx.y;
}

// The image shifted by half a texel, so that the filter averages four neighbours exactly.
__global__ void average(cudaTextureObject_t image, float* out, int size) {
  const int x = column(), y = row();
  if (x < size && y < size) out[y * size + x] = tex2D<float>(image, x + 1.0f, y + 1.0f);
}

__global__ void sumLayers(cudaTextureObject_t image, cudaTextureObject_t volume, float* out,
                          int size) {
  const int x = column(), y = row();
  if (x >= size || y >= size) return;
  float sum = 0;
  for (int layer = 0; layer < kLayers; ++layer) {
    sum += tex2DLayered<float>(image, x + 0.5f, y + 0.5f, layer);
    sum += 2 * tex3D<float>(volume, x + 0.5f, y + 0.5f, layer + 0.5f);
  }
  out[y * size + x] = sum;
}

__global__ void lookAround(cudaTextureObject_t cube, float* out) {
  const float sign = threadIdx.x % 2 == 0 ? 1 : -1;
  const int axis = threadIdx.x / 2;
  out[threadIdx.x] = texCubemap<float>(cube, axis == 0 ? sign : 0.25f, axis == 1 ? sign : 0.25f,
                                       axis == 2 ? sign : 0.25f);
}

__global__ void nextLevel(cudaTextureObject_t finer, cudaSurfaceObject_t coarser, int size) {
  const int x = column(), y = row();
  if (x >= size || y >= size) return;
  // Between the four texels that become one.
  const float value = tex2D<float>(finer, (x + 0.5f) / size, (y + 0.5f) / size);
  surf2Dwrite(value, coarser, x * static_cast<int>(sizeof(float)), y);
}

__global__ void readLevels(cudaTextureObject_t mipmaps, float* out) {
  out[threadIdx.x] = tex2DLod<float>(mipmaps, 0.5f, 0.5f, static_cast<float>(threadIdx.x));
}

dim3 blocksFor(int size) {
  const unsigned count = (size + kTile - 1) / kTile;
  return dim3(count, count);
}

cudaTextureObject_t makeTexture(const cudaResourceDesc& resource, cudaTextureFilterMode filter,
                                bool normalized) {
  cudaTextureDesc description{};
  for (auto& mode : description.addressMode) mode = cudaAddressModeClamp;
  description.filterMode = filter;
  description.readMode = cudaReadModeElementType;
  description.normalizedCoords = normalized;
  description.maxMipmapLevelClamp = 20;
  cudaTextureObject_t texture = 0;
  CHECK_CUDA(cudaCreateTextureObject(&texture, &resource, &description, nullptr));
  return texture;
}

cudaResourceDesc resourceOf(cudaArray_t array) {
  cudaResourceDesc resource{};
  resource.resType = cudaResourceTypeArray;
  resource.res.array.array = array;
  return resource;
}

// An array of `depth` slices that hold `values`, and a texture of it.
Image makeImage(const std::vector<float>& values, int size, int depth, unsigned flags,
                cudaTextureFilterMode filter) {
  Image image;
  const cudaChannelFormatDesc format = cudaCreateChannelDesc<float>();
  const cudaExtent extent = make_cudaExtent(size, size, depth);
  CHECK_CUDA(cudaMalloc3DArray(&image.array, &format, extent, flags));
  cudaMemcpy3DParms copy{};
  copy.srcPtr =
      make_cudaPitchedPtr(const_cast<float*>(values.data()), size * sizeof(float), size, size);
  copy.dstArray = image.array;
  copy.extent = make_cudaExtent(size, size, depth == 0 ? 1 : depth);
  copy.kind = cudaMemcpyHostToDevice;
  CHECK_CUDA(cudaMemcpy3D(&copy));
  image.texture = makeTexture(resourceOf(image.array), filter, (flags & cudaArrayCubemap) != 0);
  return image;
}

void freeImage(const Image& image) {
  CHECK_CUDA(cudaDestroyTextureObject(image.texture));
  CHECK_CUDA(cudaFreeArray(image.array));
}

// The averages of all levels of a square of a power of two, at its middle, by way of mipmaps.
std::vector<float> levelsOf(const std::vector<float>& values, int size, int levels, float* device) {
  const cudaChannelFormatDesc format = cudaCreateChannelDesc<float>();
  cudaMipmappedArray_t mipmaps = nullptr;
  CHECK_CUDA(cudaMallocMipmappedArray(&mipmaps, &format, make_cudaExtent(size, size, 0), levels,
                                      cudaArraySurfaceLoadStore));
  cudaArray_t finer = nullptr;
  CHECK_CUDA(cudaGetMipmappedArrayLevel(&finer, mipmaps, 0));
  CHECK_CUDA(cudaMemcpy2DToArray(finer, 0, 0, values.data(), size * sizeof(float),
                                 size * sizeof(float), size, cudaMemcpyHostToDevice));
  for (int level = 1; level < levels; ++level) {
    cudaArray_t coarser = nullptr;
    CHECK_CUDA(cudaGetMipmappedArrayLevel(&coarser, mipmaps, level));
    const cudaTextureObject_t from = makeTexture(resourceOf(finer), cudaFilterModeLinear, true);
    cudaSurfaceObject_t to = 0;
    const cudaResourceDesc target = resourceOf(coarser);
    CHECK_CUDA(cudaCreateSurfaceObject(&to, &target));
    nextLevel<<<blocksFor(size >> level), dim3(kTile, kTile)>>>(from, to, size >> level);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_CUDA(cudaDestroySurfaceObject(to));
    CHECK_CUDA(cudaDestroyTextureObject(from));
    finer = coarser;
  }
  cudaResourceDesc resource{};
  resource.resType = cudaResourceTypeMipmappedArray;
  resource.res.mipmap.mipmap = mipmaps;
  const cudaTextureObject_t texture = makeTexture(resource, cudaFilterModeLinear, true);
  readLevels<<<1, levels>>>(texture, device);
  CHECK_CUDA(cudaGetLastError());
  std::vector<float> means(levels);
  CHECK_CUDA(cudaMemcpy(means.data(), device, levels * sizeof(float), cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaDestroyTextureObject(texture));
  CHECK_CUDA(cudaFreeMipmappedArray(mipmaps));
  return means;
}

int wrong(const char* what, int index, float value, float expected) {
  std::printf("textures: %s %d is %g; it must be %g: wrong\n", what, index, value, expected);
  return sample::kWrong;
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 64, 1, 4096);
  sample::noMoreArguments(argc, argv, 1);
  const int count = size * size;

  // Small whole numbers, so that averages of four are exact.
  std::vector<float> values(count * kLayers);
  for (size_t i = 0; i < values.size(); ++i) values[i] = sample::mixed(i) % 1024;
  const auto at = [&](int x, int y) {
    return values[(y < size ? y : size - 1) * size + (x < size ? x : size - 1)];
  };

  float* device;
  CHECK_CUDA(cudaMalloc(&device, count * sizeof(float) + 64 * sizeof(float)));
  std::vector<float> averages(count), sums(count);
  const dim3 blocks = blocksFor(size), threads(kTile, kTile);

  const Image plain = makeImage(values, size, 0, 0, cudaFilterModeLinear);
  average<<<blocks, threads>>>(plain.texture, device, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(averages.data(), device, count * sizeof(float), cudaMemcpyDeviceToHost));
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      const float expected = (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4;
      const float value = averages[y * size + x];
      if (value != expected) return wrong("average", y * size + x, value, expected);
    }
  }

  const Image layered = makeImage(values, size, kLayers, cudaArrayLayered, cudaFilterModePoint);
  const Image volume = makeImage(values, size, kLayers, 0, cudaFilterModeLinear);
  sumLayers<<<blocks, threads>>>(layered.texture, volume.texture, device, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(sums.data(), device, count * sizeof(float), cudaMemcpyDeviceToHost));
  for (int i = 0; i < count; ++i) {
    float expected = 0;
    for (int layer = 0; layer < kLayers; ++layer) expected += 3 * values[layer * count + i];
    if (sums[i] != expected) return wrong("sum", i, sums[i], expected);
  }

  const std::vector<float> faces{0, 1, 2, 3, 4, 5};
  const Image cube = makeImage(faces, 1, 6, cudaArrayCubemap, cudaFilterModePoint);
  std::vector<float> seen(6);
  lookAround<<<1, 6>>>(cube.texture, device);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(seen.data(), device, 6 * sizeof(float), cudaMemcpyDeviceToHost));
  for (int face = 0; face < 6; ++face) {
    if (seen[face] != faces[face]) return wrong("face", face, seen[face], faces[face]);
  }

  constexpr int kSquare = 16, kLevels = 5;
  std::vector<float> square(kSquare * kSquare);
  float sum = 0;
  for (size_t i = 0; i < square.size(); ++i) sum += square[i] = sample::mixed(i) % 256;
  const std::vector<float> means = levelsOf(square, kSquare, kLevels, device);
  const float mean = sum / square.size();
  for (int level : {3, 4}) {
    if (means[level] != mean) return wrong("mean of level", level, means[level], mean);
  }

  for (const Image& image : {plain, layered, volume, cube}) freeImage(image);
  CHECK_CUDA(cudaFree(device));
  std::printf(
      "textures: %d x %d, checksum %016llx: right\n", size, size,
      static_cast<unsigned long long>(sample::checksum(averages.data(), count * sizeof(float)) ^
                                      sample::checksum(sums.data(), count * sizeof(float))));
  return sample::kRight;
}
