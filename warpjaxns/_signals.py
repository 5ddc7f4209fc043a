"""Signals that arrive while XLA is calling Python: their handlers run when that call is over.

A handler may raise, as that of Ctrl-C does. Within a call from C++ nothing catches the exception. ctypes prints it and
returns an undefined pointer, which XLA takes for its error, reads and frees. The process dies, or the exception is
lost. Python runs handlers between any two instructions of the main thread. If the signal came while XLA was computing,
the handler runs before the first instruction of such a call. So no `try` in the call is early enough, and the handler
itself checks where it is.
"""

import signal
import sys
import threading
import time
from typing import cast

PAUSE = 1e-3  # seconds between two checks whether the call is over
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


def defer_signals(file: str) -> None:
    """Defer the present signal handlers while a function of `file` runs. Only the main thread can.

    Every call repeats this, since others set handlers too: Jupyter sets one for every cell.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, _Deferred):
            signal.signal(number, _Deferred(handler, file))


class _Deferred:
    """A handler that runs another one, after the call from XLA if there is one."""

    def __init__(self, handler, file):
        self.handler, self.file = handler, file

    def __call__(self, number, frame):
        if not self._within(frame):
            return self.handler(number, frame)
        threading.Thread(target=self._send_again, args=[number], daemon=True).start()

    def _within(self, frame):
        while frame and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        return frame is not None

    def _send_again(self, number):
        main = cast(int, threading.main_thread().ident)
        while self._within(sys._current_frames().get(main)):
            time.sleep(PAUSE)
        if hasattr(signal, "pthread_kill"):  # wakes the main thread if it sleeps
            signal.pthread_kill(main, number)
        else:
            signal.raise_signal(number)
