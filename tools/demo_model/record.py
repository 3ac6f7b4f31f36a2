"""Puts the evaluation's table between the marks in the documentation: record.py report.md docs/demo-model.md"""

import re
import sys

with open(sys.argv[1]) as file:
    table = file.read().strip()
with open(sys.argv[2]) as file:
    text = file.read()
text = re.sub(r"(<!-- rates -->\n).*?(\n<!-- end of rates -->)", lambda m: m[1] + table + m[2], text, flags=re.S)
with open(sys.argv[2], "w") as file:
    file.write(text)
