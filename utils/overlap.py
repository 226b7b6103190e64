"""Work in the background, in order and no further ahead than need be."""

import collections
import concurrent.futures


def overlapped(function, items, threads):
    """Yield ``function(item)`` for each item in turn, while later ones are under way in ``threads`` threads.

    Items are drawn in the caller's thread. At most ``threads`` results wait beside the one handed out, so that
    memory does not grow with the number of items. What ``function`` raises is raised where its result was due.
    """
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        try:
            for item in items:
                waiting.append(executor.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
