"""What makes a CPU fast: packed weights, memory that is used again, a shorter GELU, a patient allocator."""
