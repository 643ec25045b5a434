// A CUDA device for a CPU-only build of torch, whose memory is the CPU's.
//
// libtorch has the dispatch keys CUDA, SparseCUDA and SparseCsrCUDA in every build, without kernels where it
// was built for the CPU. A boxed fallback is registered for them here: it applies CUDA's rules about devices,
// makes CPU aliases of the same memory, calls the CPU kernel, and returns its results as CUDA tensors.
// Tensors are plain torch.Tensor of the device type cuda, so the library under test needs no change. An
// allocator, a device guard (autograd then runs a thread for the device, as with a GPU), CUDA hooks,
// generators and pinned memory come with it. pretended.py compiles this file, provides the properties of the
// operations and replaces the Python functions of torch.cuda.

#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/is_set_to_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/empty.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/SparseCsrTensorImpl.h>
#include <ATen/SparseTensorImpl.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Resize.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <pthread.h>
#include <atomic>
#include <mutex>
#include <set>
#include <unordered_map>

namespace pretended {
using namespace at;
using c10::DispatchKey;
using c10::DispatchKeySet;
using torch::jit::Stack;

const Device DEVICE(kCUDA, 0);
std::atomic<bool> on{false};

// ---- memory -------------------------------------------------------------------------------------------------------

std::atomic<int64_t> allocated{0}, peak{0}, total{int64_t(80) << 30}, n_allocations{0};

// After its parent has used CUDA, a forked child cannot use it.
std::atomic<bool> used{false}, forked_after_use{false};

void check_usable() {
  TORCH_CHECK(on, "Torch not compiled with CUDA enabled (the pretended device is off)");
  TORCH_CHECK(!forked_after_use, "Cannot re-initialize CUDA in forked subprocess. To use CUDA with "
                                 "multiprocessing, you must use the 'spawn' start method");
  used = true;
}

void account_for(size_t n) {
  int64_t now = (allocated += int64_t(n));
  if (now > total) {
    allocated -= int64_t(n);
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", n, " bytes (pretended device: ",
                     now - int64_t(n), " of ", total.load(), " in use).");
  }
  int64_t old = peak;
  while (now > old && !peak.compare_exchange_weak(old, now)) {}
  ++n_allocations;
}

struct Block {
  c10::DataPtr data;
  c10::Storage from;  // the storage of the CPU tensor that owns the memory, if one does
  size_t n;
};

void free_block(void* ctx) {
  auto* block = static_cast<Block*>(ctx);
  allocated -= int64_t(block->n);
  delete block;
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    if (n == 0) return {nullptr, nullptr, &c10::detail::deleteNothing, DEVICE};
    account_for(n);
    auto* block = new Block{c10::GetCPUAllocator()->allocate(n), {}, n};
    return {block->data.get(), block, &free_block, DEVICE};
  }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
};
DeviceAllocator allocator;

c10::DataPtr adopt(const c10::Storage& cpu) {
  if (cpu.nbytes() == 0) return {nullptr, nullptr, &c10::detail::deleteNothing, DEVICE};
  account_for(cpu.nbytes());
  auto* block = new Block{{}, cpu, cpu.nbytes()};
  return {cpu.mutable_data(), block, &free_block, DEVICE};
}

