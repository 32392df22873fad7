#include "gpud/device/cpu/objects.h"

#include <algorithm>
#include <cstring>

#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {

namespace {

// At least 256, so that each can be bound and copied as memory of its own.
uint64_t placeBehind(uint64_t& bytes, const ptx::VariableInfo& variable) {
  const uint64_t align = std::max<uint64_t>(variable.align, 256);
  const uint64_t offset = (bytes + align - 1) / align * align;
  bytes = offset + variable.size;
  return offset;
}

}  // namespace

std::shared_ptr<ManagedVariables> ManagedVariables::create(Driver& driver,
                                                           const ptx::Program& program) {
  std::shared_ptr<ManagedVariables> managed(new ManagedVariables(driver));
  const auto variables = program.variables();
  managed->addresses_.resize(variables.size());
  uint64_t bytes = 0;
  for (size_t i = 0; i < variables.size(); ++i) {
    if (variables[i].managed) managed->addresses_[i] = placeBehind(bytes, variables[i]);
  }
  if (bytes == 0) return managed;
  managed->address_ =
      driver.memory().allocate({.bytes = bytes, .kind = MemoryKind::managed, .context = 0}, 0);
  if (managed->address_ == 0) return nullptr;
  for (size_t i = 0; i < variables.size(); ++i) {
    const ptx::VariableInfo& variable = variables[i];
    if (!variable.managed) continue;
    managed->addresses_[i] += managed->address_;
    std::memcpy(reinterpret_cast<void*>(managed->addresses_[i]), variable.initial.data(),
                std::min<size_t>(variable.initial.size(), variable.size));
  }
  return managed;
}

ManagedVariables::~ManagedVariables() {
  if (address_ != 0) driver_.memory().release(address_, MemoryKind::managed);
}

std::shared_ptr<Instance> Instance::create(std::shared_ptr<const ptx::Program> program,
                                           Context& context,
                                           std::shared_ptr<ManagedVariables> managed) {
  if (managed == nullptr) return nullptr;
  const auto variables = program->variables();
  std::vector<uint64_t> offsets;
  uint64_t bytes = 0;
  for (const ptx::VariableInfo& variable : variables) {
    offsets.push_back(variable.managed ? 0 : placeBehind(bytes, variable));
  }
  std::shared_ptr<Instance> instance(new Instance(context.driver()));
  if (bytes != 0) {
    AddressSpace& memory = context.driver().memory();
    instance->address_ = memory.allocate({.bytes = bytes,
                                          .kind = MemoryKind::module,
                                          .context = context.number(),
                                          .device = context.device().ordinal()},
                                         context.device().memoryBytes());
    Allocation placed;
    if (instance->address_ == 0 || !memory.find(instance->address_, placed)) return nullptr;
    instance->number_ = placed.number;
    for (uint64_t& offset : offsets) offset += instance->address_;
  }
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (variables[i].managed) offsets[i] = managed->address(i);
  }
  instance->managed_ = std::move(managed);
  instance->loaded_ = std::make_unique<ptx::LoadedProgram>(std::move(program), std::move(offsets));
  instance->loaded_->initialise();
  return instance;
}

Instance::~Instance() {
  loaded_ = nullptr;
  if (address_ != 0) driver_.memory().release(address_, MemoryKind::module, number_);
}

bool Instance::findVariable(const char* name, uint64_t& address, uint64_t& bytes) const {
  const int index = loaded_->program().findVariable(name);
  if (index < 0) return false;
  address = loaded_->address(index);
  bytes = loaded_->program().variables()[index].size;
  return true;
}

// --- Function
// -----------------------------------------------------------------------------------------

