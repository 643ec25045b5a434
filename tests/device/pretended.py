"""A CUDA device for a CPU-only build of torch: CUDA's rules about devices, on the memory of the CPU.

It runs the CUDA code of the library on a machine without a GPU, so that faults of device placement raise the errors
that they raise there: tensors of two devices in one operation, ``.numpy()`` of a CUDA tensor, a mask or a generator
of the wrong device, operations without a CUDA kernel, a wait for the device while a graph is captured. Values are
computed by torch's CPU kernels. :func:`watch` counts by source line what costs time on a GPU: kernels, waits of the
host, copies, double precision, and sums whose order CUDA does not fix.

    make test-device                                   # the tests, with device="auto" meaning this device
    pytest --device=pretended tests/engines

It needs a C++ compiler (g++ or the one in CXX) and Python's headers. `device.cpp` is compiled once, which takes about
half a minute, and kept in pytest's cache. It was written for torch 2.13.

Which devices may meet in an operation is read from torch's own table, ``native_functions.yaml``.

What it does not show:

* Speed and asynchronous execution: every operation is done when it returns, so that races between streams and reads
  of pinned memory before a copy has ended do not show.
* Rounding: sums are in the CPU's order; TF32, cuSPARSE, cuFFT and cuSOLVER take no part. Sums that vary from run to
  run on a GPU do not vary here; they are counted.
* Use of ``data_ptr()``, which is an address in the CPU's memory. ``numpy.asarray``, ``.numpy()`` and ``from_dlpack``
  raise as they should.
* torch.compile for CUDA, what Triton compiles (`kernels.py` runs its kernels by its interpreter), kernels of cuDNN and
  fused attention, several devices, limits of the hardware, and data types that single CUDA kernels lack (products of
  integer matrices raise).
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import types
from collections import Counter
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("device.cpp")
ROOT = Path(__file__).resolve().parents[2]
BUILDS = ROOT / ".pytest_cache" / "pretended_device"
MEMORY = 80 * 2**30


# -- the properties of operations -------------------------------------------------------------------------

# As in `Flag` of device.cpp.
EXACT, ANY, INDEX, MISSING, WAITS, WAITS_BOOL, UNORDERED, FLOATING = (2**k for k in range(8))
DRAWS, METADATA, UNORDERED_ERROR, COPY, REPEATS, SEGMENTS = (2**k for k in range(8, 14))

# By the part of an operation's name before the dot. What torch's table does not say:
PROPERTIES = {
    UNORDERED: "index_add index_add_ scatter_add scatter_add_ scatter_reduce scatter_reduce_",
    UNORDERED_ERROR: "histc kthvalue _embedding_bag put_ index_reduce nll_loss2d_forward median cumsum "
    "adaptive_avg_pool2d_backward upsample_bilinear2d_backward",
    FLOATING: "mm bmm addmm addmm_ baddbmm baddbmm_ addbmm addmv addmv_ dot vdot _addmm_activation",
    WAITS: "_local_scalar_dense equal is_nonzero nonzero masked_select _unique _unique2 unique_dim unique_consecutive "
    "unique_dim_consecutive bincount _coalesce _sparse_coo_tensor_unsafe multinomial to_sparse _to_sparse "
    "_to_sparse_csr linalg_eig linalg_eigvals _linalg_eigvals _validate_compressed_sparse_indices",
    METADATA: "_nnz _indices _values indices values crow_indices col_indices ccol_indices row_indices is_coalesced "
    "sparse_dim dense_dim _dimI _dimV _coalesced_ detach alias is_pinned _sparse_coo_tensor_with_dims "
    "_sparse_coo_tensor_with_dims_and_tensors resize_ set_ sym_size _sparse_compressed_tensor_with_dims as_strided "
    "view expand transpose t select slice unsqueeze squeeze diagonal permute",
    WAITS_BOOL: "_index_put_impl_",
    COPY: "copy_ _foreach_copy_",
    REPEATS: "repeat_interleave",
    SEGMENTS: "segment_reduce",
}
# What the table says otherwise, or cannot say:
ANY_DEVICE = [
    "copy_",
    "_foreach_copy_",
    "_foreach_copy",
    "_copy_from",
    "_copy_from_and_resize",
    "copy_sparse_to_sparse_",
    "resize_",
    "resize_as_",
    "is_set_to",
    "_to_copy",
    "_pin_memory",
    "is_pinned",
    "record_stream",
    "_fused_adam_",
    "_fused_adamw_",
    "_fused_sgd_",
    "_fused_adagrad_",
]
INDEXED = ["index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"]
# The table has no CUDA kernel for these, and they work there by another way.
NOT_MISSING = ["slow_conv3d_forward", "narrow_copy", "_make_dep_token", "from_file"]
# They have a kernel in device.cpp.
OWN_KERNEL = [
    "empty.memory_format",
    "empty_strided",
    "as_strided",
    "view",
    "_reshape_alias",
    "unfold",
    "view_as_real",
    "view_as_complex",
    "resize_",
    "set_.source_Storage",
    "set_.source_Storage_storage_offset",
    "set_.source_Tensor",
    "set_",
    "is_set_to",
    "record_stream",
    "_fused_sdp_choice",
]


def torch_table():
    """The entries of torch's native_functions.yaml by name, read without a YAML parser."""
    import torchgen

    path = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    functions, entry, in_dispatch = {}, None, False
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("- func: "):
            signature = line.removeprefix("- func: ")
            entry, in_dispatch = {"signature": signature, "dispatch": {}}, False
            functions[signature.split("(")[0]] = entry
        elif entry is not None and (found := re.match(r"  (\w+):\s*(.*)", line)):
            in_dispatch = found[1] == "dispatch"
            if not in_dispatch:
                entry[found[1]] = found[2].split("#")[0].strip()
        elif in_dispatch and (found := re.match(r"    ([\w, ]+):\s*(\S+)", line)):
            entry["dispatch"].update((key.strip(), found[2]) for key in found[1].split(","))
    return functions