std::mutex pinned_lock;
std::set<const void*> pinned;
void free_pinned(void* p) {
  { std::lock_guard<std::mutex> g(pinned_lock); pinned.erase(p); }
  c10::GetCPUAllocator()->raw_deallocate(p);
}
struct PinnedAllocator final : at::HostAllocator {
  c10::DataPtr allocate(size_t n) override {
    void* p = c10::GetCPUAllocator()->raw_allocate(n ? n : 1);
    std::lock_guard<std::mutex> g(pinned_lock);
    pinned.insert(p);
    return {p, p, &free_pinned, Device(kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};
PinnedAllocator pinned_allocator;

// ---- generators ---------------------------------------------------------------------------------------------------

// Draws by a CPU generator with another seed, so that the numbers differ from the CPU's as they do on CUDA. The state
// is longer than that of a CPU generator, so that setting the state of the wrong kind is an error.
struct DeviceGenerator final : c10::GeneratorImpl {
  Generator inner;
  uint64_t seed_ = default_rng_seed_val, offset_ = 0;
  DeviceGenerator() : GeneratorImpl(DEVICE, DispatchKeySet(DispatchKey::CUDA)), inner(at::detail::createCPUGenerator()) {
    set_current_seed(default_rng_seed_val);
  }
  void set_current_seed(uint64_t seed) override {
    seed_ = seed;
    offset_ = 0;
    inner.set_current_seed(seed * 6364136223846793005ULL + 1442695040888963407ULL);
  }
  void set_offset(uint64_t offset) override { offset_ = offset; }
  uint64_t get_offset() const override { return offset_; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override {
    uint64_t s = c10::detail::getNonDeterministicRandom(false);
    set_current_seed(s);
    return s;
  }
  void set_state(const c10::TensorImpl& state) override {
    auto size = const_cast<Generator&>(inner).get_state().numel();
    TORCH_CHECK(state.device().is_cpu(), "RNG state must be a torch.ByteTensor");
    TORCH_CHECK(state.numel() == size + 16, "RNG state is wrong size");
    auto* p = static_cast<const uint8_t*>(state.data());
    auto part = at::empty({size}, at::kByte);
    std::memcpy(part.data_ptr(), p, size);
    std::memcpy(&seed_, p + size, 8);
    std::memcpy(&offset_, p + size + 8, 8);
    inner.set_state(part);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    auto part = const_cast<Generator&>(inner).get_state();
    auto state = at::empty({part.numel() + 16}, at::kByte);
    auto* p = static_cast<uint8_t*>(state.data_ptr());
    std::memcpy(p, part.data_ptr(), part.numel());
    std::memcpy(p + part.numel(), &seed_, 8);
    std::memcpy(p + part.numel() + 8, &offset_, 8);
    return state.getIntrusivePtr();
  }
  void graphsafe_set_state(const c10::intrusive_ptr<c10::GeneratorImpl>& state) override {
    set_state(*state->get_state());
  }
  c10::intrusive_ptr<c10::GeneratorImpl> graphsafe_get_state() const override { return clone(); }
  DeviceGenerator* clone_impl() const override {
    auto* g = new DeviceGenerator();
    g->set_state(*get_state());
    return g;
  }
};

const Generator& default_generator() {
  static Generator g = at::make_generator<DeviceGenerator>();
  return g;
}

Generator inner_of(const Generator& g) { return static_cast<DeviceGenerator*>(g.unsafeGetGeneratorImpl())->inner; }

// ---- device guard and hooks ---------------------------------------------------------------------------------------

thread_local int64_t stream_now = 0;
std::atomic<int64_t> n_streams{0};
void wait(const std::string& name, const char* why, int64_t numel);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return kCUDA; }
  Device exchangeDevice(Device d) const override { setDevice(d); return DEVICE; }
  Device getDevice() const override { return DEVICE; }
  void setDevice(Device d) const override {
    TORCH_CHECK(d.index() <= 0, "CUDA error: invalid device ordinal");
  }
  void uncheckedSetDevice(Device) const noexcept override {}
  c10::Stream getStream(Device) const override { return c10::Stream(c10::Stream::UNSAFE, DEVICE, stream_now); }
  c10::Stream getDefaultStream(Device) const override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::Stream getStreamFromGlobalPool(Device, bool) const override { return getNewStream(DEVICE, 0); }
  c10::Stream getNewStream(Device, int) const override {
    return c10::Stream(c10::Stream::UNSAFE, DEVICE, ++n_streams);
  }
  c10::Stream exchangeStream(c10::Stream s) const override {
    auto old = getStream(DEVICE);
    stream_now = s.id();
    return old;
  }
  DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void** event, const c10::Stream&, const DeviceIndex, const c10::EventFlag) const override {
    static char something;
    *event = &something;
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { wait("synchronize", "synchronize", 0); }
  void synchronizeEvent(void*) const override { wait("synchronize", "synchronize", 0); }
  void synchronizeDevice(const DeviceIndex) const override { wait("synchronize", "synchronize", 0); }
  double elapsedTime(void*, void*, const DeviceIndex) const override { return 0.0; }
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  Hooks() = default;
  void init() const override {}
  bool isBuilt() const override { return on; }
  bool isAvailable() const override { return on; }
  const Generator& getDefaultGenerator(DeviceIndex) const override { return default_generator(); }
  Generator getNewGenerator(DeviceIndex) const override { return at::make_generator<DeviceGenerator>(); }
  Device getDeviceFromPtr(void*) const override { return DEVICE; }
  bool isPinnedPtr(const void* p) const override {
    std::lock_guard<std::mutex> g(pinned_lock);
    return pinned.count(p) > 0;
  }
  bool hasCUDA() const override { return on; }
  bool hasPrimaryContext(DeviceIndex) const override { return on; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex deviceCount() const override { return on ? 1 : 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(DeviceIndex) const override {}
  DeviceIndex exchangeDevice(DeviceIndex) const override { return 0; }
  DeviceIndex maybeExchangeDevice(DeviceIndex) const override { return 0; }
  Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  Allocator* getCUDADeviceAllocator() const override { return &allocator; }
  int getNumGPUs() const override { return on ? 1 : 0; }
  void deviceSynchronize(DeviceIndex) const override { wait("synchronize", "synchronize", 0); }
};

// ---- properties of operations -------------------------------------------------------------------------------------

enum Flag : int64_t {
  EXACT = 1,               // all tensors on one device, those of no dimension included
  ANY = 2,                 // the devices may differ
  INDEX = 4,               // index tensors may be on the CPU
  MISSING = 8,             // CUDA has no kernel
  WAITS = 16,              // the host waits for the device
  WAITS_BOOL = 32,         // the host waits if one of the indices is a mask
  UNORDERED = 64,          // a sum whose order is not fixed on CUDA
  FLOATING = 128,          // CUDA has no kernel for integers
  DRAWS = 256,             // draws random numbers and takes no generator
  METADATA = 512,          // launches no kernel
  UNORDERED_ERROR = 1024,  // CUDA raises under torch.use_deterministic_algorithms
  COPY = 2048,
  REPEATS = 4096,          // repeat_interleave: waits unless output_size is given
  SEGMENTS = 8192,         // segment_reduce: waits unless unsafe=True
};

struct Info {
  int64_t flags = EXACT;
  std::string name;      // "aten::add.out"
  std::string method;    // "wrapper_CUDA_add_out"
  std::vector<bool> writes;   // for each argument whether it is written to
  std::vector<int> same_as;   // for each result the argument that it is, or -1
  bool has_generator = false;
};

std::unordered_map<std::string, int64_t> table;
std::mutex infos_lock;
std::unordered_map<std::string, std::unique_ptr<Info>> infos;

Info& info_of(const c10::OperatorHandle& op) {
  thread_local std::unordered_map<const void*, Info*> mine;
  const void* key = &op.schema();
  auto found = mine.find(key);
  if (found != mine.end()) return *found->second;
  const auto& schema = op.schema();
  std::string name = schema.name();
  if (!schema.overload_name().empty()) name += "." + schema.overload_name();
  std::lock_guard<std::mutex> g(infos_lock);
  auto& slot = infos[name];
  if (!slot) {
    slot = std::make_unique<Info>();
    slot->name = name;
    slot->method = "wrapper_CUDA_" + name.substr(name.find("::") + 2);
    std::replace(slot->method.begin(), slot->method.end(), '.', '_');
    auto known = table.find(name);
    slot->flags = known == table.end() ? int64_t(EXACT) : known->second;
    for (const auto& a : schema.arguments()) {
      slot->writes.push_back(a.alias_info() && a.alias_info()->isWrite());
      if (a.type()->str().find("Generator") != std::string::npos) slot->has_generator = true;
    }
    for (const auto& r : schema.returns()) {
      int same = -1;
      if (r.alias_info() && r.alias_info()->isWrite()) {
        for (size_t i = 0; i < schema.arguments().size(); ++i) {
          const auto* info = schema.arguments()[i].alias_info();
          if (info && info->isWrite() && info->beforeSets() == r.alias_info()->beforeSets()) same = int(i);
        }
      }
      slot->same_as.push_back(same);
    }
  }
  mine[key] = slot.get();
  return *slot;
}

// ---- reporting of events ------------------------------------------------------------------------------------------

std::atomic<bool> reporting{false};
PyObject* listener = nullptr;

void report(const std::string& name, const char* what, int64_t numel) {
  if (!reporting) return;
  pybind11::gil_scoped_acquire gil;
  if (listener == nullptr) return;
  pybind11::handle call(listener);
  call(name, what, numel);
}

// ---- recorded graphs ----------------------------------------------------------------------------------------------

struct RecordedCall {
  c10::OperatorHandle op;
  std::vector<c10::IValue> arguments, results;
};
struct Recording {
  std::vector<RecordedCall> steps;
};
std::atomic<bool> capturing{false};
std::mutex recording_lock;
std::shared_ptr<Recording> recording;

void wait(const std::string& name, const char* why, int64_t numel) {
  TORCH_CHECK(!capturing, "CUDA error: operation not permitted when stream is capturing (", name, ": ", why, ")");
  report(name, why, numel);
}

// ---- conversion between device tensors and their CPU aliases ------------------------------------------------------

bool on_device(const Tensor& t) { return t.defined() && t.device().is_cuda(); }

struct Call {
  std::vector<std::pair<Tensor, Tensor>> tensors;              // on the device, its CPU alias
  std::vector<std::pair<c10::Storage, c10::Storage>> storages;

  c10::Storage to_cpu(const c10::Storage& cuda) {
    for (auto& [a, b] : storages)
      if (a.unsafeGetStorageImpl() == cuda.unsafeGetStorageImpl()) return b;
    c10::Storage cpu(c10::Storage::use_byte_size_t(), cuda.nbytes(),
                     c10::DataPtr(cuda.mutable_data(), Device(kCPU)), c10::GetCPUAllocator(), /*resizable=*/true);
    storages.emplace_back(cuda, cpu);
    return cpu;
  }

  c10::Storage to_device(const c10::Storage& cpu) {
    for (auto& [a, b] : storages)
      if (b.unsafeGetStorageImpl() == cpu.unsafeGetStorageImpl()) return a;
    c10::Storage cuda(c10::Storage::use_byte_size_t(), cpu.nbytes(), adopt(cpu), &allocator, /*resizable=*/true);
    storages.emplace_back(cuda, cpu);
    return cuda;
  }

  static Tensor dense(c10::Storage storage, DispatchKey key, const Tensor& like) {
    auto t = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), DispatchKeySet(key), like.dtype());
    auto* impl = t.unsafeGetTensorImpl();
    impl->set_storage_offset(like.storage_offset());
    impl->set_sizes_and_strides(like.sizes(), like.strides());
    if (like.is_conj()) t._set_conj(true);
    if (like.is_neg()) t._set_neg(true);
    if (like.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
    return t;
  }

  static Tensor coo(const Tensor& like, const Tensor& indices, const Tensor& values, DispatchKey key) {
    auto* old = static_cast<SparseTensorImpl*>(like.unsafeGetTensorImpl());
    auto t = at::detail::make_tensor<SparseTensorImpl>(DispatchKeySet(key), like.dtype());
    auto* impl = static_cast<SparseTensorImpl*>(t.unsafeGetTensorImpl());
    impl->resize_(old->sparse_dim(), old->dense_dim(), like.sizes());
    impl->set_indices_and_values_unsafe(indices, values);
    impl->set_coalesced(old->coalesced());
    return t;
  }

  static Tensor compressed(const Tensor& like, const Tensor& outer, const Tensor& inner, const Tensor& values,
                           DispatchKey key, Device device) {
    auto t = at::detail::make_tensor<SparseCsrTensorImpl>(DispatchKeySet(key), device, like.layout(), like.dtype());
    static_cast<SparseCsrTensorImpl*>(t.unsafeGetTensorImpl())
        ->set_member_tensors(outer, inner, values, like.sizes());
    return t;
  }

  // Rebuilds a tensor on the CPU (`down`) or on the device; `part` converts its members.
  template <class Convert>
  Tensor converted(const Tensor& t, bool down, Convert part) {
    auto layout = t.layout();
    Device device = down ? Device(kCPU) : DEVICE;
    if (layout == kSparse) {
      auto* impl = static_cast<SparseTensorImpl*>(t.unsafeGetTensorImpl());
      return coo(t, part(impl->indices()), part(impl->values()), down ? DispatchKey::SparseCPU : DispatchKey::SparseCUDA);
    }
    if (layout == kSparseCsr || layout == kSparseCsc || layout == kSparseBsr || layout == kSparseBsc) {
      auto* impl = static_cast<SparseCsrTensorImpl*>(t.unsafeGetTensorImpl());
      return compressed(t, part(impl->compressed_indices()), part(impl->plain_indices()), part(impl->values()),
                        down ? DispatchKey::SparseCsrCPU : DispatchKey::SparseCsrCUDA, device);
    }
    TORCH_CHECK(layout == kStrided, "pretended device: no tensors of layout ", layout);
    return dense(down ? to_cpu(t.storage()) : to_device(t.storage()), down ? DispatchKey::CPU : DispatchKey::CUDA, t);
  }

  Tensor down(const Tensor& t) {
    if (!on_device(t)) return t;
    for (auto& [a, b] : tensors)
      if (a.is_same(t)) return b;
    Tensor cpu = converted(t, true, [&](const Tensor& x) { return down(x); });
    tensors.emplace_back(t, cpu);
    return cpu;
  }

  Tensor up(const Tensor& t) {
    if (!t.defined() || !t.device().is_cpu()) return t;
    for (auto& [a, b] : tensors)
      if (b.is_same(t)) return a;
    Tensor cuda = converted(t, false, [&](const Tensor& x) { return up(x); });
    tensors.emplace_back(cuda, t);
    return cuda;
  }

  // After a write through its CPU alias a tensor may have another size, or new members if it is sparse.
  void follow(const Tensor& cuda) {
    if (!on_device(cuda)) return;
    for (auto& [a, b] : tensors) {
      if (!a.is_same(cuda)) continue;
      Tensor cpu = b;
      if (cuda.layout() == kStrided) {
        auto old = cuda.storage();
        auto now = cpu.storage();
        if (now.unsafeGetStorageImpl() != to_cpu(old).unsafeGetStorageImpl()) {
          cuda.unsafeGetTensorImpl()->set_storage_keep_dtype(to_device(now));
        } else if (now.data() != old.data()) {
          // The device storage takes over the new memory; the CPU alias refers to it until the call ends.
          size_t n = now.nbytes();
          c10::DataPtr owned = now.unsafeGetStorageImpl()->set_data_ptr(c10::DataPtr(nullptr, Device(kCPU)));
          c10::Storage holder(c10::Storage::use_byte_size_t(), n, std::move(owned), c10::GetCPUAllocator(), true);
          now.unsafeGetStorageImpl()->set_data_ptr_noswap(c10::DataPtr(holder.mutable_data(), Device(kCPU)));
          old.unsafeGetStorageImpl()->set_data_ptr_noswap(adopt(holder));
          old.unsafeGetStorageImpl()->set_nbytes(n);
        }
        if (cuda.sizes() != cpu.sizes() || cuda.strides() != cpu.strides() ||
            cuda.storage_offset() != cpu.storage_offset()) {
          cuda.unsafeGetTensorImpl()->set_storage_offset(cpu.storage_offset());
          cuda.unsafeGetTensorImpl()->set_sizes_and_strides(cpu.sizes(), cpu.strides());
        }
      } else if (cuda.layout() == kSparse) {
        auto* from = static_cast<SparseTensorImpl*>(cpu.unsafeGetTensorImpl());
        auto* to = static_cast<SparseTensorImpl*>(cuda.unsafeGetTensorImpl());
        auto indices = up(from->indices()), values = up(from->values());
        to->resize_(from->sparse_dim(), from->dense_dim(), cpu.sizes());
        to->set_indices_and_values_unsafe(indices, values);
        to->set_coalesced(from->coalesced());
      } else {
        auto* from = static_cast<SparseCsrTensorImpl*>(cpu.unsafeGetTensorImpl());
        static_cast<SparseCsrTensorImpl*>(cuda.unsafeGetTensorImpl())
            ->set_member_tensors(up(from->compressed_indices()), up(from->plain_indices()), up(from->values()), cpu.sizes());
      }
      return;
    }
  }
};

// Calls `visit` with every tensor of an argument.
template <class Visit>
void each_tensor(const c10::IValue& v, Visit visit) {
  if (v.isTensor()) {
    if (v.toTensor().defined()) visit(v.toTensor());
  } else if (v.isTensorList()) {
    for (const auto& t : v.toTensorVector()) if (t.defined()) visit(t);
  } else if (v.isOptionalTensorList()) {
    for (const std::optional<Tensor>& t : v.toOptionalTensorList()) if (t && t->defined()) visit(*t);
  }
}

c10::IValue mapped(const c10::IValue& v, const std::function<Tensor(const Tensor&)>& f) {
  if (v.isTensor()) return f(v.toTensor());
  if (v.isTensorList()) {
    c10::List<Tensor> out;
    for (const auto& t : v.toTensorVector()) out.push_back(f(t));
    return out;
  }
  if (v.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> out;
    for (const std::optional<Tensor>& t : v.toOptionalTensorList())
      out.push_back(t && t->defined() ? std::optional<Tensor>(f(*t)) : t);
    return out;
  }
  return v;
}

bool floats(const std::vector<c10::IValue>& args) {
  bool any = false;
  for (const auto& a : args)
    each_tensor(a, [&](const Tensor& t) { any |= on_device(t) && !c10::isIntegralType(t.scalar_type(), true); });
  return any;
}

bool is_mask(const Tensor& t) { return t.scalar_type() == kBool || t.scalar_type() == kByte; }

void check_devices(const c10::OperatorHandle& op, const Info& info, const std::vector<c10::IValue>& args) {
  if (info.flags & ANY) return;
  const auto& names = op.schema().arguments();
  if (info.flags & INDEX) {
    // The arguments are self, indices and, for a write, values.
    Tensor self = args[0].toTensor();
    each_tensor(args[1], [&](const Tensor& t) {
      TORCH_CHECK_INDEX(t.device() == self.device() || t.device().is_cpu(),
                        "indices should be either on cpu or on the same device as the indexed tensor (",
                        self.device(), ")");
    });
    for (size_t i = 2; i < args.size(); ++i)
      each_tensor(args[i], [&](const Tensor& t) {
        bool scalar = t.dim() == 0 && t.device().is_cpu() && !info.writes[i];
        bool accumulates = args.size() > 3 && args[3].isBool() && args[3].toBool();
        TORCH_CHECK(t.device() == self.device() || (scalar && !accumulates), "expected device ", self.device(),
                    " but got device ", t.device(), " for value tensor");
      });
    return;
  }
  std::optional<Device> common;
  for (const auto& a : args)
    each_tensor(a, [&](const Tensor& t) {
      if (!common || (common->is_cpu() && !t.device().is_cpu())) common = t.device();
    });
  std::optional<Device> first;
  for (size_t i = 0; i < args.size(); ++i)
    each_tensor(args[i], [&](const Tensor& t) {
      if (info.flags & EXACT) {
        if (!first) first = t.device();
        TORCH_CHECK(t.device() == *first, "Expected all tensors to be on the same device, but got ", names[i].name(),
                    " is on ", t.device(), ", different from other tensors on ", *first,
                    " (when checking argument in method ", info.method, ")");
        return;
      }
      bool scalar = t.dim() == 0 && t.device().is_cpu() && !info.writes[i];
      TORCH_CHECK(t.device() == *common || scalar,
                  "Expected all tensors to be on the same device, but found at least two devices, ", *common, " and ",
                  t.device(), "!");
    });
}

void count_events(const c10::OperatorHandle& op, Info& info, const std::vector<c10::IValue>& args) {
  int64_t flags = info.flags, numel = 0, widest = 0;
  bool mask = false, cpu = false, cuda = false, doubles = false, unpinned = false, compressed = false;
  for (size_t i = 0; i < args.size(); ++i)
    each_tensor(args[i], [&](const Tensor& t) {
      numel += t.numel();
      if (on_device(t)) {
        cuda = true;
        if (t.scalar_type() == kDouble || t.scalar_type() == kComplexDouble) {
          doubles = true;
          widest = std::max(widest, t.numel());
        }
        if (i > 0 && is_mask(t)) mask = true;
        // The cuSPARSE algorithm that torch takes by default does not fix the order of the sum.
        if (t.layout() == kSparseCsr && (info.flags & FLOATING)) compressed = true;
      } else if (t.device().is_cpu() && t.numel() > 0) {
        if (t.dim() > 0 || (flags & COPY)) cpu = true;
        if (t.layout() != kStrided || !Hooks().isPinnedPtr(t.storage().data())) unpinned = true;
      }
    });
  if (flags & COPY) {
    bool blocking = true;
    for (const auto& a : args) if (a.isBool() && a.toBool()) blocking = false;
    if (cpu && cuda) {
      bool to_host = args[0].isTensor() && args[0].toTensor().device().is_cpu();
      const char* why = to_host ? "copy to the host" : "copy to the device";
      if (blocking || (unpinned && capturing)) wait(info.name, why, numel);
      else report(info.name, to_host ? "copy to the host without waiting" : "copy to the device without waiting", numel);
    }
  } else if (flags & WAITS) {
    wait(info.name, info.name == "aten::_local_scalar_dense" ? "item" : "size depends on values", numel);
  } else if ((flags & WAITS_BOOL) && (mask || cpu)) {
    wait(info.name, mask ? "size depends on values" : "copy to the device", numel);
  } else if ((flags & REPEATS) && (args.size() < 2 || args.back().isNone())) {
    wait(info.name, "size depends on values", numel);
  } else if (flags & SEGMENTS) {
    bool safe = true;
    for (const auto& a : args) if (a.isBool() && a.toBool()) safe = false;
    if (safe) wait(info.name, "size depends on values", numel);
  }
  if (!reporting) return;
  bool unordered_cumsum = info.name.rfind("aten::cumsum", 0) == 0 && floats(args);
  if ((flags & UNORDERED) || compressed || unordered_cumsum) report(info.name, "order of a sum", numel);
  if (doubles && !(flags & METADATA)) report(info.name, "float64", widest);
  if (!(flags & METADATA)) report(info.name, "kernel", numel);
}

void check_kernel(const Info& info, const std::vector<c10::IValue>& args) {
  if (info.flags & MISSING)
    TORCH_CHECK_NOT_IMPLEMENTED(false, "Could not run '", info.name, "' with arguments from the 'CUDA' backend.");
  if (info.flags & FLOATING)
    for (const auto& a : args)
      each_tensor(a, [&](const Tensor& t) {
        TORCH_CHECK_NOT_IMPLEMENTED(!on_device(t) || !c10::isIntegralType(t.scalar_type(), true), "\"",
            info.name.substr(6, info.name.find('.') - 6), "_cuda\" not implemented for '", toString(t.scalar_type()), "'");
      });
  if ((info.flags & UNORDERED_ERROR) && floats(args))
    at::globalContext().alertNotDeterministic(info.name.substr(6) + "_cuda");
}

void run(const c10::OperatorHandle& op, Info& info, std::vector<c10::IValue> args, Stack* stack) {
  Call call;
  bool any_on_device = false;
  for (const auto& a : args) each_tensor(a, [&](const Tensor& t) { any_on_device |= on_device(t); });
  bool factory = false;
  bool drew_default = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const auto& type = *op.schema().arguments()[i].type();
    c10::IValue v = args[i];
    if (v.isDevice()) {
      if (v.toDevice().is_cuda()) { factory = true; v = Device(kCPU); }
    } else if (v.isGenerator()) {
      Generator g = v.toGenerator();
      if (g.defined()) {
        bool cuda = g.device().is_cuda();
        TORCH_CHECK(!cuda || any_on_device || factory, "Expected a 'cpu' device type for generator but found 'cuda'");
        TORCH_CHECK(cuda || !(any_on_device || factory), "Expected a 'cuda' device type for generator but found 'cpu'");
        if (cuda) v = inner_of(g);
      }
    } else if (v.isNone() && info.has_generator && type.str().find("Generator") != std::string::npos) {
      v = inner_of(default_generator());
    } else {
      v = mapped(v, [&](const Tensor& t) { return call.down(t); });
    }
    stack->push_back(std::move(v));
  }
  drew_default = (info.flags & DRAWS) && !info.has_generator;
  {
    c10::impl::ExcludeDispatchKeyGuard below(
        c10::autograd_dispatch_keyset_with_ADInplaceOrView | c10::autocast_dispatch_keyset |
        DispatchKeySet({DispatchKey::Python, DispatchKey::PythonTLSSnapshot}));
    if (drew_default) {
      // The CPU kernel draws from the CPU's generator, which has the device's state during the call.
      auto cpu = at::detail::getDefaultCPUGenerator();
      auto mine = inner_of(default_generator());
      auto kept = cpu.get_state();
      cpu.set_state(mine.get_state());
      try { op.callBoxed(stack); } catch (...) { cpu.set_state(kept); throw; }
      mine.set_state(cpu.get_state());
      cpu.set_state(kept);
    } else {
      op.callBoxed(stack);
    }
  }
  for (size_t i = 0; i < args.size(); ++i)
    if (info.writes[i]) each_tensor(args[i], [&](const Tensor& t) { call.follow(t); });
  for (size_t i = 0; i < stack->size(); ++i) {
    int same = i < info.same_as.size() ? info.same_as[i] : -1;
    c10::IValue& v = (*stack)[i];
    if (same >= 0 && v.isTensor()) v = args[same];
    else v = mapped(v, [&](const Tensor& t) { return call.up(t); });
  }
}

void fallback(const c10::OperatorHandle& op, Stack* stack) {
  check_usable();
  Info& info = info_of(op);
  size_t n = op.schema().arguments().size();
  std::vector<c10::IValue> args(stack->end() - n, stack->end());
  stack->erase(stack->end() - n, stack->end());
  check_devices(op, info, args);
  check_kernel(info, args);
  count_events(op, info, args);
  Stack inner;
  run(op, info, args, &inner);
  if (capturing) {
    std::lock_guard<std::mutex> g(recording_lock);
    if (recording) recording->steps.push_back({op, args, {inner.begin(), inner.end()}});
  }
  for (auto& v : inner) stack->push_back(std::move(v));
}

void replay(const Recording& what) {
  for (const auto& r : what.steps) {
    Info& info = info_of(r.op);
    Stack now;
    run(r.op, info, r.arguments, &now);
    for (size_t i = 0; i < now.size(); ++i) {
      std::vector<Tensor> fresh, old;
      each_tensor(now[i], [&](const Tensor& t) { fresh.push_back(t); });
      each_tensor(r.results[i], [&](const Tensor& t) { old.push_back(t); });
      for (size_t k = 0; k < fresh.size(); ++k) {
        if (fresh[k].is_same(old[k]) || fresh[k].layout() != kStrided ||
            fresh[k].storage().data() == old[k].storage().data()) continue;
        Call call;
        Tensor to = call.down(old[k]), from = call.down(fresh[k]);
        c10::impl::ExcludeDispatchKeyGuard below(c10::autograd_dispatch_keyset_with_ADInplaceOrView);
        to.copy_(from);
      }
    }
  }
}

// ---- operations with a kernel of their own ------------------------------------------------------------------------

Tensor empty_memory_format(c10::SymIntArrayRef size, std::optional<ScalarType> dtype, std::optional<Layout> layout,
                           std::optional<Device> device, std::optional<bool> pin, std::optional<MemoryFormat> format) {
  check_usable();
  TORCH_CHECK(!device || device->index() <= 0, "CUDA error: invalid device ordinal");
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &allocator, DispatchKeySet(DispatchKey::CUDA),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided_(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<ScalarType> dtype,
                      std::optional<Layout> layout, std::optional<Device> device, std::optional<bool> pin) {
  check_usable();
  TORCH_CHECK(!device || device->index() <= 0, "CUDA error: invalid device ordinal");
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &allocator,
                                           DispatchKeySet(DispatchKey::CUDA), c10::dtype_or_default(dtype));
}

Tensor as_strided_(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                   std::optional<c10::SymInt> offset) {
  std::optional<int64_t> start;
  if (offset) start = offset->guard_int(__FILE__, __LINE__);
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), start);
}
Tensor view_(const Tensor& self, c10::SymIntArrayRef size) { return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size)); }
Tensor reshape_alias_(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
const Tensor& resize_(const Tensor& self, c10::SymIntArrayRef size, std::optional<MemoryFormat> format) {
  return at::native::resize_(self, C10_AS_INTARRAYREF_SLOW(size), format);
}
Tensor& set_storage_(Tensor& self, Storage source) {
  int64_t n = int64_t(source.nbytes() / self.dtype().itemsize());
  return at::native::set_storage_cpu_(self, std::move(source), 0, {n}, {});
}
Tensor& set_storage_offset_(Tensor& self, Storage source, c10::SymInt offset, c10::SymIntArrayRef size,
                            c10::SymIntArrayRef stride) {
  return at::native::set_storage_cpu_(self, std::move(source), offset.guard_int(__FILE__, __LINE__),
                                      C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
Tensor& set_tensor_(Tensor& self, const Tensor& source) {
  TORCH_CHECK(self.device() == source.device(), "Attempted to set the storage of a tensor on device \"", self.device(),
              "\" to a storage on different device \"", source.device(), "\".");
  if (self.unsafeGetTensorImpl() == source.unsafeGetTensorImpl()) return self;
  return at::native::set_storage_cpu_(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}
Tensor& set_nothing_(Tensor& self) {
  c10::Storage nothing(c10::Storage::use_byte_size_t(), 0, allocator.allocate(0), &allocator, true);
  return at::native::set_storage_cpu_(self, std::move(nothing), 0, {0}, {});
}
bool is_set_to_(const Tensor& self, const Tensor& other) { return at::native::is_set_to(self, other); }
void record_stream_(Tensor&, c10::Stream) {}
int64_t sdp_choice(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool,
                   std::optional<double>, bool) { return 0; }

using torch::CppFunction;

void begin(std::unordered_map<std::string, int64_t> known, std::vector<std::pair<std::string, std::string>> boxed,
           int64_t memory) {
  static std::vector<torch::Library*> kept;
  table = std::move(known);
  pthread_atfork(nullptr, nullptr, [] { if (used) forked_after_use = true; });
  total = memory;
  c10::impl::device_guard_impl_registry[size_t(kCUDA)].store(new Guard());
  c10::SetAllocator(kCUDA, &allocator);
  at::setHostAllocator(kCUDA, &pinned_allocator);
  // The hooks object may exist already and cannot be replaced, so it gets the methods of this one.
  static Hooks hooks;
  auto& present = const_cast<at::CUDAHooksInterface&>(at::detail::getCUDAHooks());
  *reinterpret_cast<void**>(&present) = *reinterpret_cast<void**>(&hooks);
  for (auto key : {DispatchKey::CUDA, DispatchKey::SparseCUDA, DispatchKey::SparseCsrCUDA}) {
    auto* all = new torch::Library(torch::Library::IMPL, "_", key, __FILE__, __LINE__);
    all->fallback(CppFunction::makeFromBoxedFunction<&fallback>());
    kept.push_back(all);
  }
  auto* m = new torch::Library(torch::Library::IMPL, "aten", DispatchKey::CUDA, __FILE__, __LINE__);
  kept.push_back(m);
  m->impl("empty.memory_format", &empty_memory_format);
  m->impl("empty_strided", &empty_strided_);
  m->impl("as_strided", &as_strided_);
  m->impl("view", &view_);
  m->impl("_reshape_alias", &reshape_alias_);
  m->impl("unfold", &at::native::unfold);
  m->impl("view_as_real", &at::native::view_as_real);
  m->impl("view_as_complex", &at::native::view_as_complex);
  m->impl("resize_", &resize_);
  m->impl("set_.source_Storage", &set_storage_);
  m->impl("set_.source_Storage_storage_offset", &set_storage_offset_);
  m->impl("set_.source_Tensor", &set_tensor_);
  m->impl("set_", &set_nothing_);
  m->impl("is_set_to", &is_set_to_);
  m->impl("record_stream", &record_stream_);
  m->impl("_fused_sdp_choice", &sdp_choice);
  for (const auto& [key, name] : boxed) {
    auto* lib = new torch::Library(torch::Library::IMPL, "aten", c10::parseDispatchKey(key), __FILE__, __LINE__);
    lib->impl(name.c_str(), CppFunction::makeFromBoxedFunction<&fallback>());
    kept.push_back(lib);
  }
}

}  // namespace pretended

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  namespace p = pretended;
  m.def("begin", &p::begin);
  m.def("switch", [](bool value) { p::on = value; });
  m.def("default_generator", [] { return p::default_generator(); });
  m.def("forked_after_use", [] { return p::forked_after_use.load(); });
  m.def("allocator", [] { return reinterpret_cast<int64_t>(static_cast<c10::Allocator*>(&p::allocator)); });
  m.def("memory", [] { return std::vector<int64_t>{p::allocated, p::peak, p::total, p::n_allocations}; });
  m.def("reset_peak", [] { p::peak = p::allocated.load(); });
  m.def("wait", [] { p::wait("synchronize", "synchronize", 0); }, pybind11::call_guard<pybind11::gil_scoped_release>());
  m.def("listen", [](pybind11::object f) {
    PyObject* old = p::listener;
    p::reporting = !f.is_none();
    p::listener = f.is_none() ? nullptr : f.release().ptr();
    Py_XDECREF(old);
  });
  m.def("stream", [](std::optional<int64_t> id) {
    int64_t old = p::stream_now;
    if (id) p::stream_now = *id;
    return old;
  });
  m.def("new_stream", [] { return ++p::n_streams; });
  pybind11::class_<p::Recording, std::shared_ptr<p::Recording>>(m, "Recording")
      .def("__len__", [](const p::Recording& r) { return r.steps.size(); });
  m.def("capture", [](bool start) {
    std::lock_guard<std::mutex> g(p::recording_lock);
    auto done = p::recording;
    p::recording = start ? std::make_shared<p::Recording>() : nullptr;
    p::capturing = start;
    return done;
  });
  m.def("capturing", [] { return p::capturing.load(); });
  m.def("replay", [](std::shared_ptr<p::Recording> r) { p::replay(*r); },
        pybind11::call_guard<pybind11::gil_scoped_release>());
}
