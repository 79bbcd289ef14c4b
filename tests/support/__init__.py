"""What the tests on real parts share: an operator process, and a scene with a StatefulSet, a route and links."""