def properties_of(name, entry, functions):
    base = name.split(".")[0]
    flags = 0 if entry.get("device_check") == "NoCheck" else EXACT
    if base in ANY_DEVICE:
        flags = ANY
    if base in INDEXED:
        flags = INDEX
    for flag, names in PROPERTIES.items():
        if base in names.split():
            flags |= flag
    kernels = entry["dispatch"] or functions.get(entry.get("structured_delegate"), {}).get("dispatch", {})
    missing = "CPU" in kernels and "CUDA" not in kernels and not is_composite(entry)
    if missing and base not in NOT_MISSING:
        flags |= MISSING
    if "nondeterministic_seeded" in entry.get("tags", "") and "Generator" not in entry["signature"]:
        flags |= DRAWS
    return flags


def is_composite(entry):
    return any(key.startswith("Composite") for key in entry["dispatch"])


def replaced_composites(functions):
    """(key, operation) where CUDA has a kernel of its own beside a composite one, which would be found first."""
    known = set(torch._C._dispatch_get_all_op_names())
    pairs = [("CUDA", "copy_")]
    for name, entry in functions.items():
        for key in {"CUDA", "SparseCUDA", "SparseCsrCUDA"} & set(entry["dispatch"]):
            if key == "CUDA":
                taken = is_composite(entry) and name not in OWN_KERNEL
            else:
                taken = key.replace("CUDA", "CPU") in entry["dispatch"]
            if taken and f"aten::{name}" in known:
                pairs.append((key, name))
    return list(dict.fromkeys(pairs))


# -- the compiled part ------------------------------------------------------------------------------------


def reason_against():
    """Why there can be no pretended device here, or None."""
    if getattr(torch._C, "_has_cuda", False):
        return "this build of torch has CUDA itself"
    if not library().exists() and compiler() is None:
        return "there is no C++ compiler"
    try:
        extension()
    except subprocess.CalledProcessError as error:
        return f"device.cpp does not compile with torch {torch.__version__}: {error.stderr[:500]}"
    return None


def compiler():
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")


def library():
    """Where the compiled module of this source, torch and Python is."""
    key = hashlib.sha256((SOURCE.read_text("utf-8") + torch.__version__ + sys.version).encode())
    return BUILDS / f"pretended_{key.hexdigest()[:16]}.so"


def compiled(path):
    root = Path(torch.__file__).parent
    include = [root / "include", root / "include/torch/csrc/api/include", sysconfig.get_path("include")]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may compile at once; each replaces the file as a whole.
    made = path.with_suffix(f".{os.getpid()}")
    command = [
        compiler(), "-O1", "-std=c++20", "-shared", "-fPIC", "-w",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}", f"-DTORCH_EXTENSION_NAME={path.stem}",
        *(f"-I{folder}" for folder in include), str(SOURCE), "-o", str(made), f"-L{root / 'lib'}",
        "-ltorch_python", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    made.replace(path)


