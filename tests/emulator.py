"""An emulator of CUDA kernels on the CPU, thread by thread (`emulator.h`). It needs a C++ compiler.

On the CPU a block of this package's kernels is one thread. On a GPU a block has many, which exchange numbers through
shared memory and wait for each other. Here the host's compiler compiles the CUDA code that Warp generates, with two
hundred lines that emulate the GPU.
"""

import ctypes
import fcntl
import functools
import hashlib
import importlib
import pkgutil
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import warp as wp
from warp._src import build
from warp._src.context import _build_launch_bounds_from_tuple, pack_arg

from warpjaxns import _kernels
from warpjaxns._kernels.finite_difference.plan import Plan
from warpjaxns._kernels.finite_difference.resident.layout import Resident
from warpjaxns._kernels.hardware.address_table import Buffer
from warpjaxns._kernels.spectral.plan import Plan as SpectralPlan

COMPILER = shutil.which("g++")
FLAGS = ["-Og", "-w", "-std=c++17", "-fpermissive", "-fno-strict-aliasing", "-ffp-contract=off", "-fPIC"]
FLAGS += ["-DWP_ENABLE_TILES_IN_STACK_MEMORY", f"-I{Path(wp.__file__).parent / 'native'}"]
HEADER = Path(__file__).with_name("emulator.h")

END_OF_HEADERS = '#include "deterministic.h"\n'  # the last one, in what Warp writes
SIZE_OF_BLOCKS = r"#define WP_TILE_BLOCK_DIM (\d+)\n"
MOST_THREADS = 1024  # of a block

INLINE = [  # what stands in `asm volatile(...)`, and what stands for it here
    (r'"griddepcontrol\.\w+;" ::: "memory"', ""),
    (r'"ld\.global\.nc.*?"\(p\)', ""),
    (r'"prefetch\.global.*?\)', ""),
    (r'"bar\.sync %0, (\d+);" :: "r"\((.*?)\) : "memory"', r"emulator::named_barrier(\2, \1)"),
    (r'"cp\.async\.cg.*?"r"\((.*?)\), "l"\((.*?)\) : "memory"', r"emulator::start_copy(\1, \2)"),
    (r'"cp\.async\.wait_all;" ::: "memory"', "emulator::finish_copies()"),
    (r'"barrier\.cluster\.arrive;" ::: "memory"', ""),
    (r'"barrier\.cluster\.wait;" ::: "memory"', "emulator::cluster_barrier()"),
    (r'"mapa\.shared.*?"=r"\((\w+)\) : "r"\((\w+)\), "r"\((\w+)\)', r"\1 = emulator::in_block(\2, \3)"),
    (r'"st\.async.*?"\s*:: "r"\((.*)\), "[fd]"\((\w+)\), "r"\((\w+)\) : "memory"', r"emulator::send(\1, \2, \3)"),
    (r'"mbarrier\.init.*?"r"\((\w+)\) : "memory"', r"emulator::initialise_mbarrier(\1)"),
    (r'"fence\.mbarrier_init.*?" ::: "memory"', ""),
    (r'"st\.release.*?"l"\((\w+)\), "r"\((\w+)\) : "memory"', r"*(unsigned*)\1 = \2"),
    (r'"ld\.acquire.*?"=r"\((\w+)\) : "l"\((\w+)\) : "memory"', r"\1 = *(const unsigned*)\2"),
    (r'"mov\.u64 %0, %%globaltimer;" : "=l"\((\w+)\) :: "memory"', r"\1 = emulator::time()"),
    (r'"mbarrier\.arrive.*?"r"\((\w+)\), "r"\((\w+)\) : "memory"', r"emulator::expect(\1, \2)"),
    (
        r'"\{.*?_wait.*?"\s*: "=r"\((\w+)\) : "r"\((\w+)\), "r"\((.*?)\) : "memory"',
        r"\1 = emulator::has_completed(\2, \3)",
    ),
]


class Emulator:
    """An emulator that launches kernels as a GPU would.

    `order`: that of blocks, and of threads between two barriers, as in `emulator.h`. `change`: a function that changes
    the text of a kernel first.
    """

    def __init__(self, folder: Path):
        self.folder, self.order, self.change, self.launched = folder, 0, lambda text: text, []

    def launch(self, kernel, table, blocks, arguments, block_dim):
        """Launch a kernel, in place of `address_table.launch`."""
        headers, text = _translated(kernel, block_dim)
        run = _compiled(headers, self.change(text), self.folder)
        values = [argument.place if isinstance(argument, Buffer) else argument for argument in arguments]
        parameters = zip(kernel.adj.args, [table, *values], strict=True)
        packed = [pack_arg(kernel, p.type, p.label, value, table.device) for p, value in parameters]
        packed.insert(0, _build_launch_bounds_from_tuple((blocks, block_dim), kernel.adj.kernel_dim))
        pointers = (ctypes.c_void_p * len(packed))(*map(ctypes.addressof, packed))
        self.launched.append(kernel.key.split("__")[-1])
        if problem := run(blocks, block_dim, kernel.options.get("cluster_dim", 1), self.order, pointers):
            raise RuntimeError(f"{kernel.key}: {problem.decode()}")


