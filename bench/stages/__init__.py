"""Measures each stage of the pipeline on its own, with its real code, and the obvious way to write it if there is
one."""
