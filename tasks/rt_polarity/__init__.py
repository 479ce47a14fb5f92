"""Pang and Lee's movie-review sentences (2005), continued, under a gold reward that is learned from half of them."""