def emulated(monkeypatch, folder: Path) -> Emulator:
    """Launch all kernels of the flow by an emulator from here on, cut into threads as on a GPU.

    `folder`: receives compiled kernels; processes may share it.
    """
    emulator = Emulator(folder)
    for layout in (Plan, Resident, SpectralPlan):
        monkeypatch.setattr(layout, "on", lambda self, cpu: self)
    for module in pkgutil.walk_packages(_kernels.__path__, f"{_kernels.__name__}."):
        module = importlib.import_module(module.name)
        if hasattr(module, "launch"):
            monkeypatch.setattr(module, "launch", emulator.launch)
    return emulator


@functools.cache
def _translated(kernel, block_dim) -> tuple[str, str]:
    """Return CUDA code as C++ for the host: the headers, and what follows them."""
    text = _source(kernel, block_dim)
    name = re.search(r"(\w+_cuda_kernel_forward)\(", text)[1]
    headers, kernel = text.replace("#define WP_NO_CRT\n", "").split(END_OF_HEADERS)
    macros, kernel = kernel.split("// avoid namespacing of float type")
    for pattern, replacement in INLINE:
        kernel = re.sub(rf"asm(?: volatile)?\({pattern}\);", f"{replacement};", kernel)
    if left := re.search(r"\basm\b.*", kernel):
        raise NotImplementedError(left[0])
    # shared memory belongs to the block: no thread makes it, and none starts it again
    kernel = re.sub(r"wp::tile_shared_storage_t( tile_mem|::init\(\));", "", kernel)
    if "tile_register" not in kernel:  # for which the headers need the size of a block
        headers = re.sub(SIZE_OF_BLOCKS, f"#define WP_TILE_BLOCK_DIM {MOST_THREADS}\n", headers)
        macros = macros.replace("wp::block_dim()", "(int)blockDim.x")
    entry = f"""
#undef float
#undef int
static void body(void** p) {{ emulator::call({name}, p); }}
extern "C" const char* run(int blocks, int threads, int cluster, int order, void** p) {{
  return emulator::run(blocks, threads, cluster, order, body, p);
}}
"""
    return f'{headers}{END_OF_HEADERS}{macros}#include "{HEADER}"\n', f"//{kernel}{entry}"


def _source(kernel, block_dim) -> str:
    """Return the code that Warp would pass to the CUDA compiler."""
    module, written = kernel.module, []
    module.options["block_dim"] = block_dim
    module.options["max_unroll"] = 1  # a third of the text, which the host's compiler takes long for
    module.options["optimization_level"] = 1  # Warp warns of 0 for CUDA; the text is the same
    compiler, build.build_cuda = build.build_cuda, lambda path, *_, **__: written.append(Path(path).read_text())
    try:
        wp.compile_aot_module(module, arch=90, use_ptx=True)
    except FileNotFoundError:  # of what the compiler was to make
        pass
    finally:
        build.build_cuda = compiler
    return written[0]


@functools.cache
def _compiled(headers: str, text: str, folder: Path):
    """Compile a text to a library named by its hash. It is written atomically, since processes may share the folder."""
    library = folder / f"{_hash(headers + text)}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as own:
            source, output = Path(own, "kernel.cpp"), Path(own, library.name)
            source.write_text(f'#include "{_precompiled(headers, folder)}"\n{text}')
            _compile(source, output, "-shared")
            output.rename(library)
    run = ctypes.CDLL(library).run
    run.restype = ctypes.c_char_p
    return run


def _precompiled(headers: str, folder: Path) -> Path:
    """Return a header, which is compiled beforehand where it serves blocks of every size."""
    path = folder / f"{_hash(headers)}.h"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(headers)
            if re.search(SIZE_OF_BLOCKS, headers)[1] == str(MOST_THREADS):
                _compile(path, Path(f"{path}.gch"), "-xc++-header")
    return path


def _compile(source: Path, output: Path, *flags) -> None:
    subprocess.run([COMPILER, *FLAGS, *flags, source, "-o", output], check=True)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
