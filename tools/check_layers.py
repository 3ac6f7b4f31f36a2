#!/usr/bin/env python3
"""Holds the includes to the arrows: a module may include itself and what its library links, nothing else.

usage: tools/check_layers.py [--self-test]

The arrows are the corral_module() lines of CMakeLists.txt. Also: a file includes its own header first, and
headers of one module that end in _int.h stay inside it.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def allowed_modules(cmake_text):
    """{module: set of modules it may include}, {source folder: module}"""
    direct, folder_of = {}, {}
    for name, args in re.findall(r"^corral_module\((\w+)\s+([^)]*)\)", cmake_text, re.M):
        dirs, _, link = args.partition("LINK")
        for d in dirs.replace("DIRS", "").split():
            folder_of[d] = name
        direct[name] = set(re.findall(r"\bcorral_(\w+)", link))
    reach = {}

    def below(module):
        if module not in reach:
            reach[module] = {module}
            for m in direct.get(module, ()):
                reach[module] |= below(m)
        return reach[module]

    for module in direct:
        below(module)
    return reach, folder_of


def module_of(folder, folder_of):
    """The module that a folder below src/ belongs to: its own, or that of the nearest folder above."""
    parts = folder.split("/")
    while parts:
        if "/".join(parts) in folder_of:
            return folder_of["/".join(parts)]
        parts.pop()
    return None


def check_file(path, text, reach, folder_of):
    """Complaints about one file; path is relative to src/."""
    folder = str(pathlib.PurePosixPath(path).parent)
    module = module_of(folder, folder_of)
    if module is None:
        return [f"src/{path}: folder {folder} belongs to no corral_module() of CMakeLists.txt"]
    bad = []
    includes = [(text.count("\n", 0, m.start()) + 1, m.group(1))
                for m in re.finditer(r'^\s*#\s*include\s*"([^"]+)"', text, re.M)]
    for line, name in includes:
        if "/" not in name or name.startswith("../") or name.startswith("./"):
            continue  # beside the file: a template or a table of the same folder
        target = module_of(str(pathlib.PurePosixPath(name).parent), folder_of)
        if target is None:
            bad.append(f"src/{path}:{line}: \"{name}\" is in no module")
        elif target not in reach[module]:
            bad.append(f"src/{path}:{line}: {module} may not include \"{name}\" of {target} "
                       f"(allowed: {', '.join(sorted(reach[module]))})")
        elif target != module and name.endswith("_int.h"):
            bad.append(f"src/{path}:{line}: \"{name}\" is private to {target}")
    own = path[:-2] + ".h"
    names = [name for _, name in includes]
    if path.endswith(".c") and own in names and names[0] != own:
        bad.append(f"src/{path}: includes its own header {own} after {names[0]}; it comes first")
    return bad


def check_tree():
    reach, folder_of = allowed_modules((ROOT / "CMakeLists.txt").read_text())
    src, bad, n = ROOT / "src", [], 0
    for path in sorted(src.rglob("*.[ch]")):
        bad += check_file(path.relative_to(src).as_posix(), path.read_text(), reach, folder_of)
        n += 1
    return bad, n


def self_test():
    """The checker must see what it is there to see."""
    reach, folder_of = allowed_modules(
        "corral_module(base DIRS base LINK m)\ncorral_module(kv DIRS kv kv/disk LINK corral_base)\n"
        "corral_module(engine DIRS engine LINK corral_kv)\n")
    cases = [("kv/kv.c", '#include "kv/kv.h"\n#include "base/base.h"\n', 0),
             ("kv/disk/d.c", '#include "kv/kv_int.h"\n', 0),
             ("kv/kv.c", '#include "engine/engine.h"\n', 1),
             ("base/base.c", '#include "kv/kv.h"\n', 1),
             ("engine/e.c", '#include "kv/kv_int.h"\n', 1),
             ("engine/e.c", '#include "nowhere/x.h"\n', 1),
             ("elsewhere/x.c", "", 1),
             ("kv/kv.c", '#include "base/base.h"\n#include "kv/kv.h"\n', 1)]
    for path, text, want in cases:
        got = check_file(path, text, reach, folder_of)
        assert len(got) == want, (path, text, got)


if __name__ == "__main__":
    self_test()
    complaints, n_files = check_tree()
    for c in complaints:
        print(c, file=sys.stderr)
    if not complaints:
        print(f"layers: {n_files} files include only what lies below them")
    sys.exit(1 if complaints else 0)
