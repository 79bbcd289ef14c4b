"""A model of the whole protocol: any history of callers, pods, operator, users and troubles, against the promises.

**What is real**: the scripts on a real Valkey server, the executor, the cache, `ClientDriver`, `ServerDriver` with all
that goes on in its background, `move_links`. **What is not**: time, the way to the server, users, apps, Kubernetes.

- `clock`: an event loop whose clock jumps to the next timer as soon as nothing else is to be done; the server's clock
  (a preloaded library) says the loop's time, so that links expire in virtual time. No test waits for anything.
- `wire`: connections in place of redis-py's, below the library's store. A request reaches the server after the cable's
  latency and is answered at once; it can be lost, answered into the void, held up, or come late, and a cable be cut.
- `links`: looks at the links after each request that may have changed one: who has changed what is known exactly.
- `app`, `database`: pods keep users in memory, save them when they are released, and do as the documentation says.
- `operator_actor`, `world`: who else is there. `steps`: what may happen, drawn by hypothesis, told in plain words.
- `judge`: the promises, by name. `adapter`: all that is used of the library, also what only later versions have.

A failure prints the seed and the shortest history that breaks the promise, all in virtual seconds. To look for longer,
or for one promise (names may be shortened, ``I5`` is all of I5a to I5c)::

    MODEL_SEED=7 MODEL_STEPS=50000 MODEL_INVARIANTS=I5,I6 pytest tests/model
    PYTHONPATH=operator:tests python -m model --seed 7 --steps 50000 --invariants I5,I6

The same seed draws the same histories, on any machine. What breaks must be mended, or, where it is a limit that the
documentation names, `judge` must know of it.
"""
