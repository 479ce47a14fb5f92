"""How guides and values are trained: SFT, DPO and reward models by TRL, FUDGE by our own loop."""
