"""The cells of an index: made by k-means, searched by nprobe."""
