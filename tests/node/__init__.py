"""A package, so that its nodes end when its tests have."""
