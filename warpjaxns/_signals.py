"""Signals that arrive while XLA is calling Python: their handlers run when that call is over.

A handler may raise; that of Ctrl-C does. Within a call from C++ nobody catches it: ctypes prints the exception and
returns an undefined pointer, which XLA takes for its error, reads and frees. The process dies, or the exception is
lost. Python runs handlers between any two instructions of the main thread, also before the first one of such a call, if
the signal came while XLA was computing. So no `try` in the call is early enough: the handler itself looks where it is.
"""

import signal
import sys
import threading
import time
from typing import cast

PAUSE = 1e-3  # seconds between two looks whether the call is over
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


def defer_signals(file: str) -> None:
    """Keep the handlers that are now in place from running while a function of `file` does. Only the main thread can.

    It is done anew in each call, for others set handlers too, Jupyter one for every cell.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, _Deferred):
            signal.signal(number, _Deferred(handler, file))


class _Deferred:
    """A handler that runs another one, later where it must."""

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