@functools.cache
def extension():
    path = library()
    if not path.exists():
        compiled(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions = torch_table()
    properties = {f"aten::{name}": properties_of(name, entry, functions) for name, entry in functions.items()}
    module.begin(properties, replaced_composites(functions), MEMORY)
    return module


# -- torch.cuda -------------------------------------------------------------------------------------------


class Stream(torch.Stream):
    """Work on a stream is done at once."""

    priority = 0

    def __new__(cls, device=None, priority=0, **options):
        return super().__new__(cls, **(options or {"device": torch.device("cuda", 0)}))

    def wait_event(self, event):
        pass

    def wait_stream(self, stream):
        pass

    def record_event(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def query(self):
        return True

    def synchronize(self):
        extension().wait()


class Event:
    def __init__(self, enable_timing=False, blocking=False, interprocess=False, external=False):
        self.at = None

    def record(self, stream=None):
        self.at = time.perf_counter()

    def wait(self, stream=None):
        pass

    def query(self):
        return True

    def synchronize(self):
        extension().wait()

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


class CUDAGraph:
    """The operations of a capture are run again by replay, on the same memory."""

    def __init__(self, keep_graph=False):
        self.recording = None

    def capture_begin(self, pool=None, capture_error_mode="global"):
        if extension().capturing():
            raise RuntimeError("CUDA error: a graph is being captured already")
        extension().capture(True)

    def capture_end(self):
        self.recording = extension().capture(False)

    def replay(self):
        if self.recording is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        extension().replay(self.recording)

    def reset(self):
        self.recording = None

    def pool(self):
        return (0, 1)


@contextlib.contextmanager
def graph(cuda_graph, pool=None, stream=None, capture_error_mode="global"):
    """torch.cuda.graph."""
    extension().wait()
    cuda_graph.capture_begin()
    try:
        yield
    except BaseException:
        cuda_graph.capture_end()
        cuda_graph.reset()
        raise
    cuda_graph.capture_end()


@contextlib.contextmanager
def on_stream(stream):
    """torch.cuda.stream."""
    before = extension().stream(stream and stream.stream_id)
    try:
        yield
    finally:
        extension().stream(before)


def stream_of(number):
    return Stream(stream_id=number, device_index=0, device_type=1)


def properties(device=None):
    index_of(device)
    return types.SimpleNamespace(
        name="pretended", major=9, minor=0, total_memory=MEMORY, multi_processor_count=132, warp_size=32,
        L2_cache_size=50 * 2**20, max_threads_per_multi_processor=2048, shared_memory_per_block=49152,
    )  # fmt: skip


def index_of(device):
    if device is None:
        return 0
    device = torch.device(device)
    if device.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {device}")
    if device.index:
        raise AssertionError("Invalid device id")
    return 0


def lazy_init():
    """What was asked of CUDA before its first use, such as seeds, is done at the first use."""
    cuda = torch.cuda
    if extension().forked_after_use():
        raise RuntimeError(
            "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the "
            "'spawn' start method"
        )
    if cuda._initialized or hasattr(cuda._tls, "is_initializing"):
        return
    cuda._tls.is_initializing = True
    try:
        for call, _ in [*cuda._queued_calls, *filter(None, cuda._lazy_seed_tracker.get_calls())]:
            call()
    finally:
        del cuda._tls.is_initializing
    cuda._queued_calls.clear()
    cuda._initialized = True


def memory_stats(device=None):
    now, peak, _, n = extension().memory()
    return {
        "allocated_bytes.all.current": now, "allocated_bytes.all.peak": peak, "reserved_bytes.all.current": now,
        "reserved_bytes.all.peak": peak, "allocation.all.allocated": n,
    }  # fmt: skip


def new_storage(cls, *args, device=None, allocator=None, **options):
    """torch.UntypedStorage.__new__, which knows no CUDA in a CPU-only build."""
    if device is not None and torch.device(device).type == "cuda":
        allocator = extension().allocator()
    elif device is not None:
        options["device"] = device
    if allocator is not None:
        options["allocator"] = allocator
    return torch._C.StorageBase.__new__(cls, *args, **options)


def gru(X, first, weights, *options):
    """torch._VF.gru by plain operations: the fused cell has no kernel but that of CUDA.  One layer, one direction."""
    if X.device.type == "cpu":
        return torch._C._VariableFunctions.gru(X, first, weights, *options)
    bias, n_layers, _, _, bidirectional, batch_first = options
    if not (bias and batch_first and n_layers == 1 and not bidirectional):
        raise NotImplementedError(
            "the pretended device has gated recurrent layers of one layer and direction only"
        )
    W, V, b, c = weights
    state, states, inputs = first[0], [], torch.nn.functional.linear(X, W, b)
    for t in range(X.shape[1]):
        r, z, n = inputs[:, t].chunk(3, 1)
        hr, hz, hn = torch.nn.functional.linear(state, V, c).chunk(3, 1)
        z = torch.sigmoid(z + hz)
        state = (1 - z) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + z * state
        states.append(state)
    return torch.stack(states, 1), state[None]


def replacements():
    """(owner, name, value) of the Python functions that ask a GPU."""
    cuda, ext = torch.cuda, extension()

    def used(device=None):
        return ext.memory()[0]

    def peak(device=None):
        return ext.memory()[1]

    of_cuda = {
        "is_available": lambda: True, "_is_compiled": lambda: True, "device_count": lambda: 1,
        "current_device": lambda: 0, "set_device": lambda device: index_of(device) and None,
        "_exchange_device": lambda device: 0 if device >= 0 else -1,
        "_maybe_exchange_device": lambda device: 0 if device >= 0 else -1,
        "init": lazy_init, "_lazy_init": lazy_init, "_is_in_bad_fork": ext.forked_after_use,
        "default_generators": (ext.default_generator(),), "synchronize": lambda device=None: ext.wait(),
        "get_device_properties": properties, "get_device_name": lambda device=None: properties(device).name,
        "get_device_capability": lambda device=None: (9, 0),
        "is_bf16_supported": lambda including_emulation=True: True,
        "Stream": Stream, "Event": Event, "CUDAGraph": CUDAGraph, "graph": graph, "graph_pool_handle": lambda: (0, 1),
        "is_current_stream_capturing": ext.capturing, "stream": on_stream,
        "current_stream": lambda device=None: stream_of(ext.stream(None)),
        "default_stream": lambda device=None: stream_of(0),
        "memory_allocated": used, "memory_reserved": used, "max_memory_allocated": peak, "max_memory_reserved": peak,
        "reset_peak_memory_stats": lambda device=None: ext.reset_peak(), "memory_stats": memory_stats,
        "mem_get_info": lambda device=None: (MEMORY - used(), MEMORY), "empty_cache": lambda: None,
    }  # fmt: skip
    for module in (cuda, cuda.memory, cuda.random, cuda.streams, cuda.graphs):
        yield from ((module, name, value) for name, value in of_cuda.items() if name in vars(module))
    yield torch.backends.cuda, "is_built", lambda: True
    # torch.optim imports torch._dynamo, which imports this where there is CUDA.
    yield torch._C, "_cuda_getCurrentRawStream", lambda device: 0
    yield torch._VF, "gru", gru
    yield torch.UntypedStorage, "__new__", staticmethod(new_storage)


_replaced = []
_ABSENT = object()


def enabled():
    return bool(_replaced)


def enable():
    """Let torch see a CUDA device; before the first backward pass of the process, when autograd counts devices."""
    if enabled():
        return
    extension().switch(True)
    for owner, name, value in list(replacements()):
        _replaced.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)


def disable():
    """Undo `enable`; tensors on the device cannot be used any more."""
    while _replaced:
        owner, name, before = _replaced.pop()
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
    torch.cuda._initialized = False
    extension().switch(False)


# -- counts -----------------------------------------------------------------------------------------------

KERNEL, DOUBLE, UNORDERED_SUM = "kernel", "float64", "order of a sum"
WAITING = ("item", "size depends on values", "copy to the device", "copy to the host", "synchronize")


class Watch:
    """What was done on the device.

    Attributes
    ----------
    events : Counter
        How often, by (kind, operation, source line). The kinds are `KERNEL`, `DOUBLE` (a kernel that has an operand
        in double precision), `UNORDERED_SUM`, those of `WAITING`, and copies that are not waited for.
    """

    def __init__(self):
        self.events = Counter()
        # Backward passes report from a thread of their own.
        self._lock = threading.Lock()

    def __call__(self, operation, kind, size):
        with self._lock:
            self.events[kind, operation.removeprefix("aten::"), self._line()] += 1

    def _line(self):
        """The innermost line of the library."""
        frame = sys._getframe(1).f_back
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT / "iconlearn"):
                return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
            frame = frame.f_back
        return "(backward)"

    def total(self, *kinds):
        return sum(n for (kind, _, _), n in self.events.items() if kind in kinds)

    def table(self, *kinds):
        """Lines of text about events of these kinds, the most frequent first."""
        rows = [(n, *key) for key, n in self.events.most_common() if key[0] in kinds]
        return "\n".join(f"{n:6d}  {kind:22s} {name:30s} {line}" for n, kind, name, line in rows)


@contextlib.contextmanager
def watch():
    """Count in the body."""
    watched = Watch()
    extension().listen(watched)
    try:
        yield watched
    finally:
        extension().listen(None)
