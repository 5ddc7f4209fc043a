"""Benchmarks: time and memory of rollouts and their derivatives on this machine, with Warp, XLA and other packages.

```python
from warpjaxns import benchmarks

records = benchmarks.measure(benchmarks.Case(256), steps=500)
for record in records:
    print(record.contender, record.what, record.seconds_per_step, record.throughput)
```

``warpjaxns bench`` measures from the command line, and writes a table, a JSON file and a plot.
"""

from .adapters import peers
from .cases import TASKS, Case, default_cases
from .contenders import Contender, Program, backends, jax_builder
from .roof import bandwidth, least_bytes
from .timing import Record, measure, memory_growth

__all__ = [
    "TASKS",
    "Case",
    "Contender",
    "Program",
    "Record",
    "backends",
    "bandwidth",
    "default_cases",
    "jax_builder",
    "least_bytes",
    "measure",
    "memory_growth",
    "peers",
]


def __dir__():
    return __all__
