"""pydantic models of the custom resources, in agreement with the CRDs in ``crds/``."""
