"""What tracking costs: a training that is tracked, and a server that tracks 200 of them."""
