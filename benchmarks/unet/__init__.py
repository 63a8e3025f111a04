"""U-Net with batch normalisation: semantic segmentation."""
