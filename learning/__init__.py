"""What encoders and fusions share when they learn: one loop, streaming reductions, losses. torch only."""
