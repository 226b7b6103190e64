"""Work in the background, in order and no further ahead than need be."""

import collections
import concurrent.futures


def overlapped(function, items, threads, ahead=0):
    """Yield ``function(item)`` for each item in turn, while later ones are under way in ``threads`` threads.

    Items are drawn in the caller's thread. At most ``threads`` of them wait beside the one whose result is handed out,
    or ``ahead`` where that is more, so that memory does not grow with the number of items. What ``function`` raises
    is raised where its result was due.
    """
    waiting, most = collections.deque(), max(threads, ahead)
    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        try:
            for item in items:
                waiting.append(executor.submit(function, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
