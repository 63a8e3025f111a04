"""VGG-16 without batch normalisation: image classification."""
