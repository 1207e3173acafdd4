"""Magica: workflows, inputs, outputs, prices and bulk status."""
