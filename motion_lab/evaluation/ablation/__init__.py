"""Ablations: a table of variants × seeds, trained and evaluated alike, and what their scores say.

``schema`` is what a table's file contains, ``plan`` makes cells of it, ``worker`` trains and
evaluates one cell in a process of its own, ``engines`` run workers (here, or on a Ray cluster),
``run`` goes through the cells, ``results`` gathers their scores, and ``statistics``, ``tables``
and ``plots`` show them.
"""
