"""Who should announce an address: MetalLB's leader election, predicted from facts alone."""

__all__ = ["elsewhere", "predictor", "rules"]
