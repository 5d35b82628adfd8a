"""The benchmark: a real quick start of its own, and every figure beside a floor or a peer measured in the same run."""