namespace {

uint64_t product(const uint32_t dims[3]) {
  return uint64_t{dims[0]} * dims[1] * dims[2];
}

// ptxas makes no kernel with fewer, whatever it is told.
constexpr uint32_t kRegistersLeast = 16;

// Threads of one block for which the registers suffice, or fewer if the kernel says so.
uint32_t threadsMax(const ptx::KernelInfo& kernel, uint32_t registers, const DeviceLimits& limits) {
  uint64_t threads = limits.threads_per_block_max;
  if (registers != 0) {
    const uint64_t per_warp = (uint64_t{registers} * 32 + 255) / 256 * 256;
    threads = std::min<uint64_t>(threads, limits.registers_per_block / per_warp * 32);
  }
  for (const uint32_t* dims : {kernel.max_threads, kernel.required_threads}) {
    if (product(dims) != 0)
      threads = std::min<uint64_t>(product(dims), limits.threads_per_block_max);
  }
  return static_cast<uint32_t>(threads);
}

}  // namespace

Function::Function(Driver& driver, const ptx::Kernel& kernel, std::weak_ptr<Library> library,
                   std::weak_ptr<Module> module, uint32_t registers_max)
    : kernel_(kernel),
      library_(std::move(library)),
      module_(std::move(module)),
      registers_(registers_max == 0 ? kernel.info().registers
                                    : std::min(kernel.info().registers,
                                               std::max(registers_max, kRegistersLeast))) {
  const ptx::KernelInfo& info = kernel.info();
  for (int device = 0; device < driver.devices(); ++device) {
    const uint32_t plain = driver.device(device)->limits().shared_per_block;
    FunctionSettings& settings = settings_[device];
    settings.shared_dynamic_max =
        static_cast<int>(plain - std::min(plain, info.static_shared_bytes));
    for (int axis = 0; axis < 3; ++axis) settings.cluster[axis] = info.required_cluster[axis];
    settings.cluster_must_be_set = product(info.required_cluster) != 0;
  }
}

