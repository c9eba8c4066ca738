"""Python runs this when it starts where the folder is on its path: one more encoder in the table.

So every process of a run knows it, and the program that is measured is the one that users have.
"""

from encoders import ENCODERS, Entry

ENCODERS["sleeping"] = Entry({"text": "benchmarks.scaling.sleeping:Sleeping"}, "waits")
