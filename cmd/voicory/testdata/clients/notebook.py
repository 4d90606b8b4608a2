"""Runs the blocks of a document as its reader would: those of Python in one session, those of sh in one environment.

Takes them from stdin, as a JSON list of {"kind", "line", "text"}, and leaves what the variable daily holds in daily.json: {way: {day: US dollars}}.
"""

import json
import os
import subprocess
import sys

session = {"__name__": "notebook"}
for block in json.load(sys.stdin):
    print(f"line {block['line']}, {block['kind']}", flush=True)
    if block["kind"] == "python":
        exec(compile("\n" * (block["line"] - 1) + block["text"], "the document", "exec"), session)
        continue
    read, write = os.pipe()
    shell = subprocess.Popen(["bash", "-euo", "pipefail", "-c", f"{block['text']}\nenv -0 >&{write}"], pass_fds=[write])
    os.close(write)
    with open(read) as exported:
        variables = exported.read()
    if shell.wait():
        sys.exit(f"the block at line {block['line']} ended with {shell.returncode}")
    os.environ.update(variable.split("=", 1) for variable in variables.split("\0") if variable)

with open("daily.json", "w") as out:
    json.dump({way: {str(day): f"{usd:.4f}" for day, usd in costs.items()} for way, costs in session["daily"].items()}, out)
