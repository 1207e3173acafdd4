"""Magnific: apps, inputs, outputs and uploads."""
