"""The tour: some of the examples on glassloop, then the comparison. `make demo` runs this."""

import subprocess
import sys
from pathlib import Path

import glassloop

HERE = Path(__file__).parent
SHOWN = ("terms.py", "awaited_one_by_one.py", "gather.py", "streams.py")


def show(command):
    print(f"\n\n$ {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, *command], cwd=HERE.parent, check=True)


def main():
    kind = "compiled" if glassloop.compiled else "interpreted (no C compiler was found when it was installed)"
    print(f"glassloop {glassloop.__version__}, {kind}, on Python {sys.version.split()[0]}")
    for name in SHOWN:
        show(["-m", "glassloop", "run", f"examples/{name}"])
    show(["examples/compare.py"])


if __name__ == "__main__":
    main()
