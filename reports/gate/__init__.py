"""Has a run lost quality: the statistics of the gate, two runs record by record, and the verdict's words."""
