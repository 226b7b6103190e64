import os
import sys

if os.name != "posix":
    # Here, where every program comes by first: file locks and signals would end in a traceback.
    print("error: this needs Linux: on Windows, use WSL 2 (see README.md)", file=sys.stderr)
    sys.exit(2)
