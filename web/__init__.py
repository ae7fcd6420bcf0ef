"""A local web page to draw targets in a video and watch them being tracked."""
