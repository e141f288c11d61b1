#!/usr/bin/env python3
"""Print the firmware's section sizes and the largest frozen modules, with the change since the last commit measured.

Sizes are kept in the build folder, one file for each commit.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

PREFIX = "riscv64-unknown-elf-"
ROOT = Path(__file__).resolve().parent.parent


def output(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def sections(elf):
    """Size of each section that takes memory, from `size -A`."""
    rows = re.findall(r"^(\.\S+)\s+(\d+)\s+(\d+)$", output(f"{PREFIX}size", "-A", elf), re.M)
    return {name: int(size) for name, size, address in rows if int(address)}


def frozen(content):
    """Bytes of code and constants for each frozen module: mpy-tool puts the module's name into every symbol."""
    modules = re.findall(r"^// frozen bytecode for file (\S+)\.py", content.with_suffix(".c").read_text(), re.M)
    names = sorted((re.sub(r"[/.-]", "_", module) for module in modules), key=len, reverse=True)
    sizes = {}
    for size, symbol in re.findall(r"^[0-9a-f]+ ([0-9a-f]+) \w (\S+)$", output(f"{PREFIX}nm", "-S", content), re.M):
        owner = next((name for name in names if re.search(rf"_{name}(?:_|\.|$)", symbol)), None)
        if owner:
            sizes[owner] = sizes.get(owner, 0) + int(size, 16)
    return sizes


def show(title, sizes, before):
    print(f"{title:<32}{'bytes':>10}{'change':>10}")
    for name, size in sizes.items():
        change = size - before.get(name, 0)
        print(f"  {name:<30}{size:>10}{f'{change:+}' if change and before else '':>10}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("elf", type=Path)
    parser.add_argument("build", type=Path, help="folder of the object files")
    args = parser.parse_args()
    now = {"sections": sections(args.elf)}
    content = args.build / "frozen_content.o"
    if not content.is_file():
        content = args.build / "build" / "frozen_content.o"
    if content.is_file():
        modules = frozen(content)
        now["frozen"] = dict(sorted(modules.items(), key=lambda item: -item[1]))
    kept = args.build / "sizes"
    kept.mkdir(exist_ok=True)
    commit = output("git", "rev-parse", "--short", "HEAD").strip()
    known = [name for name in output("git", "log", "--format=%h", "-n", "200").split() if name != commit]
    last = next((kept / f"{name}.json" for name in known if (kept / f"{name}.json").is_file()), None)
    before = json.loads(last.read_text()) if last else {}
    if last:
        print(f"change since {last.stem}")
    for title, sizes in now.items():
        show(title, sizes, before.get(title, {}))
        print(f"  {'sum':<30}{sum(sizes.values()):>10}")
    (kept / f"{commit}.json").write_text(json.dumps(now))


if __name__ == "__main__":
    sys.exit(main())
