"""Who should announce an address: the election of MetalLB's speakers, predicted from facts alone."""

__all__ = ["predictor", "rules"]
