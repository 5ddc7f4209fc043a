"""Benchmarks: time and memory of rollouts and their derivatives on this machine, with Warp, XLA and other packages.

```python
from warpjaxns import benchmarks

records = benchmarks.measure(benchmarks.Case(256), steps=500)
for record in records:
    print(record.contender, record.what, record.seconds_per_step, record.throughput)
```

``warpjaxns bench`` measures from the command line, and writes a table, a JSON file and a plot.
"""

from .adapters import peers as peers
from .cases import TASKS as TASKS
from .cases import Case as Case
from .cases import default_cases as default_cases
from .contenders import backends as backends
from .roof import bandwidth as bandwidth
from .roof import least_bytes as least_bytes
from .timing import Record as Record
from .timing import measure as measure
from .timing import memory_growth as memory_growth
