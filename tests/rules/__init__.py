"""A model of what the operator decides: random histories of facts against promises, without a server.

**What is real**: how a body becomes facts, the operator's `Workload`, `Ledger` and `Moving`, and all of the domain
that they ask. **What is not**: Kubernetes, kubelets, processes, users, callers, the store, and time.

- `clocks`: true time, and what the clocks of machines make of it.
- `cluster`: an API server, a StatefulSet controller, nodes with kubelets that report late, and the processes that
  really run. What each does is what was seen of real ones.
- `store`: what the scripts do, in memory.
- `operator_actor`: an operator that is told late, is away, or begins anew, in true time.
- `world`: who is there. `steps`: what may happen, drawn by hypothesis, told in plain words.
- `promises`: the promises, each a function whose docstring is the sentence, and a judge who knows the truth.
- `test_mutations`: the search can fail: each wrong rule there is found out.

A failure prints the seed and a short history that breaks the promise, in seconds. To look for longer::

    RULES_SEED=$RANDOM RULES_HISTORIES=5000 pytest tests/rules/test_rules.py

The same seed draws the same histories. What breaks is mended, and its shortest history kept in `test_stories`; where it
is a limit that the documentation names, `promises` knows of it.
"""
