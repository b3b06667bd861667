"""From a video file to the images of its clips."""