CUresult Function::instance(Context& context, std::shared_ptr<Instance>& instance) const {
  if (const auto module = this->module(); module != nullptr) {
    if (module->context.get() != &context) return CUDA_ERROR_INVALID_HANDLE;
    instance = module->instance;
    return CUDA_SUCCESS;
  }
  const auto library = this->library();
  if (library == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  return library->instance(context, instance);
}

CUresult Function::attribute(const Device& device, CUfunction_attribute which, int* value) const {
  const ptx::KernelInfo& kernel = info();
  const FunctionSettings& settings = settings_[device.ordinal()];
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = static_cast<int>(threadsMax(kernel, registers_, device.limits()));
      break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = kernel.static_shared_bytes;
      break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
      *value = kernel.const_bytes;
      break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *value = kernel.local_bytes;
      break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = registers_;
      break;
    // Kernels compiled for several architectures are told apart by this: CUB does so.
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
      *value = kernel.target;
      break;
    // The engine makes its code for this device.
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = device.architecture();
      break;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
      *value = 0;
      break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = settings.shared_dynamic_max;
      break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      *value = settings.carveout;
      break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
      *value = settings.cluster_must_be_set;
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
      *value = settings.cluster[0];
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
      *value = settings.cluster[1];
      break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
      *value = settings.cluster[2];
      break;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      *value = settings.nonportable_cluster;
      break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      *value = settings.cluster_policy;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult Function::setAttribute(const Device& device, CUfunction_attribute which, int value) {
  FunctionSettings& settings = settings_[device.ordinal()];
  const DeviceLimits& limits = device.limits();
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
      const uint64_t most = std::max(limits.shared_per_block, limits.shared_per_block_optin);
      if (value < 0 || static_cast<uint64_t>(value) + info().static_shared_bytes > most) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      settings.shared_dynamic_max = value;
      return CUDA_SUCCESS;
    }
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
      settings.carveout = value;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
      // What the kernel was compiled with cannot be changed.
      if (product(info().required_cluster) != 0 || value < 0 || value > 16) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      settings.cluster[which - CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH] = value;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      if (value != 0 && value != 1) return CUDA_ERROR_INVALID_VALUE;
      settings.nonportable_cluster = value;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      if (value < 0 || value > CU_CLUSTER_SCHEDULING_POLICY_LOAD_BALANCING) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      settings.cluster_policy = value;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

FunctionLimits Function::limits(const Device& device) const {
  const FunctionSettings& settings = settings_[device.ordinal()];
  FunctionLimits limits{
      .threads_per_block_max = threadsMax(info(), registers_, device.limits()),
      .shared_static = info().static_shared_bytes,
      .shared_dynamic_max = static_cast<uint32_t>(settings.shared_dynamic_max.load()),
      .registers = registers_,
      .cluster_size_must_be_set = settings.cluster_must_be_set != 0,
      .nonportable_cluster_allowed = settings.nonportable_cluster != 0};
  for (int axis = 0; axis < 3; ++axis) {
    limits.required_cluster[axis] = settings.cluster[axis];
    limits.required_block[axis] = info().required_threads[axis];
  }
  return limits;
}

// --- FunctionSet
// --------------------------------------------------------------------------------------

void FunctionSet::fill(Driver& driver, const ptx::Program& program,
                       const std::shared_ptr<Library>& library,
                       const std::shared_ptr<Module>& module, uint32_t registers_max) {
  for (const ptx::Kernel& kernel : program.kernels()) {
    auto function = std::make_shared<Function>(driver, kernel, library, module, registers_max);
    const uintptr_t handle = driver.functions().insert(function);
    function->setHandle(handle);
    handles_.push_back(function->handle());
    by_name_.emplace(kernel.info().name, function->handle());
  }
}

void FunctionSet::forget(Driver& driver) {
  for (CUfunction handle : handles_) driver.functions().remove(handle);
}

CUfunction FunctionSet::find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : found->second;
}

// --- Library
// ------------------------------------------------------------------------------------------

CUresult Library::instance(Context& context, std::shared_ptr<Instance>& instance) {
  std::lock_guard lock(mutex_);
  auto& mine = instances_[context.number()];
  if (managed_ == nullptr) managed_ = ManagedVariables::create(context.driver(), *program);
  if (mine == nullptr) mine = Instance::create(program, context, managed_);
  if (mine == nullptr) {
    instances_.erase(context.number());
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  instance = mine;
  return CUDA_SUCCESS;
}

CUresult Library::findManaged(Driver& driver, const char* name, uint64_t& address,
                              uint64_t& bytes) {
  const int index = program->findVariable(name);
  if (index < 0 || !program->variables()[index].managed) return CUDA_ERROR_NOT_FOUND;
  std::lock_guard lock(mutex_);
  if (managed_ == nullptr) managed_ = ManagedVariables::create(driver, *program);
  if (managed_ == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  address = managed_->address(index);
  bytes = program->variables()[index].size;
  return CUDA_SUCCESS;
}

CUresult Library::module(const std::shared_ptr<Library>& self, Context& context, CUmodule* module) {
  std::shared_ptr<Instance> instance;
  if (CUresult r = this->instance(context, instance); r != CUDA_SUCCESS) return r;
  std::lock_guard lock(mutex_);
  CUmodule& mine = modules_[context.number()];
  if (mine == nullptr) {
    auto made = std::make_shared<Module>(context.shared_from_this(), program, std::move(instance));
    made->library = self;
    made->handle = reinterpret_cast<CUmodule>(context.driver().modules().insert(made));
    mine = made->handle;
  }
  *module = mine;
  return CUDA_SUCCESS;
}

void Library::forgetContext(uint64_t context) {
  std::lock_guard lock(mutex_);
  instances_.erase(context);
  modules_.erase(context);
}

void Library::forgetModules(Driver& driver) {
  std::lock_guard lock(mutex_);
  for (const auto& [context, module] : modules_) driver.modules().remove(module);
  modules_.clear();
  instances_.clear();
}

}  // namespace farwarp::cpu
